from __future__ import annotations

import dataclasses
import inspect
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from extd.cli.app import main
from extd.cli.inference import INFERENCE
from extd.detector import Detector, Options
from extd.images import MAX_PIXELS

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
def test_a_bad_image_is_named_and_the_others_go_on(
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


def test_links_that_lead_to_themselves_are_no_trap(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("album/a.png", 255)
    Path("album/loop").symlink_to("../album")
    Path("album/b.png").symlink_to("b.png")
    assert main(["detect", "album", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert "1 face in 1 image, 1 failed" in out
    assert "there is no file album/b.png" in err
