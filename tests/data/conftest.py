from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

Write = Callable[[Mapping[str, object]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files into the test's folder, which it returns.

    Their content is text, bytes, or width and height of an image of one color.
    """

    def write(files: Mapping[str, object]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, tuple):
                width, height = content
                assert cv2.imwrite(str(path), np.full((height, width, 3), width, np.uint8))
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(str(content), encoding="utf-8")
        return tmp_path

    return write
