from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.console import Console

from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.images import read_image
from extd.training import image_cache as module
from extd.training.image_cache import (
    CacheError,
    ImageCache,
    drop_invalid,
    fingerprint,
    open_cache,
    read_mixture,
    sampling_shares,
    weigh_crowds,
)
from extd.training.recipe import Data, DataSet

NONE = np.zeros((0, 4), np.float32)


def opened(samples: list[Sample], folder: Path, max_unreadable: float = 0.0) -> ImageCache:
    return open_cache(dict.fromkeys(samples, 1.0), folder, max_unreadable)


@pytest.fixture
def images(tmp_path: Path) -> list[Sample]:
    """Six noisy images of different sizes with a box each."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (30 + i, 40, 3), np.uint8))
        found.append(Sample(path, 40, 30 + i, np.float32([[2, 3, 20, 25]]), NONE))
    return found


def test_the_cache_holds_every_pixel_and_is_reused(images: list[Sample], tmp_path: Path) -> None:
    cache = opened(images, tmp_path / "cache")
    for index in range(6):
        assert np.array_equal(cache.pixels(index), read_image(tmp_path / f"{index}.png"))
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    again = opened(images, tmp_path / "cache")
    assert np.array_equal(again.bytes, cache.bytes)
    assert made == {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}


def test_what_older_caches_take_is_told(
    images: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(images, tmp_path / "cache")
    assert "decoded before" not in capsys.readouterr().err
    (old,) = (tmp_path / "cache").glob("*.rgb")
    os.truncate(old, 1_600_000_000)
    opened(images[:3], tmp_path / "cache")
    assert f"{tmp_path / 'cache'} keeps 1.6 GB of images decoded before" in capsys.readouterr().err


def test_a_replaced_picture_is_decoded_again(images: list[Sample], tmp_path: Path) -> None:
    opened(images, tmp_path / "cache")
    cv2.imwrite(str(images[0].path), np.full((30, 40, 3), 7, np.uint8))
    assert (opened(images, tmp_path / "cache").pixels(0) == 7).all()


def test_unreadable_pictures_are_told_left_out_and_remembered(
    images: list[Sample], tmp_path: Path
) -> None:
    images[1].path.write_bytes(b"no image")
    images[2].path.unlink()
    wide = Sample(images[4].path, 41, 34, images[4].boxes, NONE)
    members = [*images[:4], wide, images[5]]
    for _ in range(2):
        cache = opened(members, tmp_path / "cache", 0.5)
        assert cache.samples == [members[0], members[3], members[5]]
        for index, number in enumerate((0, 3, 5)):
            assert np.array_equal(cache.pixels(index), read_image(tmp_path / f"{number}.png"))
        assert len(cache.unreadable) == 3
        assert "1.png is broken" in cache.unreadable[0]
        assert "2.png" in cache.unreadable[1]
        assert "4.png is 40x34 px; its label says 41x34" in cache.unreadable[2]
    with pytest.raises(ValueError, match=r"3 of 6 images .* share of 0.4 .*1\.png is broken"):
        opened(members, tmp_path / "cache", 0.4)


def test_too_many_unreadable_pictures_leave_nothing_behind(
    images: list[Sample], tmp_path: Path
) -> None:
    for sample in images[:5]:
        sample.path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"5 of 6 images .*0\.png.*4\.png"):
        opened(images, tmp_path / "cache", 0.5)
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ValueError, match="no image to learn from"):
        opened(images[:5], tmp_path / "cache", 1.0)


@pytest.mark.parametrize("damage", ["short", "long", "note", "unnoted"])
def test_a_damaged_cache_is_made_again(images: list[Sample], tmp_path: Path, damage: str) -> None:
    expected = np.array(opened(images, tmp_path / "cache").bytes)
    (pixels,) = (tmp_path / "cache").glob("*.rgb")
    (note,) = (tmp_path / "cache").glob("*.json")
    if damage == "short":
        os.truncate(pixels, 1000)
    elif damage == "long":
        pixels.write_bytes(pixels.read_bytes() + b"more")
    elif damage == "note":
        note.write_text("{")
    else:
        note.unlink()
        os.truncate(pixels, 1000)
    assert np.array_equal(opened(images, tmp_path / "cache").bytes, expected)


def test_a_full_disk_is_told_and_leaves_nothing_behind(
    images: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        data = property(lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space left")))

    read = module._read
    monkeypatch.setattr(module, "_read", lambda p: FullDisk() if p is images[4] else read(p))
    with pytest.raises(CacheError, match=r"cannot be written: .*no space left"):
        opened(images, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(CacheError, match=r"has 5 bytes free and the images take 23,\d\d0"):
        opened(images, tmp_path / "cache")


def test_where_no_folder_can_be_made_its_name_is_told(
    images: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CacheError, match=r"Read-only .*home"):
        opened(images, tmp_path / "home" / "extd")


def test_boxes_to_learn_nothing_from_are_taken_out_by_name() -> None:
    bad = [[5, 5, 5, 9], [5, 9, 8, 8], [np.nan, 1, 2, 3], [1, 1, np.inf, 3], [50, 1, 60, 9]]
    good = [[-5, -5, 5, 5], [30, 20, 45, 40]]
    mixed = Sample(Path("a.jpg"), 40, 30, np.float32([bad[0], *good, *bad[1:]]), NONE)
    ignored = Sample(Path("b.jpg"), 40, 30, np.float32(good), np.float32([bad[4], good[0]]))
    empty = Sample(Path("c.jpg"), 40, 30, NONE, NONE, "source")
    unsized = Sample(Path("d.jpg"), 0, 0, np.float32(good), NONE)
    usable, dropped = drop_invalid([mixed, ignored, empty, unsized])
    assert [image.path.name for image in usable] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert usable[0].boxes.tolist() == good
    assert usable[1].boxes.tolist() == good
    assert usable[1].ignore.tolist() == [good[0]]
    assert usable[2].boxes.shape == (0, 4)
    assert usable[2].source == "source"
    assert usable[3].boxes.tolist() == good
    assert dropped == [
        "a.jpg: box [5.0, 5.0, 5.0, 9.0] has no area inside the image",
        "a.jpg: box [5.0, 9.0, 8.0, 8.0] has no area inside the image",
        "a.jpg: box [nan, 1.0, 2.0, 3.0] has no area inside the image",
        "a.jpg: box [1.0, 1.0, inf, 3.0] has no area inside the image",
        "a.jpg: box [50.0, 1.0, 60.0, 9.0] has no area inside the image",
        "b.jpg: box [50.0, 1.0, 60.0, 9.0] has no area inside the image",
    ]


def test_pictures_are_drawn_by_their_weight(images: list[Sample]) -> None:
    faceless = Sample(Path("no.png"), 40, 30, NONE, NONE)
    weights = [3.0, 1.0, 1.0, 0.0, 1.0, 2.0, 9.0]
    shares = np.diff(sampling_shares([*images, faceless], weights), prepend=0)
    assert shares == pytest.approx(np.array([3, 1, 1, 0, 1, 2, 0]) / 8)
    with pytest.raises(ValueError, match="positive weight"):
        sampling_shares(images, [0.0] * 6)
    with pytest.raises(ValueError, match="positive weight"):
        sampling_shares([faceless], [1.0])


def test_images_without_faces_get_their_share_up_to_a_bound(images: list[Sample]) -> None:
    empty = [Sample(Path(f"{i}.png"), 40, 30, NONE, NONE) for i in range(4)]

    def share(count: int, bound: float) -> float:
        samples = [*images, *empty[:count]]
        shares = np.diff(sampling_shares(samples, [1.0] * len(samples), bound), prepend=0)
        assert np.ptp(shares[:6]) < 1e-9
        return float(shares[6:].sum())

    assert share(4, 0.0) == 0
    assert share(4, 0.1) == pytest.approx(0.1)
    assert share(4, 0.9) == pytest.approx(0.4)
    assert share(1, 0.9) == pytest.approx(1 / 7)
    assert share(0, 0.1) == 0


def test_crowds_are_drawn_more_often_within_their_source() -> None:
    samples = [
        Sample(Path(f"{i}.jpg"), 40, 30, np.zeros((faces, 4), np.float32), NONE, source)
        for i, (faces, source) in enumerate([(1, "a"), (9, "a"), (0, "a"), (4, "b"), (0, "c")])
    ]
    assert weigh_crowds(samples, 0.5) == pytest.approx([0.5, 1.5, 0.5, 1, 1])
    assert weigh_crowds(samples, 0.0) == [1.0] * 5


def test_weights_of_sets_and_sources_multiply(labels: Path) -> None:
    path = str(labels)
    sets = (DataSet(path=path, weight=2.0, sources={"even": 0.5}), DataSet(path=path))
    weights = read_mixture(Data(sets=sets), Console(quiet=True))
    assert sorted(weights.values()) == [1.0] * 9
    assert sum(image.source == "odd" for image in weights) == 3


def test_a_source_that_is_not_there_is_named(labels: Path) -> None:
    with pytest.raises(ValueError, match=r"no image of source 'evn'; it has 'even', 'odd'"):
        read_mixture(
            Data(sets=(DataSet(path=str(labels), sources={"evn": 1.0}),)), Console(quiet=True)
        )


@pytest.mark.parametrize(
    ("sources", "drawn", "told"),
    [
        ({"even": 2.0, "odd": 1.0, "elsewhere": 3.0}, [1.0] * 3 + [2.0] * 3, ""),
        ({"even": 2.0}, [2.0] * 3, "images of source 'odd' are left out"),
        ({"elsewhere": 3.0}, [1.0] * 6, "has none of the recipe's sources; all images are used"),
    ],
)
def test_a_recipe_may_name_sources_that_the_data_does_not_have(
    labels: Path, sources: dict[str, float], drawn: list[float], told: str
) -> None:
    console = Console(record=True, file=io.StringIO())
    weights = read_mixture(Data(sets=(DataSet(path=str(labels)),), sources=sources), console)
    assert sorted(weights.values()) == drawn
    text = console.export_text()
    assert told in text
    assert bool(text) == bool(told)


def test_the_fingerprint_follows_the_labels_and_not_the_folder(labels: Path) -> None:
    before = fingerprint(read_dataset(labels))
    moved = labels.parent / "moved"
    moved.mkdir()
    text = labels.read_text(encoding="utf-8")
    (moved / "labels.jsonl").write_text(text, encoding="utf-8")
    assert fingerprint(read_dataset(moved / "labels.jsonl")) == before
    (moved / "labels.jsonl").write_text(text.replace("[10, 20", "[11, 20"), encoding="utf-8")
    assert fingerprint(read_dataset(moved / "labels.jsonl")) != before
