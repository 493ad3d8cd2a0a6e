from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from extd.faces import Faces
from extd.media.annotate import annotate
from extd.media.anonymize import anonymize
from extd.media.crops import crops

FACES = Faces([[2, 2, 9, 9]], [0.9], 30, 20)


@pytest.mark.parametrize("work", [annotate, anonymize, crops])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.jpg", "the image is 'photo.jpg'; give what extd.read_image makes of it"),
        (np.zeros((20, 30), np.uint8), r"uint8 \[20, 30\]; give uint8 \[H, W, 3\]"),
        (np.zeros((20, 30, 3), np.float32), r"float32 \[20, 30, 3\]; give uint8"),
        (np.zeros((20, 31, 3), np.uint8), "of 30 x 20 px, but the image has 31 x 20"),
    ],
)
def test_what_is_no_image_or_another_is_refused(
    work: Callable[..., Any], image: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        work(image, FACES)
