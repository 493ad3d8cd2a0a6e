"""Average precision as PASCAL VOC computes it, for the test sets AFW and PASCAL faces.

A detection, best first, belongs to the face that it overlaps most, from IoU 0.5; the first one
finds it, later ones are false; on an ignored face none counts. AP is the area under the monotone
envelope of precision over recall. As in the toolbox that both sets are measured with (Mathias et
al., "Face detection without bells and whistles", ECCV 2014), faces with a side below 30 px are
ignored and tiny detections left out. It also shifts and scales each detector's boxes to the style
of the annotations before it counts; this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.boxes import iou
from extd.data.sample import Sample, with_sizes
from extd.data.voc import find_voc, read_voc
from extd.images import Image, read_image
from extd.measure.figures import import_figure, save, tidy
from extd.measure.predictions import Prediction
from extd.measure.wider import IOU, Curve

SMALLEST = 30
"""Side of the smallest face that counts, px."""
TINY = 0.5**0.5
"""Detections whose sides are both below this share of `SMALLEST` are left out."""
VARIABLE, NAME, OBJECTS = "Annotations", "imgname", "objects"
"""What the toolbox calls its list of pictures, and its fields."""


@dataclass(frozen=True, slots=True, eq=False)
class VocEvaluation:
    """How well faces were found.

    Attributes:
        images: how many pictures were read.
        faces: how many faces count.
        thresholds: float64 [N], scores of the detections that count, highest first.
        curve: precision over recall at each of them.
    """

    images: int
    faces: int
    thresholds: NDArray[np.float64]
    curve: Curve


def read_faces(annotations: Path, images: Path) -> list[Sample]:
    """Annotated pictures, from VOC's XML files or from a .mat file of the toolbox.

    Args:
        annotations: a folder of XML files (or one that has them in `Annotations`); or a .mat file
            whose struct array `Annotations` has the fields `imgname` and `objects`, the latter
            rows of x1, y1, x2, y2, and in the sixth place, if there is one, 1 to ignore the face.
        images: folder of the pictures.

    Raises:
        FileNotFoundError: there are no such files.
        ImportError: SciPy, which reads .mat files, is missing.
        ValueError: a file is not of that kind.
    """
    if annotations.suffix.lower() == ".mat":
        return _read_mat(annotations, images)
    folder = find_voc(annotations)
    if folder is None:
        raise FileNotFoundError(
            f"{annotations} is neither a folder of XML files nor a .mat file; see "
            "`extd eval voc --help`"
        )
    return read_voc(folder, images)


def _read_mat(path: Path, images: Path) -> list[Sample]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f'{path} needs SciPy; run: pip install "extd[eval]"') from error
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    try:
        variables: dict[str, Any] = loadmat(path)
    except Exception as error:
        raise ValueError(f"{path} is not a MATLAB file: {error}") from error
    entries = variables.get(VARIABLE)
    fields = entries.dtype.names if isinstance(entries, np.ndarray) else None
    if fields is None or not {NAME, OBJECTS} <= set(fields):
        raise ValueError(f"{path} has no struct array {VARIABLE} with {NAME} and {OBJECTS}")
    assert isinstance(entries, np.ndarray)
    pictures: list[Sample] = []
    for entry in entries.ravel():
        names = np.ravel(entry[NAME])
        if len(names) != 1:
            raise ValueError(f"{path}: picture {len(pictures) + 1} has {len(names)} names, not 1")
        name = str(names[0])
        try:
            rows = np.atleast_2d(np.asarray(entry[OBJECTS], np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: the faces of {name} are no numbers: {error}") from error
        rows = rows.reshape(-1, rows.shape[1] if rows.size else 4)
        if rows.shape[1] < 4:
            raise ValueError(f"{path}: {name} has faces of {rows.shape[1]} numbers, not 4 or more")
        ignored = rows[:, 5] != 0 if rows.shape[1] > 5 else np.zeros(len(rows), np.bool_)
        # MATLAB counts pixels from 1, and the last ones are inside.
        boxes = (rows[:, :4] - [1, 1, 0, 0]).astype(np.float32)
        pictures.append(Sample(images / name, 0, 0, boxes[~ignored], boxes[ignored]))
    return with_sizes(pictures, path)


def evaluate_voc(
    detect: Callable[[Image], Prediction],
    pictures: Sequence[Sample],
    smallest: int = SMALLEST,
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> VocEvaluation:
    """Detect in every picture and score the result.

    Args:
        detect: a protocol with its detector, as in `partial(single, Detector())`.
        pictures: with at least one face of `smallest` px among them.
        smallest: faces with a shorter side are ignored.
        progress: wraps the pictures as they are worked through, to show a bar.

    Raises:
        FileNotFoundError: a picture is missing.
        ValueError: a picture is broken, or no face counts.
    """
    faces = sum(int(_large(picture.boxes, smallest).sum()) for picture in pictures)
    if not faces:
        raise ValueError(f"no picture has a face of {smallest} px; there is nothing to measure")
    every = [np.zeros((0, 2))]
    for picture in progress(pictures):
        every.append(judged(detect(read_image(picture.path)), picture, smallest))
    verdicts = np.concatenate(every)
    verdicts = verdicts[np.argsort(-verdicts[:, 0], kind="stable")]
    hits = np.cumsum(verdicts[:, 1])
    curve = Curve(hits / faces, hits / np.arange(1, len(hits) + 1))
    return VocEvaluation(len(pictures), faces, verdicts[:, 0], curve)


def judged(found: Prediction, picture: Sample, smallest: int) -> NDArray[np.float64]:
    """Which detections of one picture are right.

    Returns:
        float64 [K, 2]: score, and 1 if it finds a face or 0 if it is false, of the detections that
        count.
    """
    kept = (found.boxes[:, 2:] > TINY * smallest).any(axis=1)
    order = np.flatnonzero(kept)[np.argsort(-found.scores[kept], kind="stable")]
    scores, boxes = found.scores[order], found.boxes[order].astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    faces = np.concatenate([picture.boxes, picture.ignore])
    if not len(faces) or not len(boxes):
        return np.column_stack([scores, np.zeros(len(scores))])
    counts = np.arange(len(faces)) < len(picture.boxes)
    counts &= _large(faces, smallest)
    overlaps = iou(boxes, faces)
    nearest, near = overlaps.argmax(axis=1), overlaps.max(axis=1) >= IOU
    first = np.zeros(len(boxes), np.bool_)
    candidates = np.flatnonzero(near)
    first[candidates[np.unique(nearest[candidates], return_index=True)[1]]] = True
    counted = ~near | counts[nearest]
    verdicts: NDArray[np.float64] = np.column_stack([scores, first])[counted]
    return verdicts


def _large(boxes: NDArray[np.float32], smallest: int) -> NDArray[np.bool_]:
    """Whether both sides of boxes [N, 4] of x1, y1, x2, y2 have at least `smallest` px."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2] >= smallest).all(axis=1))


def report(evaluation: VocEvaluation, model: str, protocol: str) -> dict[str, object]:
    """The evaluation for JSON: images, model, protocol, faces, and AP to five decimals."""
    return {
        "images": evaluation.images,
        "model": model,
        "protocol": protocol,
        "faces": evaluation.faces,
        "ap": round(evaluation.curve.ap, 5),
    }


def curve_rows(evaluation: VocEvaluation) -> list[dict[str, object]]:
    """The curve for a CSV file."""
    columns = (evaluation.thresholds, evaluation.curve.recall, evaluation.curve.precision)
    return [
        {"threshold": round(score, 6), "recall": round(recall, 6), "precision": round(right, 6)}
        for score, recall, right in zip(*(column.tolist() for column in columns), strict=True)
    ]


def plot_curve(evaluation: VocEvaluation, caption: str, path: Path) -> None:
    """Draw precision over recall.

    Args:
        evaluation: of one detector.
        caption: what was measured.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    curve = evaluation.curve
    axis.plot(curve.recall, curve.precision, label=f"AP {curve.ap:.4f}")
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axis.legend(loc="lower left", frameon=False)
    tidy(axis)
    figure.suptitle(caption, fontsize=9, color="0.35")
    save(figure, path)
