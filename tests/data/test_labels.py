from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from extd.data.labels import find_labels, read_labels, write_labels
from extd.data.sample import Sample


def line(**change: object) -> str:
    entry = {"image": "in/a.jpg", "width": 64, "height": 48, "boxes": [[1, 2, 3.5, 4]], **change}
    return json.dumps({key: value for key, value in entry.items() if value is not ...})


def test_a_line_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    full = line(ignore=[[5, 5, 9, 9]], source="street", scale=0.5)
    path.write_text(f"{line(boxes=[])}\n\n{full}\n{line(ignore_boxes=[[1, 1, 2, 2]])}")
    empty, street, older = read_labels(path)
    assert (empty.path, empty.width, empty.height) == (tmp_path / "in/a.jpg", 64, 48)
    assert (empty.boxes.shape, empty.ignore.shape, empty.source) == ((0, 4), (0, 4), "")
    assert street.boxes.tolist() == [[1, 2, 3.5, 4]]
    assert (street.ignore.tolist(), street.source) == ([[5, 5, 9, 9]], "street")
    assert older.ignore.tolist() == [[1, 1, 2, 2]]
    assert street.boxes.dtype == street.ignore.dtype == np.float32


def test_boxes_that_are_of_no_use_are_kept(tmp_path: Path) -> None:
    boxes = [[5, 5, 5, 9], [9, 9, 5, 5], [-9, -9, 900, 900], [1, 1, 2, 2], [1, 1, 2, 2]]
    path = tmp_path / "labels.jsonl"
    path.write_text(line(boxes=boxes))
    assert read_labels(path)[0].boxes.tolist() == boxes


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "line 2: Expecting"),
        ("[]", "line 2: it is no JSON object"),
        (line(width="wide"), "line 2: a size of 'wide' px"),
        (line(height=0), "line 2: a size of 0 px"),
        (line(height=...), "line 2: 'height' is missing"),
        (line(image=""), "line 2: '' is no name of a picture"),
        (line(image=7), "line 2: 7 is no name"),
        (line(boxes=...), "line 2: 'boxes' is missing"),
        (line(boxes=[[1, 2, 3]]), r"line 2: \[1, 2, 3\] is no box of four numbers"),
        (line(boxes=[[1, 2, 3, float("nan")]]), r"line 2: .*nan\] is no box"),
        (line(ignore=None), "line 2: None is no list of boxes"),
    ],
)
def test_bad_lines_are_named(bad: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{line()}\n{bad}\n")
    with pytest.raises(ValueError, match=rf"labels\.jsonl, {message}"):
        read_labels(path)


def test_a_file_is_found_in_its_folder_and_in_an_archive(tmp_path: Path) -> None:
    assert find_labels(tmp_path) is None
    path = tmp_path / "labels.jsonl"
    path.write_text(line())
    assert find_labels(tmp_path) == find_labels(path) == path
    assert find_labels(tmp_path / "other.jsonl") is None
    archive = tmp_path / "part-000.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.write(path, "labels.jsonl")
    found = find_labels(archive)
    assert found == archive / "labels.jsonl"
    assert read_labels(found)[0].path == archive / "in" / "a.jpg"


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(line())
    assert read_labels(path, Path("/pictures"))[0].path == Path("/pictures/in/a.jpg")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.jsonl"):
        read_labels(tmp_path / "none.jsonl")


def test_everything_is_written_exactly(tmp_path: Path) -> None:
    boxes = np.array([[0.1, 1 / 3, 216.8, 1e-20], [-3, 4e5, 5, 5]], np.float32)
    names = ["in/a.jpg", "../b c.jpg", "na\udcefve.jpg"]
    pictures = [
        Sample(tmp_path / name, 64, 48, boxes, boxes[:1], "str\u00e4\u00dfe") for name in names
    ]
    write_labels(pictures, tmp_path / "new" / "labels.jsonl")
    back = read_labels(tmp_path / "new" / "labels.jsonl")
    assert [one.path.resolve() for one in back] == [one.path.resolve() for one in pictures]
    for one in back:
        assert (one.width, one.height, one.source) == (64, 48, "str\u00e4\u00dfe")
        assert (one.boxes == boxes).all()
        assert (one.ignore == boxes[:1]).all()


@pytest.mark.shared
def test_the_training_set_comes_back_as_it_was(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "train" / "labels.jsonl"
    pictures = read_labels(path)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(one.boxes) for one in pictures] == [len(one["boxes"]) for one in entries]
    write_labels(pictures, tmp_path / "labels.jsonl")
    for one, same in zip(pictures, read_labels(tmp_path / "labels.jsonl"), strict=True):
        assert (one.boxes == same.boxes).all()
        assert (one.ignore == same.ignore).all()
        assert (one.width, one.height, one.source) == (same.width, same.height, same.source)
    assert same.path.resolve() == one.path.resolve()
