"""WIDER FACE (arXiv 1511.06523) in its official layout, as folders or as the archives themselves.

    WIDER_train/images/0--Parade/*.jpg      or WIDER_train.zip
    WIDER_val/images/0--Parade/*.jpg        or WIDER_val.zip
    wider_face_split/wider_face_train_bbx_gt.txt, or .mat: wider_face_train.mat; or .zip

A picture is a name below `images`, the number of its faces, and a line a face in the text form:
x, y, width, height, blur, expression, illumination, invalid, occlusion, pose. An invalid face is
an ignored region here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extd.boxes import Boxes
from extd.data.entries import at, from_corner_and_size, read_text
from extd.data.pixels import Progress, is_file, read_bytes, with_sizes
from extd.data.sample import Sample

SPLITS = ("train", "val")
LISTS = re.compile(r"wider_face_(train|val)(_bbx_gt\.txt|\.mat)")
FOLDER = "wider_face_split"
FIELDS = 10
"""Numbers a face."""
INVALID = 7
"""Which of them tells that it is invalid."""


def find_wider(path: Path) -> Path | None:
    """The list of faces that a path means.

    A list means itself, `WIDER_train` or `WIDER_val` (folder or archive) its own list, and the
    folder around them the list of `train`, or of `val` where only that is complete.
    """
    if LISTS.fullmatch(path.name):
        return path if is_file(path) else None
    if path.name in {FOLDER, f"{FOLDER}.zip"}:
        return find_wider(path.parent)
    for split in SPLITS:
        if path.name in {f"WIDER_{split}", f"WIDER_{split}.zip"}:
            return _find_list(path.parent, split)
    found = [_find_list(path, split) for split in SPLITS]
    complete = [one for one in found if one is not None and _find_images(one) is not None]
    return next((one for one in [*complete, *found] if one is not None), None)


def _find_list(root: Path, split: str) -> Path | None:
    for folder in (root / FOLDER, root / f"{FOLDER}.zip" / FOLDER, root):
        for name in (f"wider_face_{split}_bbx_gt.txt", f"wider_face_{split}.mat"):
            if is_file(folder / name):
                return folder / name
    return None


def _find_images(labels: Path) -> Path | None:
    """The folder of pictures of a list: beside it, or beside its folder or archive."""
    split = f"WIDER_{_split(labels)}"
    for root in labels.parents[:3]:
        if (root / split / "images").is_dir():
            return root / split / "images"
        if (root / f"{split}.zip").is_file():
            return root / f"{split}.zip" / split / "images"
    return None


def _split(labels: Path) -> str:
    match = LISTS.fullmatch(labels.name)
    if match is None:
        raise ValueError(
            f"{labels} is no list of WIDER FACE by its name; call it wider_face_train_bbx_gt.txt, "
            "wider_face_train.mat, or the same with val"
        )
    return match[1]


def read_wider(
    labels: Path, images: Path | None = None, progress: Progress | None = None
) -> list[Sample]:
    """The pictures of one split; their source is `wider_train` or `wider_val`.

    Args:
        labels: the list of faces, as `find_wider` gives it.
        images: folder that holds the folders of the events.
        progress: is told how many pictures' sizes were read, which the list does not tell.

    Raises:
        FileNotFoundError: list or pictures are missing.
        ValueError: a line cannot be understood, or not one picture can be read.
        ImportError: SciPy is missing, which reads the `.mat` form.
    """
    split = _split(labels)
    folder = _find_images(labels) if images is None else images
    if folder is None:
        raise FileNotFoundError(
            f"there is neither WIDER_{split}/images nor WIDER_{split}.zip beside {labels} or its "
            "folder; name the folder that holds the folders of the events (images)"
        )
    read = _read_mat if labels.suffix == ".mat" else _read_text
    pictures = [
        Sample(folder / one.name, 0, 0, one.boxes, one.ignore, f"wider_{split}")
        for one in read(labels)
    ]
    return with_sizes(pictures, labels, progress)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A picture of the list: name below `images`, valid and invalid faces [N, 4] xyxy px."""

    name: str
    boxes: Boxes
    ignore: Boxes


