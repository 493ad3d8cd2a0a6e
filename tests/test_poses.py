from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from extd.poses import Pose, posed, upright

poses = st.builds(Pose, st.integers(0, 3), st.booleans())


@given(poses, st.data())
def test_a_box_goes_with_its_pixels(pose: Pose, data: st.DataObject) -> None:
    height, width = 20, 30
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    rows, columns = np.nonzero(posed(image, pose)[:, :, 0])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    boxes = upright(np.array([seen], np.float32), pose, width, height)
    assert boxes.tolist() == [[x1, y1, x2, y2]]


def test_turns_are_clockwise_and_nothing_is_copied() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 255
    turned = posed(image, Pose(1, mirrored=False))
    assert turned.shape == (3, 2, 3)
    assert turned[0, 1, 0] == 255
    assert np.shares_memory(turned, image)
    assert np.shares_memory(posed(image, Pose(3, mirrored=True)), image)
