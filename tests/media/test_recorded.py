from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extd.faces import Faces
from extd.media.recorded import read_faces
from extd.media.video import Frame
from extd.media.writers import json_line

Write = Callable[..., Path]
FACES = Faces([[1, 2, 30, 40], [5, 6, 7, 8]], [0.5, 0.25], 64, 48)
IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(*lines: object) -> Path:
        texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
        Path("faces.jsonl").write_text("".join(texts))
        return Path("faces.jsonl")

    return write


def test_what_was_written_is_read(write: Write) -> None:
    tracked = Faces(FACES.boxes, FACES.scores, 64, 48, ids=[4, 9])
    recorded = read_faces(
        write(
            json_line("a.png", FACES),
            json_line("b.mp4", tracked, (0, 60.0)),
            "\n",
            json_line("b.mp4", ValueError("it breaks off")),
        )
    )
    assert recorded.find(Frame(IMAGE, "a.png")) == FACES
    assert recorded.find(Frame(IMAGE, str(Path("a.png").absolute()))) == FACES
    # Here the first frame that was detected is not the first of the video.
    assert recorded.find(Frame(IMAGE, "b.mp4", 1500, 60.0)) == tracked
    assert recorded.find(Frame(IMAGE, "b.mp4", 0, 0.0)) is None
    assert (recorded.ids("a.png"), recorded.ids("b.mp4")) == (set(), {4, 9})
    with pytest.raises(ValueError, match=r"faces\.jsonl has no line about c\.png"):
        recorded.find(Frame(IMAGE, "c.png"))
    with pytest.raises(ValueError, match=r"a\.png has 9 x 9 px, but 64 x 48 in faces\.jsonl"):
        recorded.find(Frame(IMAGE[:9, :9], "a.png"))


def test_pages_of_the_same_time_are_told_apart(write: Write) -> None:
    pages = [json_line("a.tif", FACES[:count], (count, 0.0)) for count in (1, 2)]
    recorded = read_faces(write(*pages))
    found = [recorded.find(Frame(IMAGE, "a.tif", index)) for index in range(3)]
    assert found == [None, FACES[:1], FACES]


def test_a_face_needs_only_its_box(write: Write) -> None:
    faces = [{"box": [5, 6, 7, 8]}, {"box": [1, 2, 3, 4], "id": 7}]
    recorded = read_faces(write({"path": "a.png", "width": 64, "height": 48, "faces": faces}))
    found = recorded.find(Frame(IMAGE, "a.png"))
    assert [face.id for face in found] == [None, 7]
    assert found.scores.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ""}, "path is ''"),
        ({"path": 3}, "path is 3"),
        ({"width": 0}, "0 x 48 px"),
        ({"width": "64"}, "64 x 48 px; give whole numbers"),
        ({"frame": -1}, "frame is -1"),
        ({"frame": 1.5}, r"frame is 1\.5"),
        ({"time": float("nan")}, "time is nan"),
        ({"time": True}, "time is True"),
        ({"faces": {}}, "faces is not a list"),
        ({"faces": [[1, 2, 3, 4]]}, "faces is not a list"),
        ({"faces": [{"score": 0.5}]}, "'box' is missing"),
        ({"faces": [{"box": [1, 2, 3]}]}, r"shape \(1, 3\)"),
        ({"faces": [{"box": [3, 2, 1, 4]}]}, "x1 <= x2"),
        ({"faces": [{"box": "none"}]}, "none"),
        ({"faces": [{"box": [1, 2, 3, 4], "score": 2}]}, "score 2"),
        ({"faces": [{"box": [1, 2, 3, 4], "id": "3"}]}, "id is '3'"),
        ({"faces": [{"box": [1, 2, 3, 4], "id": True}]}, "id is True"),
    ],
)
def test_a_bad_line_is_named_by_number(
    write: Write, changes: dict[str, object], message: str
) -> None:
    good = {"path": "a.png", "width": 64, "height": 48, "faces": []}
    bad = write(good, "\n", {**good, "path": "b.png", **changes})
    with pytest.raises(ValueError, match=rf"faces\.jsonl, line 3: .*{message}"):
        read_faces(bad)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": "a.png",\n', "it is not JSON: Expecting .* at character 1"),
        ("[]", "it is not a JSON object"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"path": "b.png"}', "'width' is missing"),
        (json_line("a.png", FACES), r"an earlier line is about the same frame of a\.png"),
    ],
)
def test_what_is_no_line_at_all_is_named_by_number(write: Write, line: str, message: str) -> None:
    bad = write(json_line("a.png", FACES), line)
    with pytest.raises(ValueError, match=rf"faces\.jsonl, line 2: {message}"):
        read_faces(bad)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.jsonl"):
        read_faces(tmp_path / "none.jsonl")
