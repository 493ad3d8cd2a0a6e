"""Labelled pictures, decoded once into a memory-mapped file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from extd.data.sample import Sample
from extd.files import atomic_write
from extd.images import Image, read_image
from extd.prefetch import cores, prefetch

NAMED = 5
"""Unreadable pictures that an error names."""


@dataclass(frozen=True, slots=True)
class PictureStore:
    """Decoded pictures behind one memory map.

    Attributes:
        pictures: what is in it.
        bytes: all pixels, one picture after the other.
        offsets: where each picture begins, and the end.
        unreadable: what is wrong with each picture that was left out, with its path.
    """

    pictures: list[Sample]
    bytes: NDArray[np.uint8]
    offsets: list[int]
    unreadable: list[str]

    def pixels(self, index: int) -> Image:
        """Sample `index` as H x W x 3 RGB, a view of the map."""
        picture = self.pictures[index]
        flat = self.bytes[self.offsets[index] : self.offsets[index + 1]]
        return flat.reshape(picture.height, picture.width, 3)


def sift(pictures: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """Take out boxes that nothing can be learnt from.

    Returns:
        The same pictures in the same order, with the boxes that are finite, have an area and
        overlap the picture; and a line about each of the others.
    """
    usable, dropped = [], []
    for picture in pictures:
        kept, points = [], picture.landmarks
        for boxes in (picture.boxes, picture.ignore):
            wrongs = [_wrong(box, picture) for box in boxes.tolist()]
            if boxes is picture.boxes and points is not None:
                points = points[[not wrong for wrong in wrongs]]
            dropped += [
                f"{picture.path}: box {box.round(2).tolist()} {wrong}"
                for box, wrong in zip(boxes.astype(np.float64), wrongs, strict=True)
                if wrong
            ]
            kept.append(boxes[[not wrong for wrong in wrongs]] if any(wrongs) else boxes)
        usable.append(dataclasses.replace(picture, boxes=kept[0], ignore=kept[1], landmarks=points))
    return usable, dropped


def _wrong(box: list[float], picture: Sample) -> str:
    """Why nothing can be learnt from a box; empty for a good one."""
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return "is not finite"
    if x2 <= x1 or y2 <= y1:
        return "has no area"
    beyond = x2 <= 0 or y2 <= 0 or x1 >= picture.width or y1 >= picture.height
    # A label file may not tell the size of a picture that cannot be read.
    if beyond and picture.width:
        return f"lies outside the picture of {picture.width}x{picture.height} px"
    return ""


def open_store(
    pictures: Sequence[Sample], folder: Path, max_unreadable: float = 0.0
) -> PictureStore:
    """Open the decoded pictures kept in `folder`, decoding them first where they are not there.

    Args:
        pictures: what to decode.
        folder: for the decoded pictures, 3 bytes a pixel.
        max_unreadable: share of the pictures that may be left out, because they cannot be read or
            have another size than their label says.

    Raises:
        ValueError: more are unreadable.
        OSError: `folder` has too little room.
    """
    path = folder / f"{_fingerprint(pictures)}.rgb"
    # Written after the pixels, so that it vouches for them.
    note = path.with_suffix(".json")
    unreadable = _read_note(note) if path.exists() else None
    if unreadable is None or path.stat().st_size != _offsets(pictures, unreadable)[-1]:
        unreadable = _decode(pictures, path, max_unreadable)
        with atomic_write(note) as partial:
            partial.write_text(json.dumps(unreadable), encoding="utf-8")
    _check_share(unreadable, len(pictures), max_unreadable)
    offsets = _offsets(pictures, unreadable)
    kept = [picture for i, picture in enumerate(pictures) if str(i) not in unreadable]
    if not kept:
        raise ValueError("there is no picture to learn from")
    return PictureStore(kept, np.memmap(path, np.uint8, "r"), offsets, [*unreadable.values()])


def _fingerprint(pictures: Sequence[Sample]) -> str:
    """A short hash of the files and of the sizes that their labels give."""
    digest = hashlib.sha256()
    for picture in pictures:
        stat = picture.path.stat() if picture.path.is_file() else None
        state = (stat.st_size, stat.st_mtime_ns) if stat else None
        line = f"{picture.path} {picture.width} {picture.height} {state}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _read_note(path: Path) -> dict[str, str] | None:
    """Which pictures could not be read, by index, and why; None where the note is no good."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _offsets(pictures: Sequence[Sample], unreadable: dict[str, str]) -> list[int]:
    """Where each readable picture begins in the file, and the end."""
    sizes = [p.width * p.height * 3 for i, p in enumerate(pictures) if str(i) not in unreadable]
    return [0, *np.cumsum(sizes, dtype=np.int64).tolist()]


def _check_share(unreadable: dict[str, str], count: int, allowed: float) -> None:
    if len(unreadable) > allowed * count:
        first = "; ".join([*unreadable.values()][:NAMED])
        raise ValueError(
            f"{len(unreadable)} of {count} pictures cannot be read, more than the share of "
            f"{allowed:g} that data.max_unreadable allows: {first}"
            + ("; ..." if len(unreadable) > NAMED else "")
        )


def _decode(pictures: Sequence[Sample], path: Path, max_unreadable: float) -> dict[str, str]:
    """Write the pixels of all readable pictures to `path`, and tell which are not readable."""
    needed = _offsets(pictures, {})[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = sum(other.stat().st_size for other in path.parent.glob("*.rgb"))
    console = Console(stderr=True)
    if kept:
        console.print(
            f"{path.parent} keeps {kept / 1e9:.1f} GB of pictures decoded before: "
            "delete there what no run needs",
            soft_wrap=True,
            markup=False,
        )
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"{path.parent} has {free:,} bytes free and the pictures take {needed:,}; "
            "choose another place with --cache"
        )
    results = track(
        prefetch(pictures, _read, cores()),
        "Decoding pictures",
        len(pictures),
        console=console,
    )
    unreadable: dict[str, str] = {}
    try:
        # Plain writes, not a memory map: on a full disk they fail with an error, not a signal.
        with atomic_write(path) as partial, partial.open("wb") as file:
            for index, (_, result) in enumerate(results):
                if isinstance(result, str | Exception):
                    unreadable[str(index)] = str(result)
                else:
                    file.write(result.data)
            _check_share(unreadable, len(pictures), max_unreadable)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}; choose another with --cache") from error
    return unreadable


def _read(picture: Sample) -> Image | str:
    try:
        image = read_image(picture.path)
    except (OSError, ValueError, MemoryError) as error:
        return str(error) if str(picture.path) in str(error) else f"{picture.path}: {error}"
    if image.shape != (picture.height, picture.width, 3):
        return (
            f"{picture.path} is {image.shape[1]}x{image.shape[0]} px; "
            f"its label says {picture.width}x{picture.height}"
        )
    return np.ascontiguousarray(image)


def sampling_shares(pictures: Sequence[Sample], weights: Sequence[float]) -> NDArray[np.float64]:
    """Cumulative shares for drawing a picture with faces.

    Args:
        pictures: N pictures; those without faces are never drawn.
        weights: N weights, how often each is drawn relative to the others.

    Returns:
        N float64, ascending to 1; draw `np.searchsorted(shares, u, "right")`.

    Raises:
        ValueError: no picture can be drawn.
    """
    shares = np.array(weights, np.float64) * [len(picture.boxes) > 0 for picture in pictures]
    if not shares.sum() > 0 or not math.isfinite(shares.sum()):
        raise ValueError("no picture has both a face and a positive weight")
    cumulative = np.cumsum(shares)
    normalised: NDArray[np.float64] = cumulative / cumulative[-1]
    return normalised
