from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.measure.predictions import Prediction
from extd.measure.subsets import ATTRIBUTES, EDGES, by_attribute, by_size, find, restricted
from extd.measure.wider import Picture, evaluate, load_ground_truth

WriteTruth = Callable[..., Path]
sides = st.lists(st.floats(2, 600), min_size=1, max_size=8)


def row_of_faces(name: str, sizes: list[float]) -> Picture:
    """Square faces side by side, which all count in the hard set."""
    left = np.cumsum([0.0, *(size + 5 for size in sizes[:-1])])
    boxes = np.column_stack([left, np.zeros(len(sizes)), sizes, sizes])
    return Picture("0--Parade", name, boxes, np.ones((3, len(sizes)), np.bool_))


def seen(picture: Picture, scores: list[float], alarms: int = 0, alarm: float = 0.0) -> Prediction:
    """A detection of each face with a score above 0, and some of no face."""
    faces = picture.boxes[np.array(scores) > 0]
    nothing = np.array([[0.0, 5000.0 + 50 * i, 20, 20] for i in range(alarms)]).reshape(-1, 4)
    values = [*(score for score in scores if score > 0), *([alarm] * alarms)]
    return Prediction(np.concatenate([faces, nothing]), np.array(values))


@given(sides)
def test_every_face_has_one_size(sizes: list[float]) -> None:
    subsets = by_size([row_of_faces("a", sizes)])
    keep = subsets.pictures[0].keep
    assert keep[0].all()
    assert (keep[1:].sum(0) == 1).all()
    assert len(subsets.names) == len(keep) == len(EDGES) + 2
    for size, column in zip(sizes, keep.T, strict=True):
        name = subsets.names[int(column[1:].argmax()) + 1]
        low, _, high = name.removeprefix("< ").removeprefix(">= ").partition("-")
        # The area is the square of the side but for rounding.
        if name.startswith("<"):
            assert size < EDGES[0] * 1.0001
        elif name.startswith(">="):
            assert size > EDGES[-1] * 0.9999
        else:
            assert float(low) * 0.9999 < size < float(high) * 1.0001


def test_faces_that_do_not_count_are_in_no_group() -> None:
    picture = row_of_faces("a", [10, 20])
    keep = np.array([[True, True], [True, True], [True, False]])
    subsets = by_size([Picture("0--Parade", "a", picture.boxes, keep)])
    assert subsets.faces[0] == sum(subsets.faces[1:]) == 1


def test_recall_is_taken_where_false_alarms_are_as_many_as_allowed() -> None:
    small, large = row_of_faces("a", [10, 100, 100]), row_of_faces("b", [10, 100])
    subsets = by_size([small, large])
    predictions = {
        small.key: seen(small, [0.9, 0.8, 0.2], alarms=2, alarm=0.5),
        large.key: seen(large, [0.0, 0.3]),
    }
    none = {small.key: seen(small, [0.5] * 3, 9, 0.5), large.key: seen(large, [0.5] * 2)}
    assert find(none, subsets, 1.0).false_alarms == 0
    assert find(none, subsets, 1.0).recall[0] == 0
    strict, loose = (find(predictions, subsets, allowed) for allowed in (0.5, 1.0))
    tiny = subsets.names.index("8-12")
    medium = subsets.names.index("96-128")
    assert strict.false_alarms == 0
    assert (strict.recall[0], strict.recall[tiny], strict.recall[medium]) == (0.4, 0.5, 1 / 3)
    assert loose.false_alarms == 1
    assert (loose.recall[0], loose.recall[tiny], loose.recall[medium]) == (0.8, 0.5, 1.0)
    assert np.isnan(loose.recall[subsets.names.index("16-24")])
    hard = evaluate(predictions, [small, large]).hard.ap
    assert loose.ap[0] == pytest.approx(hard)


def test_attributes_are_read_from_the_official_file(
    tmp_path: Path, write_truth: WriteTruth
) -> None:
    """One event of two pictures, with two faces and one."""
    boxes = np.array([[0.0, 0, 20, 20], [50, 0, 20, 20]])
    plain = [np.zeros((2, 1)), np.zeros((1, 1))]
    blurred = [np.array([[2.0], [0.0]]), np.array([[1.0]])]
    attributes = dict.fromkeys(ATTRIBUTES, plain) | {"blur": blurred}
    write_truth(tmp_path, {"a": boxes, "b": boxes[:1]}, attributes)
    subsets = by_attribute(load_ground_truth(tmp_path), tmp_path)
    faces = dict(zip(subsets.names, subsets.faces, strict=True))
    assert faces["all"] == 3
    assert (faces["clear"], faces["normal blur"], faces["heavy blur"]) == (1, 1, 1)
    assert (faces["typical pose"], faces["atypical pose"]) == (3, 0)
    one = restricted(subsets, ["0--Parade/b"])
    assert dict(zip(one.names, one.faces, strict=True))["normal blur"] == one.faces[0] == 1
    with pytest.raises(ValueError, match="'0--Parade/c' is predicted but is not in"):
        restricted(subsets, ["0--Parade/c"])
