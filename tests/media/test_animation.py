from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import extd
from extd.cli.app import main
from extd.images import read_image
from extd.media.animation import frame_count, open_animation, read_single
from extd.pixels import GRAY

SUFFIXES = [".gif", ".webp", ".png", ".avif", ".tif"]


def draw(red: int, *, alpha: bool = False) -> PIL.Image.Image:
    """A 64 x 48 image with a face for the toy detector; its right half may be transparent."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[24:32, 8:16, :2] = red, 6
    # Encoders merge frames that are the same.
    pixels[:8, :8, 2] = red
    pixels[..., 3] = 255
    if alpha:
        pixels[:, 32:] = 200, 10, 10, 0
    return PIL.Image.fromarray(pixels) if alpha else PIL.Image.fromarray(pixels).convert("RGB")


def save(path: Path, frames: list[PIL.Image.Image], **options: object) -> Path:
    duration = [100, 200, 300][: len(frames)]
    disposal = {"disposal": 2} if path.suffix == ".gif" else {}
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    options = {"save_all": True, "duration": duration, **disposal, **lossless, **options}
    frames[0].save(path, append_images=frames[1:], **options)
    return path


def read(path: Path) -> list[tuple[np.ndarray, float]]:
    with PIL.Image.open(path) as image:
        frames = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            pixels = np.asarray(image.convert("RGBA"))
            frames.append((pixels, image.info.get("duration", 0)))
        return frames


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("in_place", [False, True])
def test_all_frames_are_covered_and_keep_format_and_times(
    tmp_path: Path, toy: str, suffix: str, in_place: bool
) -> None:
    source = save(tmp_path / f"a{suffix}", [draw(60), draw(250), draw(252)])
    out = tmp_path / "out"
    where = ["--in-place"] if in_place else ["--out", str(out)]
    command = ["blur", str(source), *where, "--model", toy, "--method", "solid", "--threshold"]
    assert main([*command, "0.6", "--no-check"]) == 0
    result = source if in_place else out / source.name
    frames = read(result)
    assert len(frames) == 3
    if suffix != ".tif":
        assert [time for _, time in frames] == [100, 200, 300]
        # In animations, the face of the second frame is taken to be there in the first.
        assert frames[0][0][24:32, 8:16, 0].max() < 20
    for pixels, _ in frames[1:]:
        assert pixels[24:32, 8:16, 0].max() < 20
    if suffix == ".tif":
        assert frames[0][0][28, 12, 0] == 60


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif", ".tif"])
def test_frames_stay_transparent(tmp_path: Path, toy: str, suffix: str) -> None:
    frames = [draw(250, alpha=True), draw(40, alpha=True)]
    source = save(tmp_path / f"a{suffix}", frames)
    detector = extd.Detector(toy, options=extd.Options(threshold=0.8))
    options = extd.BlurOptions(check_threshold=None)
    report = extd.blur_image(source, tmp_path / f"b{suffix}", detector, options)
    assert (report.frames, report.faces) == (2, 1)
    for pixels, _ in read(tmp_path / f"b{suffix}"):
        assert (pixels[:, 34:, 3] == 0).all()
        # Gray; black where the encoder of WebP repeats the frame before; anything in GIF.
        color = pixels[4, 40, :3].astype(int)
        assert suffix == ".gif" or np.abs(color - GRAY).max() < 8 or not color.any()
        assert np.abs(pixels[:, 34:, :3].astype(int) - color).max() < 8


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_name_the_frame(tmp_path: Path, toy: str, suffix: str) -> None:
    source = save(tmp_path / f"a{suffix}", [draw(0), draw(250)])
    assert main(["detect", str(source), "--json", str(tmp_path / "rows"), "--model", toy]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [(row["frame"], len(row["faces"])) for row in rows] == [(0, 0), (1, 1)]
    csv = tmp_path / "a.csv"
    assert main(["detect", str(source), "--csv", str(csv), "--model", toy]) == 0
    lines = csv.read_text().splitlines()
    assert lines[0].startswith("path,frame,time,width")
    assert lines[1].startswith(f"{source},1,")
    frames = list(extd.open_source(source))
    assert [frame.index for frame in frames if isinstance(frame, extd.Frame)] == [0, 1]
    yolo = str(tmp_path / "labels")
    assert main(["detect", str(source), "--yolo", yolo, "--model", toy]) == 1
    assert main(["detect", str(source), "--out", str(tmp_path / "boxed"), "--model", toy]) == 0
    assert len(read(tmp_path / "boxed" / source.name)) == 2


def test_faces_of_all_pages_are_cropped(tmp_path: Path, toy: str) -> None:
    source = save(tmp_path / "a.tif", [draw(0), draw(250)])
    out = tmp_path / "out"
    assert main(["crop", str(source), "--out", str(out), "--model", toy]) == 0
    assert [path.name for path in out.iterdir()] == ["a.tif-0002-001.png"]


def test_pages_may_differ(tmp_path: Path, toy: str) -> None:
    source = save(tmp_path / "a.tif", [draw(250).resize((128, 96)), draw(40, alpha=True)])
    extd.blur_image(source, tmp_path / "b.tif", extd.Detector(toy))
    shapes = [pixels.shape for pixels, _ in read(tmp_path / "b.tif")]
    assert shapes == [(96, 128, 4), (48, 64, 4)]


def test_what_cannot_be_written_is_refused(
    tmp_path: Path, toy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    animated = save(tmp_path / "a.png", [draw(0), draw(250)]).rename(tmp_path / "a.jpg")
    assert main(["blur", str(animated), "--out", str(tmp_path / "out"), "--model", toy]) == 1
    assert "2 frames of PNG, which cannot be written as .jpg" in capsys.readouterr().err
    broken = save(tmp_path / "b.gif", [draw(0), draw(250), draw(9)])
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-40])
    before = broken.read_bytes()
    main(["blur", str(broken), "--in-place", "--model", toy])
    assert frame_count(broken) == len(list(extd.open_source(broken)))
    assert broken.read_bytes() == before or frame_count(broken) == 3
    many = ["blur", str(animated), "--out", str(tmp_path / "out"), "--model", toy]
    assert main([*many, "--max-pixels", "4000"]) == 1
    assert "2 frames of 64 x 48 pixels, more than 4,000 together" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="several frames"):
        extd.detect_image(animated, extd.Detector(toy), target=tmp_path / "c.png")


def test_a_still_image_has_one_frame(tmp_path: Path) -> None:
    draw(0).save(tmp_path / "a.gif")
    assert frame_count(tmp_path / "a.gif") == 1
    with open_animation(tmp_path / "a.gif") as animation:
        (frame,) = animation.frames()
    assert isinstance(frame, extd.Frame)
    assert (frame.image == read_image(tmp_path / "a.gif")).all()


@pytest.mark.parametrize(("suffix", "side"), [(".jpg", 16), (".png", None)])
def test_only_what_is_decoded_smaller_counts_as_smaller(
    suffix: str, side: int | None, tmp_path: Path
) -> None:
    PIL.Image.new("RGB", (64, 64)).save(path := tmp_path / f"a{suffix}")
    image = read_single(path, max_pixels=10**6, largest=16 * 16, reduction=lambda _: 4)
    assert (None if image is None else image.pixels.shape[0]) == side
