from __future__ import annotations

import dataclasses
import inspect
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from extd.cli.app import main
from extd.cli.inference import INFERENCE
from extd.detector import Detector, Options
from extd.images import MAX_PIXELS, read_image

Draw = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def test_defaults_are_those_of_the_library() -> None:
    for field in dataclasses.fields(Options):
        if hasattr(INFERENCE, field.name):
            assert getattr(INFERENCE, field.name) == getattr(Options(), field.name)
    assert INFERENCE.max_pixels == MAX_PIXELS
    threads = inspect.signature(Detector).parameters["threads"]
    assert INFERENCE.machine.threads == threads.default


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many grey pixels and holds none."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + struct.pack(">I", zlib.crc32(chunk))
    return header + b"\0\0\0\x09IDAT"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("cut.jpg", "half", "cut.jpg is broken: "),
        ("cut.png", "half", "cut.png is broken: "),
        ("empty.jpg", b"", "empty.jpg is empty"),
        ("text.jpg", b"Dear Sir or Madam", "text.jpg is broken or not an image"),
        (
            "bomb.png",
            png_header(30_000, 30_000),
            "bomb.png has 30,000 x 30,000 pixels, more than 500,000,000 together; "
            "raise max_pixels (--max-pixels)",
        ),
        ("Gr\u00fc\u00dfe \u5bb6\u65cf.jpg", b"", "Gr\u00fc\u00dfe \u5bb6\u65cf.jpg is empty"),
    ],
)
@pytest.mark.parametrize("command", ["detect", "crop", "blur"])
def test_a_bad_picture_is_named_and_the_others_go_on(
    draw: Draw, toy: str, capsys: Captured, name: str, content: bytes | str, told: str, command: str
) -> None:
    draw("album/z.png", 255)
    if isinstance(content, str):
        data = draw(f"whole{Path(name).suffix}", 255).read_bytes()
        content = data[: len(data) // 2]
    Path("album", name).write_bytes(content)
    assert main([command, "album", "--out", "new", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert err.count("error: ") == err.count("\n") == 1
    assert told in err
    assert "1 face" in out
    assert "1 failed" in out
    assert [path.name[:1] for path in Path("new").iterdir()] == ["z"]


def test_the_limit_of_pixels_can_be_moved(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("a.png", 255)
    for command in (["detect", "a.png"], ["crop", "a.png", "--out", "faces"]):
        assert main([*command, "--model", toy, "--max-pixels", str(64 * 48)]) == 0
        assert main([*command, "--model", toy, "--max-pixels", str(64 * 48 - 1)]) == 1
        assert "more than 3,071 together" in capsys.readouterr().err
    # Lifted, a bomb is broken at most.
    Path("bomb.png").write_bytes(png_header(30_000, 30_000))
    assert main(["detect", "bomb.png", "--model", toy, "--max-pixels", "1000000000"]) == 1
    assert "bomb.png is broken" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (30_000, 2), (2, 30_000)])
def test_tiny_pictures_and_long_strips_pass(
    draw: Draw, toy: str, capsys: Captured, size: tuple[int, int]
) -> None:
    draw("a.png")
    Image.new("RGB", size, (255, 4, 0)).save("strip.png")
    assert main(["detect", "strip.png", "--json", "--out", "new", "--model", toy]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["width"], record["height"]) == size
    assert len(record["faces"]) >= 1
    assert read_image("new/strip.png").shape == (size[1], size[0], 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_is_told_for_each_kind_of_result(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("a.png", 255)
    for option in ("--json", "--csv", "--coco"):
        assert main(["detect", "a.png", option, "/dev/full", "--model", toy]) == 1
        err = capsys.readouterr().err
        assert "No space left on device" in err
        assert "/dev/full" in err


def test_a_folder_that_cannot_be_listed_is_told(
    draw: Draw, toy: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("album/a.png", 255)
    draw("album/closed/b.png", 255)
    scandir = os.scandir

    def refuse(path: str | Path = ".") -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert main(["detect", "album", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert "album/closed" in err
    assert "1 face in 1 image, 1 failed" in out


def test_links_that_lead_to_themselves_are_no_trap(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("album/a.png", 255)
    Path("album/loop").symlink_to("../album")
    Path("album/b.png").symlink_to("b.png")
    assert main(["detect", "album", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert "1 face in 1 image, 1 failed" in out
    assert "there is no file album/b.png" in err
