"""WIDER FACE (arXiv 1511.06523) in its official layout, and detections as its evaluation reads.

    WIDER_train/images/0--Parade/*.jpg
    WIDER_val/images/0--Parade/*.jpg
    wider_face_split/wider_face_train_bbx_gt.txt, or wider_face_train.mat

In the text form an image is a name below `images`, the number of its faces, and a line a face:
x, y, width, height, blur, expression, illumination, invalid, occlusion, pose. An invalid face is
an ignored region here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extd.boxes import Boxes
from extd.data.sample import (
    Progress,
    Sample,
    at,
    from_corner_and_size,
    plain,
    read_text,
    to_corner_and_size,
    with_sizes,
    write_text,
)
from extd.faces import Faces

SPLITS = ("train", "val")
LISTS = re.compile(r"wider_face_(train|val)(_bbx_gt\.txt|\.mat)")
FOLDER = "wider_face_split"
FIELDS = 10
"""Numbers a face."""
INVALID = 7
"""Which of them tells that it is invalid."""
ZEROS = " ".join("0" * FIELDS)
"""The line of an image without faces."""


def find_wider(path: Path) -> Path | None:
    """The list of faces that a path means.

    A list means itself, `WIDER_train` or `WIDER_val` its own list, and the folder around them the
    list of `train`, or of `val` where only that has its images.
    """
    if LISTS.fullmatch(path.name):
        return path if path.is_file() else None
    if path.name == FOLDER:
        return find_wider(path.parent)
    for split in SPLITS:
        if path.name == f"WIDER_{split}":
            return _find_list(path.parent, split)
    found = [one for split in SPLITS if (one := _find_list(path, split)) is not None]
    complete = [one for one in found if _find_images(one) is not None]
    return next(iter([*complete, *found]), None)


def _find_list(root: Path, split: str) -> Path | None:
    for folder in (root / FOLDER, root):
        for name in (f"wider_face_{split}_bbx_gt.txt", f"wider_face_{split}.mat"):
            if (folder / name).is_file():
                return folder / name
    return None


def _find_images(labels: Path) -> Path | None:
    """The folder of images of a list: beside it, or beside its folder."""
    folders = [root / f"WIDER_{_split(labels)}" / "images" for root in labels.parents[:2]]
    return next(filter(Path.is_dir, folders), None)


def _split(labels: Path) -> str:
    match = LISTS.fullmatch(labels.name)
    if match is None:
        raise ValueError(
            f"{labels} is not named like a list of WIDER FACE; call it "
            "wider_face_train_bbx_gt.txt, wider_face_train.mat, or the same with val"
        )
    return match[1]


def read_wider(
    labels: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The samples of one split, from `wider_train` or `wider_val`; see `datasets.read_dataset`.

    Args:
        labels: the list of faces, as `find_wider` gives it.
        images: folder that holds the folders of the events.
        progress: called with how many images' sizes were read, which the list does not give.

    Raises:
        FileNotFoundError: the list or the images are missing.
        ValueError: a line is malformed, or no image can be read.
        ImportError: SciPy is missing, which reads the `.mat` form.
    """
    split = _split(labels)
    folder = _find_images(labels) if images is None else images
    if folder is None:
        raise FileNotFoundError(
            f"there is no WIDER_{split}/images beside {labels} or its folder; name the folder that "
            "holds the folders of the events (images)"
        )
    read = _read_mat_list if labels.suffix == ".mat" else _read_text_list
    samples = []
    for name, rows in read(labels):
        with at(labels, name):
            valid, invalid = (
                from_corner_and_size([row[:4] for row in rows if bool(row[INVALID]) == wanted])
                for wanted in (False, True)
            )
        samples.append(Sample(folder / name, 0, 0, valid, invalid, f"wider_{split}"))
    return with_sizes(samples, labels, progress)


def _read_text_list(labels: Path) -> Iterator[tuple[str, list[list[float]]]]:
    """The name of each image, with a row of `FIELDS` numbers a face."""
    lines = [line.removesuffix("\r") for line in read_text(labels).rstrip().split("\n")]
    start = 0
    while start < len(lines) and lines != [""]:
        name = lines[start]
        with at(labels, f"line {start + 2}"):
            if start + 1 == len(lines):
                raise ValueError(f"the number of faces of {name!r} is missing")
            count = int(lines[start + 1])
            if not 0 <= count <= len(lines) - start - 2:
                raise ValueError(f"{name!r} cannot have {count} faces: the list ends before")
        start += 2
        rows = []
        for number, line in enumerate(lines[start : start + count], start + 1):
            with at(labels, f"line {number}"):
                rows.append(_face(line))
        start += count
        if count == 0 and start < len(lines) and lines[start].split() == ZEROS.split():
            start += 1
        yield name, rows


