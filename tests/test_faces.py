from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from extd.faces import Face, Faces

TWO = Faces([[1, 2, 30, 40], [5, 6, 7, 8]], [0.9, 0.25], width=64, height=48)


def test_iteration_and_indices_give_face_values() -> None:
    first, second = TWO
    assert first == Face((1, 2, 30, 40), first.score)
    assert first.score == pytest.approx(0.9)
    assert second == Face((5, 6, 7, 8), 0.25)
    assert TWO[-1] == TWO[1]
    assert len(TWO) == 2
    with pytest.raises(IndexError):
        TWO[2]


def test_slices_masks_and_positions_choose_faces() -> None:
    assert list(TWO[:1]) == [TWO[0]]
    assert list(TWO[TWO.scores > 0.5]) == [TWO[0]]
    assert list(TWO[np.array([1, 0])]) == [TWO[1], TWO[0]]
    assert (TWO[2:].width, TWO[2:].height, len(TWO[2:])) == (64, 48, 0)


def test_arrays_are_float32_copies_that_cannot_be_written() -> None:
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    faces = Faces(boxes, np.array([0.5]), 10, 10)
    boxes[:] = 0
    assert faces.boxes.tolist() == [[1, 2, 3, 4]]
    assert faces.boxes.dtype == faces.scores.dtype == np.float32
    for array in (faces.boxes, faces.scores):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_equality_compares_contents() -> None:
    assert Faces(TWO.boxes, TWO.scores, 64, 48) == TWO
    assert Faces(TWO.boxes, TWO.scores, 64, 49) != TWO
    assert Faces(TWO.boxes + 1, TWO.scores, 64, 48) != TWO
    assert Faces.empty(3, 2) == Faces.empty(3, 2)
    assert Faces.empty(3, 2) != "no faces"


def test_empty_has_the_shapes_of_a_result() -> None:
    empty = Faces.empty(width=3, height=2)
    assert empty.boxes.shape == (0, 4)
    assert empty.scores.shape == (0,)
    assert (empty.width, empty.height, len(empty), list(empty)) == (3, 2, 0, [])
    assert empty.to_dict() == []


@pytest.mark.parametrize(
    ("boxes", "scores", "width", "message"),
    [
        ([[1, 2, 3]], [0.5], 9, r"shape \(1, 3\)"),
        ([1, 2, 3, 4], [0.5], 9, r"shape \(4,\)"),
        ([[1, 2, 3, 4]], [0.5, 0.6], 9, r"shape \(2,\)"),
        ([[1, 2, 3, 4]], [1.5], 9, r"1\.5"),
        ([[1, 2, 3, 4]], [np.nan], 9, "nan"),
        ([[1, 2, np.inf, 4]], [0.5], 9, "inf"),
        ([[1, 2, 3, 4], [7, 2, 3, 4]], [0.5, 0.5], 9, r"\[7\.0, 2\.0, 3\.0, 4\.0\]"),
        ([[1, 2, 3, 4]], [0.5], 0, "0 x 9"),
    ],
)
def test_a_wrong_value_is_named(
    boxes: ArrayLike, scores: ArrayLike, width: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Faces(boxes, scores, width, 9)


@given(
    st.lists(
        st.tuples(
            st.floats(-1e4, 1e4, width=32),
            st.floats(-1e4, 1e4, width=32),
            st.floats(0, 1e4, width=32),
            st.floats(0, 1e4, width=32),
            st.floats(0, 1, width=32),
        )
    )
)
def test_json_is_the_values_rounded(rows: list[tuple[float, ...]]) -> None:
    boxes = [[x, y, x + w, y + h] for x, y, w, h, _ in rows]
    faces = Faces(np.reshape(boxes, (-1, 4)), [row[4] for row in rows], 100, 100)
    records = json.loads(json.dumps(faces.to_dict()))
    assert len(records) == len(faces)
    for face, record in zip(faces, records, strict=True):
        assert list(record) == ["box", "score"]
        assert record["box"] == [round(value, 2) for value in face.box]
        assert record["score"] == round(face.score, 4)


def test_supervision_gets_copies_of_one_class() -> None:
    pytest.importorskip("supervision")
    detections = TWO.to_supervision()
    assert np.array_equal(detections.xyxy, TWO.boxes)
    assert np.array_equal(detections.confidence, TWO.scores)
    assert detections.class_id.tolist() == [0, 0]
    assert detections.xyxy.dtype == np.float32
    detections.xyxy[:] = 0
    assert TWO.boxes[0].tolist() == [1, 2, 30, 40]
    assert len(Faces.empty(3, 2).to_supervision()) == 0


def test_ids_belong_to_faces() -> None:
    faces = Faces(TWO.boxes, TWO.scores, 64, 48, ids=[7, -1])
    assert [face.id for face in faces] == [7, None]
    assert faces[1:].ids.tolist() == [-1]
    assert [row.get("id") for row in faces.to_dict()] == [7, None]
    assert faces != TWO
    both = faces.join(TWO)
    assert both.ids.tolist() == [7, -1, -1, -1]
    assert np.array_equal(both.boxes, np.concatenate([TWO.boxes] * 2))
    assert faces.join(Faces.empty(64, 48)) is faces
    with pytest.raises(ValueError, match=r"ids have shape \(1,\); expected \(2,\)"):
        Faces(TWO.boxes, TWO.scores, 64, 48, ids=[1])


@pytest.mark.parametrize(
    ("method", "package"),
    [("to_supervision", "supervision"), ("to_pandas", "pandas"), ("to_arrow", "pyarrow")],
)
def test_a_missing_package_is_explained(
    monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"Faces.{method} needs .*pip install {package}"):
        getattr(TWO, method)()


def test_tables_have_a_row_a_face() -> None:
    points = np.arange(20).reshape(2, 5, 2)
    marked = Faces(TWO.boxes, TWO.scores, 64, 48, points)
    for faces in (TWO, marked, Faces.empty(64, 48)):
        frame, table = faces.to_pandas(), faces.to_arrow()
        assert set(frame.dtypes) == {np.dtype(np.float32)}
        assert list(frame.columns) == table.column_names
        assert table.to_pydict() == frame.to_dict("list")
        assert np.array_equal(frame[["x1", "y1", "x2", "y2"]], faces.boxes)
        assert np.array_equal(frame["score"], faces.scores)
    assert list(frame.columns) == ["x1", "y1", "x2", "y2", "score"]
    frame = marked.to_pandas()
    assert frame["x_left_eye"].tolist() == points[:, 0, 0].tolist()
    assert frame["y_right_mouth"].tolist() == points[:, 4, 1].tolist()
    assert Faces(TWO.boxes, TWO.scores, 64, 48, ids=[7, -1]).to_pandas()["id"].tolist() == [7, -1]
    frame.loc[0, "x1"] = 0
    assert TWO.boxes[0, 0] == 1


def test_sizes_are_whole_numbers_of_any_kind() -> None:
    faces = Faces([[0, 0, 1, 1]], [0.5], np.int64(640), np.uint16(480))
    assert (type(faces.width), type(faces.height)) == (int, int)
    with pytest.raises(ValueError, match=r"the image is 640\.5 x 480 px; give whole numbers"):
        Faces([], [], 640.5, 480)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda faces: pickle.loads(pickle.dumps(faces))])
def test_copies_are_equal_and_read_only(copied: Callable[[Faces], Faces]) -> None:
    faces = Faces([[0, 0, 1, 1]], [0.5], 640, 480)
    again = copied(faces)
    assert again == faces
    assert not again.boxes.flags.writeable
    assert not again.scores.flags.writeable
