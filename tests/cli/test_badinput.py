"""What is wrong with files, folders and disks."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extd.cli.app import main
from extd.images import read_image

Draw = Callable[..., Path]
Captured = pytest.CaptureFixture[str]

OUT = {command: [command, "album", "--out", "new"] for command in ("detect", "crop")}
# The toy detector finds faces in the blur of others.
OUT["blur"] = ["blur", "--no-check", "album", "--out", "new"]


def files() -> list[str]:
    """All files in the working directory and below."""
    return sorted(path.as_posix() for path in Path().rglob("*") if not path.is_dir())


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Within it, a file ends at that size in bytes, in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
            "bomb.png has 30,000 x 30,000 pixels in 41 bytes, more than 62,500,000; "
            "raise max_pixels (--max-pixels)",
        ),
        ("Gr\u00fc\u00dfe \u5bb6\u65cf.jpg", b"", "Gr\u00fc\u00dfe \u5bb6\u65cf.jpg is empty"),
    ],
)
@pytest.mark.parametrize("command", OUT)
def test_a_bad_image_is_named_and_the_others_go_on(
    draw: Draw, toy: str, capsys: Captured, name: str, content: bytes | str, told: str, command: str
) -> None:
    draw("album/z.png", 255)
    if isinstance(content, str):
        data = draw(f"whole{Path(name).suffix}", 255).read_bytes()
        content = data[: len(data) // 2]
    Path("album", name).write_bytes(content)
    assert main([*OUT[command], "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert err.count("error: ") == err.count("\n") == 1
    assert told in err
    assert "1 face" in out
    assert "1 failed" in out
    assert [path.name[:1] for path in Path("new").iterdir()] == ["z"]


@pytest.mark.parametrize("command", OUT)
def test_an_empty_name_is_not_this_folder(
    draw: Draw, toy: str, capsys: Captured, command: str
) -> None:
    draw("a.png", 255)
    results = ["--in-place"] if command == "blur" else ["--out", "new"]
    before = Path("a.png").read_bytes()
    assert main([command, "", *results, "--model", toy]) == 2
    assert 'an input is ""; name a file' in capsys.readouterr().err
    assert Path("a.png").read_bytes() == before
    assert files() == ["a.png"]


@pytest.mark.parametrize("command", ["detect", "blur"])
def test_without_pyav_a_video_among_images_is_reported_and_the_others_go_on(
    draw: Draw, toy: str, capsys: Captured, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    draw("album/a.png", 255)
    Path("album/b.mp4").write_bytes(b"any")
    assert main([*OUT[command], "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: album/b.mp4: video needs the package av; run: pip install")
    assert "1 face in 1 file, 1 failed" in out
    assert [path.name for path in Path("new").iterdir()] == ["a.png"]
    assert main([command, "album/b.mp4", "--out", "new", "--model", toy]) == 1
    assert capsys.readouterr().err.startswith("error: video needs the package av")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main([command, "--out", "new", "--model", toy, "--", "-"]) == 0
    assert "0 faces in 0 images" in capsys.readouterr().out


@pytest.mark.parametrize("size", [(1, 1), (30_000, 1), (1, 30_000)])
@pytest.mark.parametrize("command", OUT)
def test_tiny_images_and_long_strips_pass(
    draw: Draw, toy: str, size: tuple[int, int], command: str
) -> None:
    draw("whole.png")
    Image.new("RGB", size, (255, 4, 0)).save("strip.png")
    arguments = [command, "strip.png", "--out", "new", "--model", toy, "--tile", "256"]
    assert main(arguments) == 0
    made = sorted(Path("new").iterdir())
    assert made[0].name == ("strip-001.png" if command == "crop" else "strip.png")
    if command != "crop":
        assert read_image(made[0]).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("command", OUT)
def test_a_image_above_the_limit_is_refused_and_the_others_go_on(
    draw: Draw, toy: str, capsys: Captured, command: str
) -> None:
    draw("album/a.png", 255)
    Image.new("RGB", (300, 200)).save("album/large.webp")
    assert main([*OUT[command], "--model", toy, "--max-pixels", "59999"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: album/large.webp has 300 x 200 pixels in ")
    assert "--max-pixels" in err
    assert "1 face" in out
    assert [path.name[:1] for path in Path("new").iterdir()] == ["a"]
    assert main([*OUT[command], "--model", toy, "--max-pixels", "60000"]) == 0


def test_a_pipe_is_a_image_and_a_device_is_none(draw: Draw, toy: str, capsys: Captured) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    Image.fromarray(noise).save(draw("a.png"))
    command = [sys.executable, "-m", "extd", "detect", "/dev/stdin", "--model", toy, "--json"]
    with subprocess.Popen(["cat", "a.png"], stdout=subprocess.PIPE) as cat:
        result = subprocess.run(command, stdin=cat.stdout, capture_output=True, check=True)
    assert json.loads(result.stdout)["width"] == 300
    assert main(["detect", "/dev/zero", "a.png", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert err == "error: /dev/zero is a device, not an image\n"
    assert "1 image, 1 failed" in out


@pytest.mark.parametrize("kind", ["jpg", "gif"])
def test_standard_input_holds_an_image_or_names(draw: Draw, toy: str, kind: str) -> None:
    draw("a.png", 255)
    Image.open("a.png").save(f"line\nbreak.{kind}", quality=100)
    data = Path(f"line\nbreak.{kind}").read_bytes()
    begin = [sys.executable, "-m", "extd"]
    end = ["--model", toy, "--threshold", "0.3"]

    def path(data: bytes, *more: str) -> str:
        command = [*begin, "detect", "-", "--json", "-", *more, *end]
        result = subprocess.run(command, input=data, capture_output=True, check=True)
        record = json.loads(result.stdout)
        assert len(record["faces"]) == 1
        return str(record["path"])

    assert path(data) == "/dev/stdin"
    assert path(b"a.png\n") == "a.png"
    assert path(f"line\nbreak.{kind}\0".encode(), "--from0") == f"line\nbreak.{kind}"
    # It is opened several times, for its pixels, transparency and encoding.
    command = [*begin, "blur", "-", "--out", "new", *end]
    assert b"1 face" in subprocess.run(command, input=data, capture_output=True, check=True).stdout
    assert read_image("new/stdin.png").shape == (48, 64, 3)


@pytest.mark.parametrize("command", OUT)
def test_what_cannot_be_opened_is_told(
    draw: Draw, toy: str, capsys: Captured, command: str
) -> None:
    draw("album/a.png", 255)
    with socket.socket(socket.AF_UNIX) as no_file:
        no_file.bind("album/b.png")
        assert main([*OUT[command], "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert err.count("error: ") == 1
    assert "album/b.png" in err
    assert "1 failed" in out
    assert [path.name[:1] for path in Path("new").iterdir()] == ["a"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="root may read everything")
@pytest.mark.parametrize("inputs", [["album"], ["album/**/*.png", "album/b.png"]])
def test_closed_files_and_folders_are_told(draw: Draw, toy: str, inputs: list[str]) -> None:
    draw("album/a.png", 255)
    closed = draw("album/b.png", 255), draw("album/c/d.png").parent
    for path in closed:
        path.chmod(0)
    # Of these, root alone has any to lose.
    as_anyone = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    prefix = as_anyone if os.geteuid() == 0 else []
    command = [*prefix, sys.executable, "-m", "extd", "detect", *inputs, "--model", toy]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        for path in closed:
            path.chmod(0o700)
    assert result.returncode == 1
    assert [line.split("'")[1] for line in result.stderr.splitlines()] == ["album/b.png", "album/c"]
    assert result.stderr.count("Permission denied") == 2
    assert "1 face in 1 image, 2 failed" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["detect", "--json", "new/faces"], "new/faces"),
        (["detect", "--csv", "new/faces"], "new/faces"),
        (["detect", "--coco", "new/faces"], "new/faces"),
        (["detect", "--out", "new"], "new/a.png"),
        (["detect", "--yolo", "new"], "new/a.txt"),
        (["detect", "--wider", "new"], "new/a.txt"),
        (["crop", "--out", "new"], "new/a-001.png"),
        (["blur", "--out", "new"], "new/a.png"),
        (["blur", "--in-place"], "album/a.png"),
    ],
)
def test_a_full_disk_leaves_what_was_there(
    draw: Draw, toy: str, capsys: Captured, arguments: Sequence[str], target: str
) -> None:
    inputs = [draw(f"album/{name}.png", 255) for name in "ab"]
    if "--in-place" not in arguments:
        Path("new").mkdir()
        Path(target).write_text("before")
    before = {name: Path(name).read_bytes() for name in files()}
    with full_disk(10):
        assert main([*arguments, "album", "--model", toy]) == 1
    err = capsys.readouterr().err
    assert "File too large" in err
    # One file of all results is lost with the first; files of their own are tried for each.
    told = [target] if target == "new/faces" else map(str, inputs)
    assert all(name in err for name in told)
    assert {name: Path(name).read_bytes() for name in files()} == before


def test_a_full_standard_output_is_told(draw: Draw, toy: str) -> None:
    draw("album/a.png", 255)
    command = [sys.executable, "-m", "extd", "detect", "album", "--model", toy, "--json", "-"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert result.stderr == b"error: [Errno 28] No space left on device\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="file names there are UTF-8")
def test_results_have_the_names_of_any_bytes(draw: Draw, toy: str) -> None:
    name = os.fsdecode(b"album/caf\xe9.png")
    draw("album/a.png", 255).rename(name)
    draw("album/Gr\u00fc\u00dfe \u5bb6\u65cf.png", 255)
    Path(os.fsdecode(b"album/b\xe9.jpg")).write_text("text")
    labels = ["--yolo", "labels", "--wider", "found", "--coco", "faces.json"]
    for arguments in OUT.values():
        command = [sys.executable, "-m", "extd", *arguments[:-1], arguments[0], "--model", toy]
        command += labels if arguments[0] == "detect" else []
        result = subprocess.run(command, capture_output=True, check=False)
        assert result.returncode == 1
        assert result.stderr.startswith(b"error: album/b\xe9.jpg is broken")
        assert result.stderr.count(b"\n") == 1
    for folder, ending in {
        "detect": ".png",
        "labels": ".txt",
        "found": ".txt",
        "crop": "-001.png",
        "blur": ".png",
    }.items():
        names = sorted(os.fsencode(path.name) for path in Path(folder).iterdir())
        stems = b"Gr\xc3\xbc\xc3\x9fe \xe5\xae\xb6\xe6\x97\x8f", b"caf\xe9"
        assert names == [stem + ending.encode() for stem in stems]
    assert Path("found", "caf\udce9.txt").read_bytes().startswith(b"caf\xe9.jpg\n")
    listed = json.loads(Path("faces.json").read_text())["images"]
    assert name in {image["file_name"] for image in listed}


@pytest.mark.parametrize("command", OUT)
def test_a_result_folder_that_is_a_loop_is_refused(
    draw: Draw, toy: str, capsys: Captured, command: str
) -> None:
    draw("album/a.png", 255)
    Path("new").symlink_to("again")
    Path("again").symlink_to("new")
    assert main([*OUT[command], "--model", toy]) == 2
    assert (
        '"new" for --out. It is a link that leads nowhere; give a folder' in capsys.readouterr().err
    )


@pytest.mark.parametrize("option", ["--json", "--csv", "--coco"])
def test_a_result_takes_the_place_of_a_loop(draw: Draw, toy: str, option: str) -> None:
    draw("a.png", 255)
    Path("faces").symlink_to("faces")
    assert main(["detect", "a.png", option, "faces", "--model", toy]) == 0
    assert "1.0" in Path("faces").read_text()
    assert files() == ["a.png", "faces"]


def test_of_a_video_that_breaks_off_what_was_seen_is_written(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    av = pytest.importorskip("av")
    draw("album/z.png", 255)
    image = read_image("album/z.png")
    with av.open("album/film.mkv", "w") as output:
        track = output.add_stream("libx264", rate=25, options={"crf": "1", "g": "1"})
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(track.encode(frame))
        output.mux(track.encode())
    data = Path("album/film.mkv").read_bytes()
    Path("album/film.mkv").write_bytes(data[: len(data) // 2])
    results = ["--out", "new", "--json", "faces.jsonl", "--csv", "faces.csv"]
    assert main(["detect", "album", *results, "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: album/film.mkv: it ends after ")
    assert err.count("\n") == 1
    assert "in 1 file, 1 failed" in out
    lines = [json.loads(line) for line in Path("faces.jsonl").read_text().splitlines()]
    seen = [line["frame"] for line in lines if "frame" in line]
    assert 10 < len(seen) < 40
    assert seen == list(range(len(seen)))
    assert "ends after" in lines[len(seen)]["error"]
    assert lines[-1]["path"] == "album/z.png"
    assert Path("faces.csv").read_text().count("film.mkv") == len(seen)
    with av.open("new/film.mkv") as boxed:
        assert sum(1 for _ in boxed.decode(video=0)) == len(seen)
    assert files() == [
        "album/film.mkv",
        "album/z.png",
        "faces.csv",
        "faces.jsonl",
        "new/film.mkv",
        "new/z.png",
    ]


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
