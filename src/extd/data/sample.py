"""A labeled image, and the sizes of images whose labels do not give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes
from extd.faces import Faces
from extd.images import image_size
from extd.prefetch import cores, prefetch

Progress = Callable[[int, int], object]
"""Called with the number of images done and the number of all."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labeled image, as a label file describes it.

    Attributes:
        path: the image file.
        width, height: its size in px once it is upright, or 0 x 0 if that is unknown.
        boxes: N x 4 float32 faces, xyxy px; they may reach beyond the image or have no area.
        ignore: M x 4 float32 regions that count neither as face nor as background.
        source: the collection it comes from.
        landmarks: N x 10 float32, x and y of the eyes, nose and corners of the mouth, image-left
            first, px; NaN where a face has none. None where the label file has none at all.
        scores: N float32, 0 to 1, where a detector found the faces. None for labels.
    """

    path: Path
    width: int
    height: int
    boxes: Boxes
    ignore: Boxes
    source: str = ""
    landmarks: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None


def detected(path: Path, faces: Faces) -> Sample:
    """What a detector found in an image as a sample, to 0.01 px."""
    ignore = np.empty((0, 4), np.float32)
    boxes = faces.boxes.round(2)
    return Sample(path, faces.width, faces.height, boxes, ignore, scores=faces.scores)


def read_sizes(
    paths: Sequence[Path], labels: Path, progress: Progress | None = None
) -> list[tuple[int, int]]:
    """Width and height in px of images whose labels do not give them.

    A missing or broken image gets 0 x 0, so that it does not keep the others from being used;
    whoever reads it reports it.

    Args:
        paths: the image files.
        labels: the label file that names them, for the error.
        progress: called after each image.

    Raises:
        ValueError: none of them can be read.
    """
    sizes: list[tuple[int, int]] = []
    reason = ""
    for path, size in prefetch(paths, _size_or_reason, cores()):
        if isinstance(size, tuple):
            sizes.append(size)
        else:
            sizes.append((0, 0))
            reason = reason or (str(size) if str(path) in str(size) else f"{path}: {size}")
        if progress is not None:
            progress(len(sizes), len(paths))
    if reason and not any(map(any, sizes)):
        raise ValueError(
            f"{labels} does not give the sizes of its images, and none of the {len(sizes):,} can "
            f"be read: {reason}; name their folder, as with extd data convert --images"
        )
    return sizes


def _size_or_reason(path: Path) -> tuple[int, int] | str:
    try:
        return image_size(path)
    except MemoryError:
        return "is too large for the memory of this machine"


def with_sizes(
    samples: Sequence[Sample], labels: Path, progress: Progress | None = None
) -> list[Sample]:
    """The samples, with sizes of 0 replaced by those of their files; see `read_sizes`."""
    unknown = [index for index, sample in enumerate(samples) if not sample.width]
    sizes = read_sizes([samples[index].path for index in unknown], labels, progress)
    complete = list(samples)
    for index, (width, height) in zip(unknown, sizes, strict=True):
        complete[index] = replace(samples[index], width=width, height=height)
    return complete
