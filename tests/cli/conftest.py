from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Writes a 64 x 48 picture, with a face of 12 px a red level, into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, *reds: int) -> Path:
        image = np.zeros((48, 64, 3), np.uint8)
        for index, red in enumerate(reds):
            image[24:32, 8 + 24 * index : 16 + 24 * index, 1:] = 6, red
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(name, image)
        return path

    return write
