from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.media.crops import SIDE, TEMPLATE, align, similarity


@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.1, 30),
    x=st.floats(-100, 100),
    y=st.floats(-100, 100),
)
def test_a_similarity_is_found_again(angle: float, scale: float, x: float, y: float) -> None:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    wanted = np.array([[cos, -sin, x], [sin, cos, y]])
    moved = TEMPLATE @ wanted[:, :2].T + wanted[:, 2]
    assert np.allclose(similarity(TEMPLATE, moved), wanted, atol=1e-6 * scale)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.7, 12.0])
def test_landmarks_come_to_their_places(scale: float) -> None:
    points = TEMPLATE * scale + (40, 25)
    height, width = (np.array([120, 160]) * max(scale, 1) + 60).astype(int)
    rows, columns = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3), np.uint8)
    # A spot of its own color on each of the first three.
    for channel, (px, py) in enumerate(points[:3]):
        distance = np.hypot(columns - px, rows - py)
        image[distance < 4 * scale, channel] = 255
    aligned = align(image, points)
    assert aligned.shape == (SIDE, SIDE, 3)
    for channel, place in enumerate(TEMPLATE[:3]):
        spot = np.argwhere(aligned[..., channel] > 127)[:, ::-1] + 0.5
        assert np.abs(spot.mean(0) - place).max() < 0.6


def test_what_cannot_be_aligned_is_refused() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    assert align(image, np.full((5, 2), 3.0)) is None
    with pytest.raises(ValueError, match="size is 0"):
        align(image, TEMPLATE, 0)


def test_beyond_the_image_it_is_black() -> None:
    image = np.full((200, 200, 3), 255, np.uint8)
    assert align(image, TEMPLATE * 4 - 1000).max() == 0
