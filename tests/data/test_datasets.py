from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extd.data.datasets import FORMATS, WRITABLE, read_dataset, with_sizes, write_dataset
from extd.data.sample import Sample

SIZES = {"a.png": (64, 48), "deep/a.jpg": (30, 60), "b c.png": (200, 10)}
PRECISION = {"jsonl": 0.0, "csv": 0.0, "coco": 1e-6, "voc": 1e-6, "yolo": 1e-5, "wider": 0.5}
"""Px by which a box may change when it is written and read."""
NONE = np.empty((0, 4), np.float32)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Three samples of different sizes, with and without faces."""
    folder = tmp_path_factory.mktemp("samples")
    made = []
    for number, (name, (width, height)) in enumerate(SIZES.items()):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((height, width, 3), 50 * number, np.uint8))
        boxes = np.array([[1, 2, 30, 40], [5, 5, 5, 9], [-7, 3, 9, 80]], np.float32)
        made.append(Sample(path, width, height, boxes[: 2 * number], NONE, "street"))
    return made


def target(folder: Path, name: str) -> Path:
    """Where a data set of a format is written to."""
    suffix = FORMATS[name].suffix
    return folder / f"labels{suffix}" if suffix else folder / "set"


def content(samples: Sequence[Sample]) -> dict[bytes, Sample]:
    """Samples by the bytes of their images, because formats have their own order and names."""
    return {one.path.read_bytes(): one for one in samples}


def assert_same(found: Sequence[Sample], given: Sequence[Sample], name: str) -> None:
    one, other = content(found), content(given)
    assert len(found) == len(given)
    assert one.keys() == other.keys()
    for key, sample in one.items():
        same = other[key]
        assert (sample.width, sample.height) == (same.width, same.height)
        rtol, atol = (2e-7 if PRECISION[name] else 0), PRECISION[name]
        np.testing.assert_allclose(sample.boxes, same.boxes, rtol, atol)
        regions = same.ignore if FORMATS[name].regions else NONE
        np.testing.assert_allclose(sample.ignore, regions, rtol, atol)
        if FORMATS[name].sources:
            assert sample.source == same.source


coordinates = st.one_of(
    st.integers(-50, 300).map(float), st.floats(-1000, 1000, width=32), st.just(0.1)
)
some_boxes = st.integers(0, 3).flatmap(
    lambda count: arrays(np.float32, (count, 4), elements=coordinates)
)
labeled = st.lists(
    st.tuples(some_boxes, some_boxes, st.sampled_from(["", "street", 'a, "b" <&>'])),
    min_size=3,
    max_size=3,
)


def with_labels(
    samples: list[Sample], labels: list[tuple[np.ndarray, np.ndarray, str]]
) -> list[Sample]:
    return [
        replace(sample, boxes=boxes, ignore=ignore, source=source)
        for sample, (boxes, ignore, source) in zip(samples, labels, strict=True)
    ]


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("name", WRITABLE)
@given(labels=labeled)
@settings(max_examples=12)
def test_what_is_written_is_read(
    name: str, copy: bool, samples: list[Sample], labels: list[tuple[np.ndarray, np.ndarray, str]]
) -> None:
    given = with_labels(samples, labels)
    with tempfile.TemporaryDirectory() as folder:
        out = target(Path(folder), name)
        write_dataset(given, out, name, copy)
        assert_same(read_dataset(out), given, name)
        assert_same(read_dataset(out, name), given, name)


@pytest.mark.parametrize("second", WRITABLE)
@pytest.mark.parametrize("first", WRITABLE)
@given(labels=labeled)
@settings(max_examples=3)
def test_any_format_becomes_any_other(
    first: str,
    second: str,
    samples: list[Sample],
    labels: list[tuple[np.ndarray, np.ndarray, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = target(Path(folder) / "one", first), target(Path(folder) / "other", second)
        write_dataset(with_labels(samples, labels), one, first)
        given = read_dataset(one)
        write_dataset(given, other, second)
        back = read_dataset(other)
        assert_same(back, given, second)
        # A second time nothing changes any more.
        third = target(Path(folder) / "third", second)
        write_dataset(back, third, second)
        assert_same(read_dataset(third), back, second)


def test_samples_stay_where_they_are_unless_they_are_copied(
    samples: list[Sample], tmp_path: Path
) -> None:
    for name in ("jsonl", "coco", "csv"):
        out = target(tmp_path / name, name)
        write_dataset(samples, out, name)
        assert [p.name for p in out.parent.iterdir()] == [out.name]
        assert {one.path.resolve() for one in read_dataset(out)} == {one.path for one in samples}
        out.unlink()
        write_dataset(samples, out, name, copy=True)
        copied = read_dataset(out)
        assert {one.path.relative_to(out.parent / "images").as_posix() for one in copied} == {
            *SIZES
        }
        assert not any(one.path.is_symlink() for one in copied)
    for name in ("yolo", "voc", "wider"):
        for copy in (False, True):
            out = tmp_path / f"{name}{copy}"
            write_dataset(samples, out, name, copy=copy)
            assert all(one.path.is_symlink() is not copy for one in read_dataset(out))


def test_copied_sets_can_be_moved(samples: list[Sample], tmp_path: Path) -> None:
    for name in WRITABLE:
        out = target(tmp_path / name, name)
        write_dataset(samples, out, name, copy=True)
        (tmp_path / name).rename(tmp_path / "moved")
        assert_same(read_dataset(target(tmp_path / "moved", name)), samples, name)
        (tmp_path / "moved").rename(tmp_path / f"{name}-moved")


def test_samples_of_one_name_get_a_number(tmp_path: Path) -> None:
    samples = []
    for number, name in enumerate(["x/in/a.png", "y/in/a.png", "y/in/A.jpg", "y/in/a-2.png"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((10, 20, 3), 60 * number, np.uint8))
        box = np.array([[number, 1, 9, 9]], np.float32)
        samples.append(Sample(path, 20, 10, box, NONE))
    for name in ("voc", "wider", "yolo", "jsonl"):
        out = target(tmp_path / name, name)
        write_dataset([*samples, samples[0]], out, name, copy=True)
        found = read_dataset(out)
        assert_same(list(content(found).values()), samples, name)
        assert len(found) == 5


def test_no_sample_is_placed_outside_of_the_set(samples: list[Sample], tmp_path: Path) -> None:
    folder = samples[0].path.parent
    roundabout = [folder / "deep" / ".." / "a.png", folder / "b c.png"]
    given = [replace(one, path=path) for one, path in zip(samples[::2], roundabout, strict=True)]
    write_dataset(given, tmp_path / "set", "yolo")
    names = [one.path.relative_to(tmp_path / "set") for one in read_dataset(tmp_path / "set")]
    assert [name.as_posix() for name in names] == ["images/a.png", "images/b c.png"]


def test_validation_samples_of_wider_stay_apart(samples: list[Sample], tmp_path: Path) -> None:
    val = [replace(samples[0], source="wider_val"), *samples[1:]]
    write_dataset(val, tmp_path / "set", "wider")
    assert len(read_dataset(tmp_path / "set")) == 2
    (one,) = read_dataset(tmp_path / "set" / "WIDER_val")
    assert (one.path.name, one.source) == (val[0].path.name, "wider_val")


def test_what_a_format_cannot_hold_is_told(samples: list[Sample], tmp_path: Path) -> None:
    box = np.array([[1, 1, 2.5, 9]], np.float32)
    points = np.arange(10, dtype=np.float32)[None]
    other = replace(samples[0], boxes=box, ignore=box, source="other", landmarks=points)
    given = [*samples, other]
    lost = {name: write_dataset(given, target(tmp_path / name, name), name) for name in WRITABLE}
    assert lost == {
        "jsonl": [],
        "coco": ["landmarks are not written to COCO"],
        "csv": ["landmarks are not written to CSV"],
        "voc": ["landmarks are not written to Pascal VOC"],
        "yolo": [
            "YOLO has no ignored regions; not written: 1",
            "YOLO has no sources; they are not written",
            "landmarks are not written to YOLO",
        ],
        "wider": [
            "WIDER FACE has no sources; they are not written",
            "landmarks are not written to WIDER FACE",
            "WIDER FACE has whole pixels only; boxes were rounded",
        ],
    }
    assert write_dataset(samples[:2], tmp_path / "all", "yolo") == []
    back = read_dataset(target(tmp_path / "jsonl", "jsonl"))[-1]
    assert back.landmarks is not None
    assert np.array_equal(back.landmarks, points)


def test_formats_of_tools_are_only_read(samples: list[Sample], tmp_path: Path) -> None:
    for name in FORMATS.keys() - {*WRITABLE}:
        with pytest.raises(ValueError, match=r"is only read; write one of jsonl, wider, coco, "):
            write_dataset(samples, tmp_path / "set", name)


def test_progress_wraps_every_image(samples: list[Sample], tmp_path: Path) -> None:
    counts: list[int] = []

    def progress(items: Sequence[object]) -> Iterator[object]:
        for item in items:
            yield item
            counts.append(len(items))

    write_dataset(samples, tmp_path / "set", "yolo", progress=progress)
    read_dataset(tmp_path / "set", progress=progress)
    assert counts == [3] * 6


def test_a_missing_image_is_kept_but_cannot_be_placed(
    samples: list[Sample], tmp_path: Path
) -> None:
    missing = replace(samples[0], path=tmp_path / "none.jpg")
    for name in ("jsonl", "csv", "coco"):
        out = target(tmp_path / name, name)
        write_dataset([*samples, missing], out, name)
        assert read_dataset(out)[-1].path.name == "none.jpg"
    for name in WRITABLE:
        out = target(tmp_path / "new" / name, name)
        with pytest.raises(FileNotFoundError, match=r"there is no image .*none\.jpg"):
            write_dataset([*samples, missing], out, name, copy=True)
        assert list(out.parent.iterdir()) == []
    unsized = replace(missing, width=0, height=0)
    for name in WRITABLE:
        with pytest.raises(ValueError, match=r"the size of .*none\.jpg is unknown"):
            write_dataset([*samples, unsized], tmp_path / "unsized", name)


def test_places_that_are_taken_are_refused(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_dataset(samples, tmp_path, "yolo")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_dataset(samples, tmp_path / "mine", "voc")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="images is not empty"):
        write_dataset(samples, tmp_path / "labels.csv", "csv", copy=True)
    for name, file in (("jsonl", "set.jsonl"), ("coco", "set.json"), ("csv", "set.csv")):
        with pytest.raises(ValueError, match=rf"is one \.\w+ file; call it .*{file}"):
            write_dataset(samples, tmp_path / "set", name)
    with pytest.raises(ValueError, match=r"call it .*images/labels\.json$"):
        write_dataset(samples, tmp_path / "images", "coco")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "mine"]
    (tmp_path / "mine.jsonl").write_text("precious")
    with pytest.raises(FileExistsError, match=r"mine\.jsonl exists"):
        write_dataset(samples, tmp_path / "mine.jsonl", "jsonl")
    assert (tmp_path / "mine.jsonl").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    write_dataset(samples, tmp_path / "empty", "voc")
    assert len(read_dataset(tmp_path / "empty")) == 3


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_where_links_cannot_be_made_a_copy_is_advised(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(
        OSError, match=r"cannot hold a link to .*a\.png: not permitted; copy the images"
    ):
        write_dataset(samples, tmp_path / "set", "yolo")


def test_a_file_of_another_name_is_read_when_its_format_is_given(
    samples: list[Sample], tmp_path: Path
) -> None:
    for name in ("jsonl", "csv", "coco"):
        write_dataset(samples, target(tmp_path, name), name)
        target(tmp_path, name).rename(tmp_path / "faces.txt")
        assert_same(read_dataset(tmp_path / "faces.txt", name), samples, name)
        with pytest.raises(ValueError, match=r"faces\.txt holds no labels of a known format"):
            read_dataset(tmp_path / "faces.txt")


@pytest.mark.shared
def test_a_part_of_the_training_set_becomes_any_format(shared: Path, tmp_path: Path) -> None:
    given = read_dataset(shared / "data" / "train")[::240]
    for name in WRITABLE:
        out = target(tmp_path / name, name)
        write_dataset(given, out, name)
        assert_same(read_dataset(out), given, name)


def test_only_unknown_sizes_are_read(samples: list[Sample], tmp_path: Path) -> None:
    list_, bad = tmp_path / "list.txt", tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 no image")
    known, unknown, broken, missing = (
        Sample(path, width, 5 if width else 0, NONE, NONE)
        for path, width in ((tmp_path / "none.jpg", 7), (samples[0].path, 0), (bad, 0), (list_, 0))
    )
    sized = with_sizes([broken, known, unknown, missing], list_)
    assert [(one.width, one.height) for one in sized] == [(0, 0), (7, 5), SIZES["a.png"], (0, 0)]
    message = r"list\.txt .*none of the 2 can be read: there is no file .*list\.txt.*images"
    with pytest.raises(ValueError, match=message):
        with_sizes([missing, broken, known], list_)
    assert with_sizes([known], list_)[0] is known