def _read_text(labels: Path) -> Iterator[_Entry]:
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
        # A picture without faces has one line of zeros in their place.
        if count == 0 and start < len(lines) and set(lines[start].split()) == {"0"}:
            start += 1
        with at(labels, name):
            yield _entry(name, rows)


def _face(line: str) -> list[float]:
    values = [float(word) for word in line.split()]
    if len(values) != FIELDS:
        raise ValueError(
            f"{line!r} has {len(values)} numbers; expected {FIELDS}: x, y, width, height, blur, "
            "expression, illumination, invalid, occlusion, pose"
        )
    return values


def _read_mat(labels: Path) -> Iterator[_Entry]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(f'reading {labels} needs SciPy; run: pip install "extd[eval]"') from error
    data = read_bytes(labels)
    try:
        content = loadmat(io.BytesIO(data))  # type: ignore[arg-type]
    except Exception as error:
        raise ValueError(f"{labels} is not a MATLAB file: {error}") from error
    with at(labels):
        events, files = content["event_list"], content["file_list"]
        boxes, invalid = content["face_bbx_list"], content["invalid_label_list"]
    for e, event in enumerate(events[:, 0]):
        for p, stem in enumerate(files[e, 0][:, 0]):
            name = f"{event[0]}/{stem[0]}.jpg"
            faces = boxes[e, 0][p, 0].reshape(-1, 4).astype(np.float64)
            marks = invalid[e, 0][p, 0].reshape(-1, 1).astype(np.float64)
            # As in the text form, zeros stand for no face.
            if len(faces) == 1 and not faces.any():
                faces, marks = faces[:0], marks[:0]
            padding = np.zeros((len(faces), INVALID - 4))
            with at(labels, name):
                yield _entry(name, np.concatenate([faces, padding, marks], axis=1).tolist())


def _entry(name: str, rows: Sequence[list[float]]) -> _Entry:
    valid = [row[:4] for row in rows if not row[INVALID]]
    ignore = [row[:4] for row in rows if row[INVALID]]
    return _Entry(name, from_corner_and_size(valid), from_corner_and_size(ignore))


def place_wider(picture: Sample, below: Path) -> Path:
    """Where a picture lies in the layout; its folder is its event."""
    split = _split_of(picture)
    return Path(f"WIDER_{split}", "images", picture.path.parent.name, picture.path.name)


def _split_of(picture: Sample) -> str:
    return "val" if picture.source == "wider_val" else "train"


def write_wider(pictures: Sequence[Sample], folder: Path) -> None:
    """Write the lists for pictures that are in their place in `folder`.

    Pictures of the source `wider_val` go to `val`, all others to `train`. Corners are rounded to
    whole pixels, because the official lists have no others; attributes are 0.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        own = [picture for picture in pictures if _split_of(picture) == split]
        if own:
            path = folder / FOLDER / f"wider_face_{split}_bbx_gt.txt"
            text = "".join(_text(one, folder / f"WIDER_{split}" / "images") for one in own)
            path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def _text(picture: Sample, images: Path) -> str:
    name = picture.path.relative_to(images).as_posix()
    faces = [*_lines(picture.boxes, 0), *_lines(picture.ignore, 1)]
    zeros = " ".join("0" * FIELDS)
    return "\n".join([name, str(len(faces)), *(faces or [zeros])]) + "\n"


def _lines(boxes: Boxes, invalid: int) -> list[str]:
    whole = np.rint(boxes.astype(np.float64)).astype(np.int64)
    whole[:, 2:] -= whole[:, :2]
    return [f"{x} {y} {width} {height} 0 0 0 {invalid} 0 0" for x, y, width, height in whole]
