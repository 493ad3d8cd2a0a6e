from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import extd
from extd.detector import Detector
from extd.images import Reduced
from extd.media.sources import Source, find_media
from extd.pipeline import process_files


def draw(path: Path) -> Path:
    """Write a 64 x 48 image, with a face of 12 px for the toy detector."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[24:32, 8:16] = 255, 6, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
    return path


def test_a_folder_is_anonymized_in_one_call(tmp_path: Path, toy: str) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    draw(album / "trip" / "a.png")
    (album / "b.jpg").write_text("text")
    options = extd.BlurOptions(extd.AnonymizeOptions("solid"))
    reports = dict(extd.blur_images([album], out, Detector(toy), options))
    assert isinstance(reports[album / "b.jpg"], ValueError)
    report = reports[album / "trip" / "a.png"]
    assert isinstance(report, extd.Report)
    assert report.faces == 1
    assert not extd.read_image(out / "trip" / "a.png").any()
    with pytest.raises(ValueError, match="would replace the image"):
        list(extd.blur_images([album / "trip" / "a.png"], album / "trip", Detector(toy)))


def test_files_are_processed_in_one_call_each(tmp_path: Path, toy: str) -> None:
    detector, source = Detector(toy), draw(tmp_path / "a.png")
    options = extd.BlurOptions(extd.AnonymizeOptions("solid"))
    report = extd.blur_image(source, tmp_path / "b.png", detector, options)
    assert (report.frames, report.faces, report.again) == (1, 1, [])
    faces = extd.detect_image(source, detector, target=tmp_path / "c.png")
    assert len(faces) == 1
    assert (extd.read_image(tmp_path / "c.png") != extd.read_image(source)).any()
    assert extd.crop_image(source, tmp_path / "d.png", detector) == [tmp_path / "d-001.png"]
    assert extd.read_image(tmp_path / "d-001.png").shape == (18, 18, 3)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_come_in_the_order_of_the_sources(tmp_path: Path, toy: str, threads: int) -> None:
    # The first takes longest to read, the second is large, the third broken.
    a, b, c, d, e = (tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png", "e.mp4"))
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8)
    PIL.Image.fromarray(noise).save(a)
    PIL.Image.new("L", (4200, 4100)).save(b)
    c.touch()
    PIL.Image.new("RGB", (64, 48)).save(d)
    e.touch()
    detector = Detector(toy, threads=threads)

    def on_image(_: Detector, source: Source, image: Reduced) -> tuple[Path, tuple[int, ...]]:
        return source.path, image.pixels.shape

    def on_video(source: Source) -> tuple[Path, tuple[int, ...]]:
        return source.path, ()

    sources = find_media([tmp_path])
    results = list(process_files(sources, detector, on_image, on_video, 10**9))
    names = [source.path.name for source, _ in results]
    assert names == ["a.png", "b.png", "c.png", "d.png", "e.mp4"]
    made = [result for _, result in results]
    assert made[0] == (a, (1500, 1500, 3))
    assert made[1] == (b, (4100, 4200, 3))
    assert isinstance(made[2], ValueError)
    assert made[3] == (d, (48, 64, 3))
    assert made[4] == (e, ())


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_takes_the_place_of_a_result_and_names_the_file(
    tmp_path: Path, toy: str, count: int
) -> None:
    for index in range(count):
        PIL.Image.new("RGB", (64, 48)).save(tmp_path / f"{index}.png")

    def fail(_: Detector, source: Source, image: Reduced) -> None:
        raise MemoryError if source.path.stem == "2" else OSError("disk full")

    sources = find_media([tmp_path])
    results = dict(process_files(sources, Detector(toy), fail, lambda _: None))
    assert str(results[sources[0]]) == f"{tmp_path / '0.png'}: disk full"
    if count == 3:
        assert str(results[sources[2]]).startswith(f"{tmp_path / '2.png'} is too large for")
