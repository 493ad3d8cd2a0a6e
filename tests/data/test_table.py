from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.data.sample import Sample
from extd.data.table import find_table, read_table, write_table

HEAD = "image,width,height,x1,y1,x2,y2,ignore,source"
TABLE = f"""\
{HEAD}
in/a.jpg,64,48,1,2,3.5,4,0,street
empty.jpg,30,60,,,,,0,
in/a.jpg,64,48,5,5,9,9,1,street
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_rows_of_a_picture_are_put_together(tmp_path: Path) -> None:
    first, empty = read_table(write(tmp_path / "labels.csv", TABLE))
    assert (first.path, first.width, first.height) == (tmp_path / "in" / "a.jpg", 64, 48)
    assert first.boxes.tolist() == [[1, 2, 3.5, 4]]
    assert (first.ignore.tolist(), first.source) == ([[5, 5, 9, 9]], "street")
    assert (empty.path, empty.width, empty.height) == (tmp_path / "empty.jpg", 30, 60)
    assert (empty.boxes.shape, empty.ignore.shape, empty.source) == ((0, 4), (0, 4), "")
    assert read_table(tmp_path / "labels.csv", Path("/in"))[1].path == Path("/in/empty.jpg")


def test_columns_stand_in_any_order_and_sizes_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a, b.png"), np.zeros((10, 20, 3), np.uint8))
    text = '\ufeffy2,x2, y1,x1,image,score\r\n9,8,7,6,"a, b.png",0.5\r\n\r\n3,2,1,0,none.png,\r\n'
    first, missing = read_table(write(tmp_path / "labels.csv", text))
    assert (first.boxes.tolist(), first.width, first.height) == ([[6, 7, 8, 9]], 20, 10)
    assert (missing.boxes.tolist(), missing.width) == ([[0, 1, 2, 3]], 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " has no column 'image'; its first line is to name image, x1"),
        ("image;x1;y1;x2;y2\n", " has no column 'image'; .*commas, but is 'image;x1;y1;x2;y2'"),
        ("path,x1,y1,x2,y2,score\n", " has no column 'image'; "),
        (f"{HEAD}\na,64,48,1,2,x,4,0,", ", line 2: could not convert string to float: 'x'"),
        (f"{HEAD}\na,64,48,1,2,,4,0,", ", line 2: could not convert string to float: ''"),
        (f"{HEAD}\na,64,48,1,2,nan,4,0,", r", a: .* is no box of four numbers"),
        (f"{HEAD}\na,64.5,48,,,,,0,", r", line 2: a size of 64\.5 px"),
        (f"{HEAD}\na,64,,,,,,0,", ", line 2: it has only one of width and height"),
        (f"{HEAD}\na,64,48,1,2,3,4,yes,", ", line 2: 'ignore' is 'yes'; give 0 or 1"),
        (f"{HEAD}\n,64,48,1,2,3,4,0,", ", line 2: '' is no name of a picture"),
        (f"{HEAD}\na,64,48,1,2,3,4,0,x,y", ", line 2: it has more cells"),
        (f"{HEAD}\na,64,48,,,,,0,x\na,64,49,,,,,0,x", ", line 3: a is 64 x 49 px .* 64 x 48 px"),
        (f"{HEAD}\na,64,48,,,,,0,x\na,64,48,,,,,0,", ", line 3: a .*source '' here.*'x' before"),
        (f'{HEAD}\n"a"b,64,48,,,,,0,', ", line 2: ',' expected after '\"'"),
    ],
)
def test_bad_rows_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"labels\.csv{message}"):
        read_table(write(tmp_path / "labels.csv", text))


def test_a_table_is_found_in_its_folder(tmp_path: Path) -> None:
    assert find_table(tmp_path) is None
    path = write(tmp_path / "labels.csv", TABLE)
    assert find_table(tmp_path) == find_table(path) == path
    assert find_table(write(tmp_path / "labels.txt", TABLE)) is None


def test_everything_is_written_exactly(tmp_path: Path) -> None:
    boxes = np.array([[0.1, 1 / 3, 216.8, 1e-20], [-3, 4e5, 5, 5]], np.float32)
    names = ["in/a.jpg", 'b, "c"\n.jpg', "na\udcefve.jpg"]
    pictures = [Sample(tmp_path / name, 64, 48, boxes, boxes[:1], "a,b") for name in names]
    pictures.append(Sample(tmp_path / "none.jpg", 30, 60, boxes[:0], boxes[:0]))
    write_table(pictures, tmp_path / "labels.csv")
    back = read_table(tmp_path / "labels.csv")
    for one, same in zip(pictures, back, strict=True):
        assert one.path == same.path
        assert (one.width, one.height, one.source) == (same.width, same.height, same.source)
        assert (one.boxes == same.boxes).all()
        assert (one.ignore == same.ignore).all()
    assert TABLE.startswith((tmp_path / "labels.csv").read_text("utf-8", "replace").split("\n")[0])