def _face(line: str) -> list[float]:
    values = [float(word) for word in line.split()]
    if len(values) != FIELDS:
        raise ValueError(
            f"{line!r} has {len(values)} numbers; expected {FIELDS}: x, y, width, height, blur, "
            "expression, illumination, invalid, occlusion, pose"
        )
    return values


def _read_mat_list(labels: Path) -> Iterator[tuple[str, list[list[float]]]]:
    """As `_read_text_list`; attributes that are not read are 0."""
    content = read_mat(labels, "event_list", "file_list", "face_bbx_list", "invalid_label_list")
    files, boxes = content["file_list"], content["face_bbx_list"]
    for e, event in enumerate(content["event_list"][:, 0]):
        for p, stem in enumerate(files[e, 0][:, 0]):
            faces = boxes[e, 0][p, 0].reshape(-1, 4).astype(np.float64)
            marks = content["invalid_label_list"][e, 0][p, 0].reshape(-1, 1)
            # As in the text form, zeros stand for no face.
            if len(faces) == 1 and not faces.any():
                faces, marks = faces[:0], marks[:0]
            padding = np.zeros((len(faces), INVALID - 4))
            rows = np.concatenate([faces, padding, marks], axis=1)
            yield f"{event[0]}/{stem[0]}.jpg", rows.tolist()


def read_mat(path: Path, *variables: str) -> dict[str, Any]:
    """The variables of a MATLAB file, which must have those named.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a MATLAB file, or lacks a variable.
        ImportError: SciPy is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f'reading {path} needs SciPy; run: pip install "extd[eval]"') from error
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        content: dict[str, Any] = loadmat(path)
    except Exception as error:
        raise ValueError(f"{path} is not a MATLAB file: {error}") from error
    for name in variables:
        if name not in content:
            raise ValueError(f"{path} is not WIDER FACE's: it has no variable {name!r}")
    return content


def place_wider(sample: Sample, name: Path) -> Path:
    """Where an image is in the layout, its folder being the event; see `datasets.Format`."""
    split = _split_of(sample)
    return Path(f"WIDER_{split}", "images", sample.path.parent.name, sample.path.name)


def _split_of(sample: Sample) -> str:
    return "val" if sample.source == "wider_val" else "train"


def write_wider(samples: Sequence[Sample], folder: Path) -> None:
    """Write the lists for images that are in their place in `folder`.

    Images of the source `wider_val` go to `val`, all others to `train`. Corners are rounded to
    whole pixels, because the official lists have no others; attributes are 0.
    """
    for split in SPLITS:
        images = folder / f"WIDER_{split}" / "images"
        texts = []
        for sample in samples:
            if _split_of(sample) == split:
                rows = [*_face_lines(sample.boxes, 0), *_face_lines(sample.ignore, 1)]
                name = sample.path.relative_to(images)
                texts.append(_block(name, len(rows), rows or [ZEROS]))
        if texts:
            write_text(folder / FOLDER / f"wider_face_{split}_bbx_gt.txt", "".join(texts))


def _face_lines(boxes: Boxes, invalid: int) -> list[str]:
    whole = np.rint(boxes.astype(np.float64)).astype(np.int64)
    whole[:, 2:] -= whole[:, :2]
    return [f"{x} {y} {width} {height} 0 0 0 {invalid} 0 0" for x, y, width, height in whole]


def wider_detections(name: Path, faces: Faces) -> str:
    """The detections of one image as WIDER FACE's evaluation reads them, to 0.01 px.

    They are its name, their number and a line `x y width height score` each. WIDER's images are
    JPEG, so the name ends in `.jpg` whatever `name` ends in.
    """
    boxes = to_corner_and_size(faces.boxes.round(2))
    rows = [
        " ".join(map(plain, box)) + f" {score:.6f}"
        for box, score in zip(boxes, faces.scores.tolist(), strict=True)
    ]
    return _block(name.with_suffix(".jpg"), len(rows), rows)


def _block(name: Path, count: int, rows: Sequence[str]) -> str:
    return "\n".join([name.as_posix(), str(count), *rows]) + "\n"
