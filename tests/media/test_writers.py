from __future__ import annotations

import csv
import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

import extd
from extd.data.datasets import read_dataset
from extd.faces import Faces
from extd.files import open_text
from extd.images import read_image
from extd.media.writers import (
    csv_header,
    csv_lines,
    json_line,
    open_coco,
    write,
    write_image,
)

HEADER = csv_header(landmarks=False)
FACES = Faces([[1, 2, 30.126, 40], [5, 5, 9, 9]], [0.98766, 0.5], 64, 48)


def test_a_json_line_holds_the_image_and_its_faces() -> None:
    line = json_line("a, b.jpg", FACES)
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "path": "a, b.jpg",
        "width": 64,
        "height": 48,
        "faces": [
            {"box": [1, 2, 30.13, 40], "score": 0.9877},
            {"box": [5, 5, 9, 9], "score": 0.5},
        ],
    }


def test_a_json_line_of_a_failure_holds_its_reason() -> None:
    line = json_line("é\n.jpg", ValueError("broken\nfile"))
    assert line.count("\n") == 1
    assert json.loads(line) == {"path": "é\n.jpg", "error": "broken\nfile"}


def test_csv_has_a_line_a_face() -> None:
    rows = list(csv.DictReader(io.StringIO(HEADER + csv_lines('a, "b".jpg', FACES))))
    assert [row["path"] for row in rows] == ['a, "b".jpg'] * 2
    assert {key: float(value) for key, value in rows[0].items() if key != "path"} == {
        "width": 64,
        "height": 48,
        "x1": 1,
        "y1": 2,
        "x2": 30.13,
        "y2": 40,
        "score": 0.9877,
    }
    assert csv_lines("a.jpg", Faces.empty(2, 2)) == ""


def test_a_text_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "faces.jsonl"
    with open_text(path) as stream:
        stream.write("one\n")
        assert not path.exists()
    assert path.read_text() == "one\n"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("before\n")
    with pytest.raises(TypeError), open_text(path) as stream:
        stream.writelines(["half", 2])  # type: ignore[list-item]
    assert path.read_text() == "before\n"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"

    def write_until_stopped() -> None:
        with open_text(path) as stream:
            stream.write("one\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_until_stopped()
    assert path.read_text() == "one\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_suffix_chooses_the_format(tmp_path: Path) -> None:
    results: list[tuple[str | Path, Faces]]
    results = [("a.jpg", FACES), (Path("b.jpg"), Faces.empty(2, 2))]
    for name in ("faces.jsonl", "faces.csv", "faces.JSON"):
        write(iter(results), tmp_path / name)
    lines = (tmp_path / "faces.jsonl").read_text()
    assert lines == "".join(json_line(str(name), faces) for name, faces in results)
    assert (tmp_path / "faces.csv").read_text() == HEADER + csv_lines("a.jpg", FACES)
    labels = read_dataset(tmp_path / "faces.JSON", "coco", tmp_path)
    assert [image.path.name for image in labels] == ["a.jpg", "b.jpg"]
    assert np.allclose(labels[0].boxes, FACES.boxes, atol=0.02)
    with pytest.raises(ValueError, match=r"faces\.txt: give a name that ends in \.jsonl, \.csv"):
        write(results, tmp_path / "faces.txt")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_coco_of_an_interrupted_run_has_what_was_found(
    tmp_path: Path, stop: type[BaseException]
) -> None:
    path = tmp_path / "faces.json"
    path.write_text("before")

    def write_until_stopped() -> None:
        with open_coco(path) as add:
            add("a.jpg", FACES)
            raise stop

    with pytest.raises(stop):
        write_until_stopped()
    if stop is KeyboardInterrupt:
        assert [len(image.boxes) for image in read_dataset(path, "coco", tmp_path)] == [2]
    else:
        assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_its_place_and_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "real.csv", tmp_path / "link.csv", tmp_path / "pipe"
    target.write_text("before\n")
    link.symlink_to(target)
    with open_text(link) as stream:
        stream.write("after\n")
    assert link.is_symlink()
    assert target.read_text() == "after\n"

    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    with open_text(pipe) as stream:
        stream.write("one\n")
    reader.join()
    assert received == ["one\n"]
    assert pipe.is_fifo()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name), open_text(tmp_path):
        pass


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_an_image_keeps_its_colors(tmp_path: Path, suffix: str) -> None:
    image = np.full((20, 30, 3), (200, 30, 60), np.uint8)
    path = tmp_path / "new" / f"image{suffix}"
    write_image(path, image)
    assert list(path.parent.iterdir()) == [path]
    assert np.abs(read_image(path).astype(int) - image).max() <= 3


def test_an_image_too_wide_for_its_format_names_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wide.webp"
    with pytest.raises(ValueError, match=r"wide\.webp.*17000 x 1"):
        write_image(path, np.zeros((1, 17000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
    capfd.readouterr()


def test_landmarks_are_in_json_and_csv(tmp_path: Path) -> None:
    points = np.arange(20).reshape(2, 5, 2) + 0.125
    faces = Faces([[0, 0, 9, 9], [5, 5, 9, 9]], [0.9, 0.8], 30, 20, points)
    (first, _) = json.loads(json_line("a.jpg", faces))["faces"]
    assert first["landmarks"] == [
        [0.12, 1.12],
        [2.12, 3.12],
        [4.12, 5.12],
        [6.12, 7.12],
        [8.12, 9.12],
    ]
    write([("a.jpg", faces)], tmp_path / "a.csv")
    _, row = csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))
    assert (row["x_left_eye"], row["y_right_mouth"]) == ("10.12", "19.12")
    frames = csv_header(landmarks=True, frames=True) + csv_lines("a.mp4", faces, (7, 0.28))
    assert next(csv.DictReader(io.StringIO(frames)))["frame"] == "7"


@pytest.mark.parametrize(("quality", "sampling"), [(60, 2), (98, 0), (80, 1)])
def test_jpeg_keeps_quantization_and_sampling(
    tmp_path: Path, toy: str, quality: int, sampling: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 30, (96, 128, 3), np.uint8)
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    PIL.Image.fromarray(noise).save(source, quality=quality, subsampling=sampling)
    detector = extd.Detector(toy)
    extd.blur_image(source, target, detector)
    with PIL.Image.open(source) as before, PIL.Image.open(target) as after:
        assert isinstance(before, JpegImageFile)
        assert isinstance(after, JpegImageFile)
        assert after.quantization == before.quantization
        assert get_sampling(after) == get_sampling(before) == sampling
        assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).mean() < 8
    assert abs(target.stat().st_size / source.stat().st_size - 1) < 0.1
    extd.blur_image(source, target, detector, extd.BlurOptions(quality=20))
    assert target.stat().st_size < source.stat().st_size
    extd.blur_image(source, tmp_path / "c.webp", detector)
    extd.blur_image(source, tmp_path / "d.webp", detector, extd.BlurOptions(quality=20))
    sizes = [(tmp_path / name).stat().st_size for name in ("c.webp", "d.webp")]
    assert sizes[1] < sizes[0] / 2


def test_gray_and_cmyk_jpeg_are_written(tmp_path: Path, toy: str) -> None:
    for mode in ("L", "CMYK"):
        PIL.Image.new(mode, (64, 48)).save(tmp_path / f"{mode}.jpg", quality=50)
        extd.blur_image(tmp_path / f"{mode}.jpg", tmp_path / "out.jpg", extd.Detector(toy))
        assert read_image(tmp_path / "out.jpg").shape == (48, 64, 3)
