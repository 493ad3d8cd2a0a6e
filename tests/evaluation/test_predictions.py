from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.evaluation.predictions import (
    Prediction,
    read_prediction,
    read_predictions,
    to_prediction,
    write_predictions,
)
from extd.faces import Faces

KEY = "0--Parade/0_Parade_Parade_0_12"

number = st.floats(-1e4, 1e4, allow_nan=False)
size = st.floats(0, 1e4, allow_nan=False)
row = st.tuples(number, number, size, size, number)


@given(st.lists(row, max_size=20))
def test_files_hold_predictions_exactly(rows: list[tuple[float, ...]]) -> None:
    values = np.reshape(np.array(rows, np.float64), (-1, 5))
    with TemporaryDirectory() as folder:
        write_predictions(Path(folder), {KEY: Prediction(values[:, :4], values[:, 4])})
        back = read_predictions(Path(folder))
    assert back.keys() == {KEY}
    assert np.array_equal(back[KEY].boxes, values[:, :4])
    assert np.array_equal(back[KEY].scores, values[:, 4])


def test_the_layout_is_that_of_wider(tmp_path: Path) -> None:
    faces = Faces([[10, 20.5, 40.25, 60], [0, 0, 8, 8]], [0.875, 0.5], 100, 80)
    write_predictions(tmp_path, {KEY: to_prediction(faces)})
    assert (tmp_path / f"{KEY}.txt").read_text() == (
        f"{KEY}.jpg\n2\n10.0 20.5 30.25 39.5 0.875\n0.0 0.0 8.0 8.0 0.5\n"
    )


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_predictions(tmp_path, {KEY: Prediction(np.ones((3, 4)), np.ones(3))})
    write_predictions(tmp_path, {KEY: Prediction(np.zeros((0, 4)), np.zeros(0))})
    assert len(read_prediction(tmp_path / f"{KEY}.txt")) == 0
    assert [path.name for path in (tmp_path / "0--Parade").iterdir()] == [
        "0_Parade_Parade_0_12.txt"
    ]


@pytest.mark.parametrize("name", ["0_Parade_Parade_0_12", "0_Parade_Parade_0_12.jpg", f"{KEY}.jpg"])
def test_names_of_other_tools_and_windows_line_ends_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "0_Parade_Parade_0_12.txt"
    path.write_bytes(f"{name}\r\n1\r\n1 2 3 4 0.5\r\n\r\n".encode())
    assert read_prediction(path).boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r": it is about no image, not 'face' alone"),
        ("other.jpg\n0\n", r": it is about \['other.jpg'\], not 'face' alone"),
        ("face.jpg\n0\nb.jpg\n0\n", r": it is about \['face.jpg', 'b.jpg'\], not 'face' alone"),
        ("face.jpg\n", r", line 2: the number of faces of 'face.jpg' is missing"),
        ("face.jpg\n-1\n", r", line 2: 'face.jpg' cannot have -1 faces"),
        ("face.jpg\n2\n1 2 3 4 0.5\n", r", line 2: .* cannot have 2 faces: the list ends before"),
        (
            "face.jpg\n0\n1 2 3 4 0.5\n",
            r", line 4: the number of faces of '1 2 3 4 0.5' is missing",
        ),
        (
            "face.jpg\n1\n1 2 3 4\n",
            r", line 3: '1 2 3 4' has 4 numbers; expected 5: x, y, w.*, score",
        ),
        ("face.jpg\n2\n1 2 3 4 1\n1 2 x 4 1\n", r", line 4: could not convert .* 'x'"),
        ("face.jpg\n1\n1 2 -3 4 1\n", r": the detection .*-3.0, .* has a negative width or height"),
        ("face.jpg\n1\n1 2 3 4 nan\n", r": the detection .*, nan\] is not finite"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "face.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"face\.txt{message}"):
        read_prediction(path)


def test_a_folder_without_predictions_says_where_they_are_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"EVENT/IMAGE\.txt"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        (np.zeros((2, 5)), np.zeros(2), r"shapes \(2, 5\) and \(2,\)"),
        (np.zeros((2, 4)), np.zeros(3), r"shapes \(2, 4\) and \(3,\)"),
        (np.array([[0, 0, 1, np.inf]]), np.zeros(1), "is not finite"),
        (np.array([[0, 0, -1, 1]]), np.zeros(1), "negative width or height"),
    ],
)
def test_impossible_predictions_are_refused(
    boxes: np.ndarray, scores: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Prediction(boxes, scores)


def test_predictions_cannot_be_changed() -> None:
    source = np.ones((1, 4))
    value = Prediction(source, np.ones(1))
    source[0, 0] = 7
    assert value.boxes[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        value.scores[0] = 0
