from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from extd.cli.app import main
from extd.images import read_image

Draw = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return main(["blur", *arguments])


def faces_of(path: Path | str) -> list[bool]:
    """Whether each of the two cells of a drawn face is still red."""
    image = read_image(path).astype(int)
    return [bool(image[28, 12 + 24 * index, 0] > 100) for index in range(2)]


def test_a_folder_gives_the_same_tree_with_faces_covered(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    inputs = [draw("album/a.png", 255), draw("album/trip/b.png", 255, 204), draw("album/c.bmp")]
    before = [path.read_bytes() for path in inputs]
    Path("album/notes.txt").write_text("left alone")
    Path("album/.hidden").write_text("not counted")
    command = ["album", "--out", "new", "--model", toy, "--method", "solid"]
    for _ in range(2):
        assert run(*command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-5:] == [
        "    1  album/a.png",
        "    0  album/c.bmp",
        "    2  album/trip/b.png",
        "3 faces in 3 images; left alone: 1 .txt",
        "written: new",
    ]
    written = sorted(path.relative_to("new").as_posix() for path in Path("new").rglob("*.*"))
    assert written == ["a.png", "c.bmp.png", "trip/b.png"]
    assert [path.read_bytes() for path in inputs] == before
    assert faces_of("album/trip/b.png") == [True, True]
    assert faces_of("new/trip/b.png") == [False, False]
    # The face is 12 px around the cell's centre.
    assert not read_image("new/a.png")[22:34, 6:18].any()


def test_in_place_replaces_the_image_and_what_a_link_means(draw: Draw, toy: str) -> None:
    draw("album/a.png", 255).chmod(0o600)
    original = draw("elsewhere/b.png", 255)
    Path("album/link.png").symlink_to(original.absolute())
    assert run("album", "--in-place", "--model", toy, "--method", "solid") == 0
    assert faces_of("album/a.png") == faces_of(original) == [False, False]
    assert Path("album/link.png").is_symlink()
    assert Path("album/a.png").stat().st_mode & 0o777 == 0o600


def test_a_file_of_many_links_is_covered_once_in_place(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("album/a.png", 255)
    for number in range(5):
        Path(f"album/b{number}.png").symlink_to("a.png")
    assert run("album", "--in-place", "--model", toy) == 0
    assert "1 face in 1 image" in capsys.readouterr().out


def test_in_place_never_loses_what_is_not_written(draw: Draw, toy: str, capsys: Captured) -> None:
    draw("album/a.bmp", 255)
    frames = [Pillow.new("RGB", (64, 48), color) for color in ("red", "blue")]
    frames[0].save("b.webp", save_all=True, append_images=frames[1:])
    Path("b.webp").rename("album/b.png")
    Pillow.new("L", (64, 48), 128).save("c.png", transparency=128)
    Path("c.png").rename("album/c.jpg")
    Pillow.new("I;16", (64, 48)).save("album/d.png")
    before = [path.read_bytes() for path in sorted(Path("album").iterdir())]
    assert run("album", "--in-place", "--model", toy) == 1
    assert [path.read_bytes() for path in sorted(Path("album").iterdir())] == before
    assert [path.name for path in sorted(Path("album").iterdir())] == [
        *("a.bmp", "b.png", "c.jpg", "d.png")
    ]
    told = capsys.readouterr().err
    assert "2 frames of WEBP, which cannot be written as .png" in told
    assert "transparent parts" in told
    assert "16 bits" in told


def test_it_is_told_that_of_16_bits_a_channel_8_are_written(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("album/a.png", 255)
    pixels = np.zeros((48, 64, 3), np.uint16)
    assert cv2.imwrite("album/color.png", pixels)
    assert cv2.imwrite("album/color.tif", pixels)
    Pillow.new("I;16", (64, 48)).save("album/gray.png")
    assert run("album", "--out", "new", "--no-check", "--model", toy) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"note: album/{name}: only 8 of its 16 bits a channel are written"
        for name in ("color.png", "color.tif", "gray.png")
    ]


def test_in_place_keeps_owner_and_times_and_tells_of_hard_links(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    path = draw("album/a.png", 255)
    path.chmod(0o640)
    owner = 12345 if os.geteuid() == 0 else os.geteuid()
    os.chown(path, owner, -1)
    os.utime(path, ns=(10**18, 10**18 + 700))
    Path("elsewhere.png").hardlink_to(path)
    assert run("album", "--in-place", "--model", toy, "--method", "solid") == 0
    after = path.stat()
    assert (after.st_uid, after.st_mode & 0o777) == (owner, 0o640)
    assert after.st_mtime_ns == 10**18 + 700
    told = capsys.readouterr().err
    assert told == "note: album/a.png: 1 hard link to it elsewhere still shows the faces\n"
    assert faces_of("elsewhere.png") == [True, False]
    assert run("album", "--in-place", "--model", toy) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_the_metadata_of_a_pipe_cannot_be_kept(draw: Draw, toy: str, capsys: Captured) -> None:
    content = draw("a.png", 255).read_bytes()
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=[content])
    writer.start()
    assert run("pipe", "--out", "new", "--keep-metadata", "--model", toy) == 1
    writer.join()
    assert "pipe is not a file; write it without metadata" in capsys.readouterr().err


def test_a_second_look_covers_and_reports_what_was_left(
    draw: Draw, toy: str, capsys: Captured
) -> None:
    draw("a.png", 255, 64)
    command = ["a.png", "--out", "new", "--model", toy, "--method", "solid"]
    level = read_image("a.png")[28, 36, 0]
    assert run(*command, "--no-check") == 0
    assert read_image("new/a.png")[28, 36, 0] == level
    assert capsys.readouterr().err == ""
    assert run(*command) == 0
    assert capsys.readouterr().err == (
        "note: a.png: also covered after a second look: 0.25 at 30,22,42,34\n"
    )
    assert not read_image("new/a.png").any()
    assert run(*command, "--keep", "30,20,45,40") == 0
    assert read_image("new/a.png")[28, 36, 0] == level
    assert capsys.readouterr().err == ""


def test_kept_regions_are_left_alone(draw: Draw, toy: str) -> None:
    draw("a.png", 255, 255)
    command = ["a.png", "--out", "new", "--model", toy, "--method", "solid"]
    assert run(*command, "--keep", "30,20,45,40") == 0
    assert faces_of("new/a.png") == [False, True]
    assert run(*command, "--keep", "30,20,45,40", "--keep", "0,0,20,40") == 0
    assert faces_of("new/a.png") == [True, True]


def test_a_image_covers_faces(draw: Draw, toy: str) -> None:
    draw("a.png", 255)
    assert cv2.imwrite("smile.png", np.full((9, 9, 3), (255, 0, 0), np.uint8))
    assert (
        run("a.png", "--method", "image", "--image", "smile.png", "--out", "new", "--model", toy)
        == 0
    )
    assert (read_image("new/a.png")[22:34, 6:18] == (0, 0, 255)).all()


def test_metadata_goes_unless_it_is_kept(draw: Draw, toy: str) -> None:
    exif = Pillow.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    with Pillow.open(draw("a.png", 255)) as picture:
        picture.save("taken.jpg", exif=exif, comment=b"me")
    command = ["taken.jpg", "--model", toy]
    assert run(*command, "--out", "bare") == 0
    assert run(*command, "--out", "kept", "--keep-metadata") == 0
    with Pillow.open("bare/taken.jpg") as bare, Pillow.open("kept/taken.jpg") as kept:
        assert not bare.getexif()
        assert "comment" not in bare.info
        assert kept.getexif().get_ifd(0x8825) == {1: "N"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["album"], "either --out DIR or --in-place"),
        (["album", "--out", "new", "--in-place"], "either --out DIR or --in-place"),
        (["album", "--out", "album/a.png"], "is a file"),
        (["album/a.png", "--out", "album"], "would replace the image album/a.png"),
        (["album", "--out", "new", "--keep", "1,2,3"], "--keep: '1,2,3'"),
        (["album", "--out", "new", "--keep", "3,2,1,5"], "3,2,1,5"),
        (["album", "--out", "new", "--margin", "-1"], "margin is -1"),
        (["album", "--out", "new", "--strength", "0"], "strength is 0"),
        (["album", "--out", "new", "--method", "image"], "needs an image"),
        (["album", "--out", "new", "--image", "missing.png"], "missing.png"),
        (["album", "--out", "new", "--method", "smear"], "smear"),
    ],
)
def test_wrong_usage_is_explained(
    draw: Draw, toy: str, capsys: Captured, arguments: list[str], message: str
) -> None:
    picture = draw("album/a.png", 255)
    before = picture.read_bytes()
    assert run(*arguments, "--model", toy) == 2
    assert message in capsys.readouterr().err
    assert picture.read_bytes() == before
    assert list(Path().rglob("*.*")) == [picture]
