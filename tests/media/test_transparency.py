from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

import extd
from extd.faces import Faces
from extd.images import read_image
from extd.media.anonymize import AnonymizeOptions, Method
from extd.media.frames import open_source
from extd.media.transparency import Layers, read_layers
from extd.media.video import Frame
from extd.media.writers import write_image
from extd.pixels import GRAY

HIDDEN = (200, 10, 10)
SURE = extd.Options(threshold=0.7)
"""The toy detector takes gray for a face, too."""


def draw(path: Path) -> Path:
    """A face for the toy detector at the left, hidden red at the right, 60 % alpha below."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[24:32, 8:16, :3] = 255, 6, 0
    pixels[:, 40:] = *HIDDEN, 0
    pixels[40:, :8] = 153, 150, 157, 153
    PIL.Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_is_transparent_stays_so_and_hides_nothing(
    tmp_path: Path, toy: str, suffix: str
) -> None:
    source = draw(tmp_path / f"a{suffix}")
    before = source.read_bytes()
    options = extd.BlurOptions(AnonymizeOptions("solid"), check_threshold=None)
    detector = extd.Detector(toy, options=SURE)
    for name in ("b.png", "b.webp"):
        report = extd.blur_image(source, tmp_path / name, detector, options)
        assert report.faces == 1
        with PIL.Image.open(tmp_path / name) as image:
            assert image.mode == "RGBA"
            pixels = np.asarray(image)
        assert (pixels[:, 40:] == (GRAY, GRAY, GRAY, 0)).all()
        assert (pixels[40:, :8] == (153, 150, 157, 153)).all()
        assert not pixels[22:34, 6:18, :3].any()
        assert (pixels[22:34, 6:18, 3] == 255).all()
    extd.blur_image(source, tmp_path / "c.jpg", detector, options)
    assert np.abs(read_image(tmp_path / "c.jpg")[:, 48:].astype(int) - GRAY).max() < 4
    assert source.read_bytes() == before
    extd.detect_image(source, extd.Detector(toy, options=SURE), target=tmp_path / "d.png")
    assert (read_image(tmp_path / "d.png")[:, 40:] == GRAY).all()


def test_transparency_is_kept_in_place(tmp_path: Path, toy: str) -> None:
    source = draw(tmp_path / "a.png")
    options = extd.BlurOptions(AnonymizeOptions("solid"))
    extd.blur_image(source, source, extd.Detector(toy, options=SURE), options)
    with PIL.Image.open(source) as image:
        assert image.getpixel((60, 4)) == (GRAY, GRAY, GRAY, 0)
        assert image.getpixel((12, 28)) == (0, 0, 0, 255)


def test_opaque_images_have_no_layers(tmp_path: Path) -> None:
    for mode, name in (("RGBA", "a.png"), ("RGB", "a.jpg"), ("I;16", "b.png")):
        PIL.Image.new(mode, (4, 4)).save(tmp_path / name)
    PIL.Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "a.png")
    assert [read_layers(tmp_path / name) for name in ("a.png", "a.jpg", "b.png")] == [None] * 3


@pytest.mark.parametrize("method", ["blur", "pixelate", "solid"])
def test_a_face_in_the_opacity_is_covered_there(method: Method) -> None:
    alpha = np.random.default_rng(0).integers(1, 255, (48, 64), np.uint8)
    layers = Layers(np.zeros((48, 64, 3), np.uint8), alpha)
    faces = Faces(np.array([[8, 8, 40, 40]], np.float32), np.ones(1, np.float32), 64, 48)
    covered = layers.anonymize(faces, AnonymizeOptions(method))
    assert covered.alpha[16:32, 16:32].std() < alpha.std() / 3
    assert (covered.alpha[:, 50:] == alpha[:, 50:]).all()


def test_an_outline_in_the_opacity_is_kept() -> None:
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, :20] = 0
    layers = Layers(np.zeros((48, 64, 3), np.uint8), alpha)
    faces = Faces(np.array([[8, 8, 40, 40]], np.float32), np.ones(1, np.float32), 64, 48)
    assert (layers.anonymize(faces, AnonymizeOptions()).alpha == alpha).all()


def test_the_transparent_parts_of_a_video_are_gray(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as output:
        track = output.add_stream("libvpx-vp9", rate=25, options={"auto-alt-ref": "0"})
        track.width = track.height = 64
        track.pix_fmt = "yuva420p"
        for index in range(3):
            pixels = np.full((64, 64, 4), 255, np.uint8)
            pixels[:, 32:] = *HIDDEN, 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(track.encode(frame))
        output.mux(track.encode())
    frames = list(extd.open_source(path))
    assert len(frames) == 3
    for item in frames:
        assert isinstance(item, extd.Frame)
        assert np.abs(item.image[:, 36:].astype(int) - GRAY).max() < 4
        assert item.image[:, :28].min() > 240


def test_jpeg_has_no_transparency(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    write_image(tmp_path / "a.jpg", pixels)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - GRAY).max() < 3


def ghostly(path: Path, codec: str, pixel_format: str) -> Path:
    """Write a video of three frames: red below an alpha that is 0, 128 and 255 in stripes."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 21:42, 3], pixels[:, 42:, 3] = 128, 255
    with av.open(str(path), "w") as output:
        track: Any = output.add_stream(codec, rate=10, options={"auto-alt-ref": "0"})
        track.width, track.height, track.pix_fmt = 64, 48, pixel_format
        for _ in range(3):
            output.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        output.mux(track.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "result"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p", "b.webm"),
        ("a.mov", "prores_ks", "yuva444p10le", "b.mov"),
        ("a.mkv", "ffv1", "bgra", "b.mkv"),
        ("a.mov", "png", "rgba", "b.mkv"),
    ],
)
def test_videos_keep_their_transparency(
    tmp_path: Path, toy: str, name: str, codec: str, pixel_format: str, result: str
) -> None:
    source, target = ghostly(tmp_path / name, codec, pixel_format), tmp_path / result
    # Nothing is covered.
    detector = extd.Detector(toy, options=extd.Options(threshold=0.95))
    report = extd.blur_video(source, target, detector, extd.BlurOptions(check_threshold=None))
    assert (report.frames, report.error) == (3, None)
    frames = list(open_source(target))
    assert len(frames) == 3
    for frame in frames:
        assert isinstance(frame, Frame)
        assert frame.layers is not None
        # The middles of the stripes.
        alpha = frame.layers.alpha[24, [10, 31, 52]].astype(int)
        assert alpha == pytest.approx([0, 128, 255], abs=8)
        assert frame.layers.color[24, 10].tolist() == pytest.approx([128] * 3, abs=12)
        assert frame.layers.color[24, 52].tolist() == pytest.approx([200, 0, 0], abs=20)
        assert frame.image[24, 31].tolist() == pytest.approx([164, 64, 64], abs=20)


def test_a_container_without_transparency_is_refused(tmp_path: Path, toy: str) -> None:
    source = ghostly(tmp_path / "a.mov", "png", "rgba")
    with pytest.raises(ValueError, match=r"a\.mov: MP4 cannot hold its transparency; write it as"):
        extd.blur_video(source, tmp_path / "b.mp4", extd.Detector(toy, options=SURE))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mov"]
    extd.detect_video(source, extd.Detector(toy, options=SURE), target=tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").exists()
