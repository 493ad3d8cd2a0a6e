"""A labelled picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled picture, as a label file describes it.

    Attributes:
        path: the picture file.
        width, height: its size, px.
        boxes: N x 4 float32 faces, xyxy px; they may reach beyond the picture or have no area.
        ignore: M x 4 float32 regions that count neither as face nor as background.
        source: the collection that it comes from.
        landmarks: N x 10 float32, x and y of the eyes, nose and corners of the mouth, image-left
            first, px; NaN where a face has none. None where the label file has none at all.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    ignore: NDArray[np.float32]
    source: str = ""
    landmarks: NDArray[np.float32] | None = None
