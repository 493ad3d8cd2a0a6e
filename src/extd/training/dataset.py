"""Labelled pictures, decoded once into a memory-mapped file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from extd.images import read_image


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture.

    Attributes:
        path: the picture file.
        width, height: its size, px.
        boxes: N x 4 float32 faces, xyxy px.
        ignore: M x 4 float32 regions that count neither as face nor as background.
        source: the collection that it comes from.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    ignore: NDArray[np.float32]
    source: str


def read_labels(path: Path, sources: Sequence[str] = ()) -> list[Picture]:
    """The pictures of a `labels.jsonl` file, of `sources` alone where any are named.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not readable, a box is degenerate, or a source has no picture.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no label file {path}")
    pictures = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
                picture = Picture(
                    path.parent / entry["image"],
                    int(entry["width"]),
                    int(entry["height"]),
                    np.array(entry["boxes"], np.float32).reshape(-1, 4),
                    np.array(entry.get("ignore", []), np.float32).reshape(-1, 4),
                    str(entry.get("source", "")),
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error!r}") from error
            # Written so that NaN fails too.
            flat = ~(picture.boxes[:, 2:] > picture.boxes[:, :2]).all(1)
            if flat.any():
                box = picture.boxes[flat][0].tolist()
                raise ValueError(f"{path}, line {number}: box {box} has no area; remove it")
            if not sources or picture.source in sources:
                pictures.append(picture)
    for source in (*sources, None):
        if not any(source is None or p.source == source for p in pictures):
            raise ValueError(
                f"{path} has no picture" + (f" of source {source!r}" if source else "")
            )
    return pictures


@dataclass(frozen=True, slots=True)
class PictureStore:
    """Decoded pictures behind one memory map.

    Attributes:
        pictures: what is in it.
        bytes: all pixels, one picture after the other.
        offsets: where each picture begins, and the end.
    """

    pictures: list[Picture]
    bytes: NDArray[np.uint8]
    offsets: list[int]

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Picture `index` as H x W x 3 RGB, a view of the map."""
        picture = self.pictures[index]
        flat = self.bytes[self.offsets[index] : self.offsets[index + 1]]
        return flat.reshape(picture.height, picture.width, 3)


def open_store(pictures: list[Picture], folder: Path) -> PictureStore:
    """Open the decoded pictures kept in `folder`, decoding them first where they are not there.

    Raises:
        ValueError: a picture cannot be read or has another size than its label says.
    """
    sizes = [picture.width * picture.height * 3 for picture in pictures]
    offsets = [0, *np.cumsum(sizes).tolist()]
    files = [(p, p.path.stat() if p.path.exists() else None) for p in pictures]
    names = "\n".join(f"{p.path} {s and (s.st_size, s.st_mtime_ns)}" for p, s in files)
    path = folder / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.rgb"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < offsets[-1]:
            raise OSError(f"{folder} has {free:,} bytes free; the pictures take {offsets[-1]:,}")
        partial = path.with_suffix(f".{os.getpid()}.partial")
        room = np.memmap(partial, np.uint8, "w+", shape=(max(offsets[-1], 1),))

        def decode(index: int) -> None:
            picture = pictures[index]
            image = read_image(picture.path)
            if image.shape != (picture.height, picture.width, 3):
                raise ValueError(
                    f"{picture.path} is {image.shape[1]}x{image.shape[0]} px; "
                    f"its label says {picture.width}x{picture.height}"
                )
            room[offsets[index] : offsets[index + 1]] = image.reshape(-1)

        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                decoded = pool.map(decode, range(len(pictures)))
                for _ in track(decoded, "Decoding pictures", total=len(pictures)):
                    pass
            room.flush()
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return PictureStore(pictures, np.memmap(path, np.uint8, "r"), offsets)


def sampling_shares(pictures: list[Picture], weights: dict[str, float]) -> NDArray[np.float64]:
    """Cumulative shares for drawing a picture with faces, by the weight of its source.

    Returns:
        len(pictures) float64, ascending to 1; draw `np.searchsorted(shares, u, "right")`.
    """
    shares = np.array([weights.get(p.source, 1.0) * (len(p.boxes) > 0) for p in pictures])
    if not shares.sum() > 0 or not math.isfinite(shares.sum()):
        raise ValueError("no picture has both a face and a source of positive weight")
    cumulative = np.cumsum(shares)
    normalised: NDArray[np.float64] = cumulative / cumulative[-1]
    return normalised
