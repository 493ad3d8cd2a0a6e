"""WIDER FACE (arXiv 1511.06523) in its official layout, and its lists in text and MATLAB form.

    WIDER_train/images/0--Parade/*.jpg
    WIDER_val/images/0--Parade/*.jpg
    wider_face_split/wider_face_train_bbx_gt.txt, or wider_face_train.mat

A text list has for each image its name below `images`, the number of its faces, and a line a face
of the numbers `FIELDS`. An invalid face is an ignored region here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes
from extd.data.sample import ReadOptions, Sample, at, from_xywh, read_text, write_text

SPLITS = ("train", "val")
LISTS = re.compile(r"wider_face_(train|val)(_bbx_gt\.txt|\.mat)")
FOLDER = "wider_face_split"
BOX = ("x", "y", "width", "height")
FIELDS = (*BOX, "blur", "expression", "illumination", "invalid", "occlusion", "pose")
INVALID = FIELDS.index("invalid")
NO_FACES = "0 0 0 0 0 0 0 0 0 0\n"
"""The line below an image without faces."""


def find_wider(path: Path) -> Path | None:
    """The list of faces that a path means.

    A list means itself, `WIDER_train` or `WIDER_val` its own list, and the folder around them the
    list of `train`, or of `val` where only that has its images.
    """
    if LISTS.fullmatch(path.name):
        return path if path.is_file() else None
    splits = [split for split in SPLITS if path.name == f"WIDER_{split}"]
    root = path.parent if splits or path.name == FOLDER else path
    lists = [
        folder / f"wider_face_{split}{end}"
        for split in splits or SPLITS
        for folder in (root / FOLDER, root)
        for end in ("_bbx_gt.txt", ".mat")
    ]
    found = [one for one in lists if one.is_file()]
    complete = [one for one in found if _find_images(one) is not None]
    return next(iter([*complete, *found]), None)


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


def read_wider(labels: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a list, whose source is its split; see `datasets.read_dataset`.

    `options.images` is the folder that holds the folders of the events. A `.mat` list needs SciPy.
    """
    split = _split(labels)
    folder = options.images or _find_images(labels)
    if folder is None:
        raise FileNotFoundError(
            f"there is no WIDER_{split}/images beside {labels} or its folder; name the folder that "
            "holds the folders of the events (images)"
        )
    entries = _read_faces(labels) if labels.suffix == ".mat" else read_list(labels, FIELDS)
    samples = []
    for name, rows in entries:
        with at(labels, name):
            boxes = from_xywh([row[:4] for row in rows if not row[INVALID]])
            ignore = from_xywh([row[:4] for row in rows if row[INVALID]])
        samples.append(Sample(folder / name, 0, 0, boxes, ignore, f"wider_{split}"))
    return samples


def read_list(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, list[list[float]]]]:
    """The name of each image in a text list, and for each of its faces the numbers `fields`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is malformed; the message gives its number.
    """
    lines = [line.removesuffix("\r") for line in read_text(path).rstrip().split("\n")]
    start = 0
    while start < len(lines) and lines != [""]:
        if not lines[start].strip():
            start += 1
            continue
        name = lines[start]
        with at(path, f"line {start + 2}"):
            if start + 1 == len(lines):
                raise ValueError(f"the number of faces of {name!r} is missing")
            count = int(lines[start + 1])
            if not 0 <= count <= len(lines) - start - 2:
                raise ValueError(f"{name!r} cannot have {count} faces: the list ends before")
        start += 2
        rows = []
        for number, line in enumerate(lines[start : start + count], start + 1):
            with at(path, f"line {number}"):
                rows.append([float(word) for word in line.split()])
                if len(rows[-1]) != len(fields):
                    raise ValueError(
                        f"{line!r} has {len(rows[-1])} numbers; expected {len(fields)}: "
                        f"{', '.join(fields)}"
                    )
        start += count
        # Such as `NO_FACES`.
        if count == 0 and start < len(lines) and lines[start].split() == ["0"] * len(fields):
            start += 1
        yield name, rows


def format_entry(name: str, rows: Sequence[str]) -> str:
    """The entry of an image in a text list, from its name and a line a face."""
    return "\n".join([name, str(len(rows)), *rows]) + "\n"


def _read_faces(labels: Path) -> Iterator[tuple[str, list[list[float]]]]:
    """As `read_list`, of a MATLAB list; fields that are not needed are 0."""
    for name, (boxes, invalid) in read_mat_list(labels, "face_bbx_list", "invalid_label_list"):
        rows = np.zeros((len(boxes), len(FIELDS)))
        rows[:, :4], rows[:, INVALID] = boxes.reshape(-1, 4), invalid.ravel()
        # As in the text form, zeros stand for no face.
        yield f"{name}.jpg", rows.tolist() if boxes.any() or len(rows) != 1 else []


def read_mat_list(path: Path, *variables: str) -> Iterator[tuple[str, list[NDArray[np.float64]]]]:
    """The `event/name` of each image in a MATLAB list, and its array of each variable."""
    content = read_mat(path, "event_list", "file_list", *variables)
    for e, event in enumerate(content["event_list"][:, 0]):
        for i, name in enumerate(content["file_list"][e, 0][:, 0]):
            arrays = [content[variable][e, 0][i, 0].astype(np.float64) for variable in variables]
            yield f"{event[0]}/{name[0]}", arrays


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
        raise FileNotFoundError(
            f"there is no {path}; WIDER FACE's .mat files are in its eval_tools and {FOLDER}"
        )
    try:
        content: dict[str, Any] = loadmat(path)
    except Exception as error:  # SciPy's own errors have no common class
        raise ValueError(f"{path} is not a MATLAB file: {error}") from error
    for name in variables:
        if name not in content:
            raise ValueError(f"{path} is not WIDER FACE's: it has no variable {name!r}")
    return content


def place_wider(sample: Sample, name: Path) -> Path:
    """Where an image is in the layout, its folder being the event; see `datasets.Format`."""
    return Path(f"WIDER_{_split_of(sample)}", "images", sample.path.parent.name, sample.path.name)


def _split_of(sample: Sample) -> str:
    return "val" if sample.source == "wider_val" else "train"


def write_wider(samples: Sequence[Sample], folder: Path) -> None:
    """Write the lists for images that are in their place in `folder`.

    Images of the source `wider_val` go to `val`, all others to `train`. Corners are rounded to
    whole pixels, because the official lists have no others; attributes are 0.
    """
    texts = dict.fromkeys(SPLITS, "")
    for sample in samples:
        split = _split_of(sample)
        name = sample.path.relative_to(folder / f"WIDER_{split}" / "images").as_posix()
        rows = [*_face_lines(sample.boxes, 0), *_face_lines(sample.ignore, 1)]
        texts[split] += format_entry(name, rows) + ("" if rows else NO_FACES)
    for split, text in texts.items():
        if text:
            write_text(folder / FOLDER / f"wider_face_{split}_bbx_gt.txt", text)


def _face_lines(boxes: Boxes, invalid: int) -> list[str]:
    whole = np.rint(boxes.astype(np.float64)).astype(np.int64)
    whole[:, 2:] -= whole[:, :2]
    return [f"{x} {y} {width} {height} 0 0 0 {invalid} 0 0" for x, y, width, height in whole]
