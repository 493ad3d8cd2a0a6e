from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from extd.batch import process_files
from extd.detector import Detector
from extd.media.sources import Source, find_media
from extd.pixels import Image as Pixels


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

    def on_image(_: Detector, source: Source, image: Pixels) -> tuple[Path, tuple[int, ...]]:
        return source.path, image.shape

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

    def fail(_: Detector, source: Source, image: Pixels) -> None:
        raise MemoryError if source.path.stem == "2" else OSError("disk full")

    sources = find_media([tmp_path])
    results = dict(process_files(sources, Detector(toy), fail, lambda _: None))
    assert str(results[sources[0]]) == f"{tmp_path / '0.png'}: disk full"
    if count == 3:
        assert str(results[sources[2]]).startswith(f"{tmp_path / '2.png'} is too large for")
