from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from extd.detections import Detections
from extd.tta import Augmentation, apply, undo

augmentations = st.builds(Augmentation, st.integers(0, 3), st.booleans())


@given(augmentations, st.data())
def test_boxes_and_landmarks_go_with_their_pixels(
    augmentation: Augmentation, data: st.DataObject
) -> None:
    height, width = 20, 30
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    rows, columns = np.nonzero(apply(image, augmentation)[:, :, 0])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # All landmarks in the corner that the box's own first corner has become, or another.
    points = np.array([[seen[:2]] * 5], np.float32)
    found = Detections(np.array([seen], np.float32), np.ones(1, np.float32), points)
    boxes, _, landmarks = undo(found, augmentation, width, height)
    assert boxes.tolist() == [[x1, y1, x2, y2]]
    assert np.isin(landmarks[..., 0], (x1, x2)).all()
    assert np.isin(landmarks[..., 1], (y1, y2)).all()


def test_the_eyes_of_a_mirrored_face_change_sides() -> None:
    points = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    found = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), points)
    _, _, landmarks = undo(found, Augmentation(0, mirrored=True), 100, 50)
    assert landmarks[0].tolist() == [[98, 3], [100, 1], [96, 5], [92, 9], [94, 7]]


def test_turns_are_clockwise_and_nothing_is_copied() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 255
    turned = apply(image, Augmentation(1, mirrored=False))
    assert turned.shape == (3, 2, 3)
    assert turned[0, 1, 0] == 255
    assert np.shares_memory(turned, image)
    assert np.shares_memory(apply(image, Augmentation(3, mirrored=True)), image)
