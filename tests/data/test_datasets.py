from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extd.data.datasets import FORMATS, read_dataset, write_dataset
from extd.data.labels import write_labels
from extd.data.pixels import read_bytes, read_pixels
from extd.data.sample import Sample

SIZES = {"a.png": (64, 48), "deep/a.jpg": (30, 60), "b c.png": (200, 10)}
PRECISION = {"jsonl": 0.0, "csv": 0.0, "coco": 1e-6, "voc": 1e-6, "yolo": 1e-5, "wider": 0.5}
"""Px by which a box may change when it is written and read."""
NONE = np.empty((0, 4), np.float32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Three pictures of different sizes, with and without faces."""
    folder = tmp_path_factory.mktemp("pictures")
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


def content(pictures: Sequence[Sample]) -> dict[bytes, Sample]:
    """Pictures by the bytes of their files, for formats have an order and names of their own."""
    return {read_bytes(one.path): one for one in pictures}


def assert_same(found: Sequence[Sample], given: Sequence[Sample], name: str) -> None:
    one, other = content(found), content(given)
    assert len(found) == len(given)
    assert one.keys() == other.keys()
    for key, picture in one.items():
        same = other[key]
        assert (picture.width, picture.height) == (same.width, same.height)
        kwargs = {"rtol": 2e-7 if PRECISION[name] else 0, "atol": PRECISION[name]}
        np.testing.assert_allclose(picture.boxes, same.boxes, **kwargs)
        regions = same.ignore if FORMATS[name].regions else NONE
        np.testing.assert_allclose(picture.ignore, regions, **kwargs)
        if FORMATS[name].sources:
            assert picture.source == same.source


coordinates = st.one_of(
    st.integers(-50, 300).map(float), st.floats(-1000, 1000, width=32), st.just(0.1)
)
some_boxes = st.integers(0, 3).flatmap(
    lambda count: arrays(np.float32, (count, 4), elements=coordinates)
)
labelled = st.lists(
    st.tuples(some_boxes, some_boxes, st.sampled_from(["", "street", 'a, "b" <&>'])),
    min_size=3,
    max_size=3,
)


def with_labels(
    pictures: list[Sample], labels: list[tuple[np.ndarray, np.ndarray, str]]
) -> list[Sample]:
    return [
        replace(picture, boxes=boxes, ignore=ignore, source=source)
        for picture, (boxes, ignore, source) in zip(pictures, labels, strict=True)
    ]


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("name", FORMATS)
@given(labels=labelled)
@settings(max_examples=12)
def test_what_is_written_is_read(
    name: str, copy: bool, pictures: list[Sample], labels: list[tuple[np.ndarray, np.ndarray, str]]
) -> None:
    given = with_labels(pictures, labels)
    with tempfile.TemporaryDirectory() as folder:
        out = target(Path(folder), name)
        write_dataset(given, out, name, copy)
        assert_same(read_dataset(out), given, name)
        assert_same(read_dataset(out, name), given, name)


@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
@given(labels=labelled)
@settings(max_examples=3)
def test_any_format_becomes_any_other(
    first: str,
    second: str,
    pictures: list[Sample],
    labels: list[tuple[np.ndarray, np.ndarray, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = target(Path(folder) / "one", first), target(Path(folder) / "other", second)
        write_dataset(with_labels(pictures, labels), one, first)
        given = read_dataset(one)
        write_dataset(given, other, second)
        back = read_dataset(other)
        assert_same(back, given, second)
        # A second time nothing changes any more.
        third = target(Path(folder) / "third", second)
        write_dataset(back, third, second)
        assert_same(read_dataset(third), back, second)


def test_pictures_stay_where_they_are_unless_they_are_copied(
    pictures: list[Sample], tmp_path: Path
) -> None:
    for name in ("jsonl", "coco", "csv"):
        out = target(tmp_path / name, name)
        write_dataset(pictures, out, name)
        assert [p.name for p in out.parent.iterdir()] == [out.name]
        assert {one.path.resolve() for one in read_dataset(out)} == {one.path for one in pictures}
        out.unlink()
        write_dataset(pictures, out, name, copy=True)
        copied = read_dataset(out)
        assert {one.path.relative_to(out.parent / "images").as_posix() for one in copied} == {
            *SIZES
        }
        assert not any(one.path.is_symlink() for one in copied)
    for name in ("yolo", "voc", "wider"):
        for copy in (False, True):
            out = tmp_path / f"{name}{copy}"
            write_dataset(pictures, out, name, copy=copy)
            assert all(one.path.is_symlink() is not copy for one in read_dataset(out))


def test_copied_sets_can_be_moved(pictures: list[Sample], tmp_path: Path) -> None:
    for name in FORMATS:
        out = target(tmp_path / name, name)
        write_dataset(pictures, out, name, copy=True)
        (tmp_path / name).rename(tmp_path / "moved")
        assert_same(read_dataset(target(tmp_path / "moved", name)), pictures, name)
        (tmp_path / "moved").rename(tmp_path / f"{name}-moved")


def test_members_of_archives_are_extracted(pictures: list[Sample], tmp_path: Path) -> None:
    archive = tmp_path / "part-000.zip"
    inside = [archive / "in" / one.path.name for one in pictures if one.path.suffix == ".png"]
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in inside:
            bundle.writestr(f"in/{path.name}", (pictures[0].path.parent / path.name).read_bytes())
        members = [replace(one, path=path) for one, path in zip(pictures[::2], inside, strict=True)]
        write_labels(
            [replace(one, path=tmp_path / "in" / one.path.name) for one in members],
            tmp_path / "labels.jsonl",
        )
        bundle.write(tmp_path / "labels.jsonl", "labels.jsonl")
    assert [one.path for one in read_dataset(archive)] == inside
    for name in FORMATS:
        out = target(tmp_path / name, name)
        write_dataset(members, out, name, copy=FORMATS[name].suffix != "")
        found = read_dataset(out)
        assert all(one.path.is_file() and not one.path.is_symlink() for one in found)
        assert_same(found, members, name)
    # Without a copy, a file leads into the archive.
    write_dataset(members, tmp_path / "a" / "labels.csv", "csv")
    for one, same in zip(read_dataset(tmp_path / "a"), members, strict=True):
        assert np.array_equal(read_pixels(one.path), read_pixels(same.path))


def test_pictures_of_one_name_get_a_number(tmp_path: Path) -> None:
    pictures = []
    for number, name in enumerate(["x/in/a.png", "y/in/a.png", "y/in/A.jpg", "y/in/a-2.png"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((10, 20, 3), 60 * number, np.uint8))
        box = np.array([[number, 1, 9, 9]], np.float32)
        pictures.append(Sample(path, 20, 10, box, NONE))
    for name in ("voc", "wider", "yolo", "jsonl"):
        out = target(tmp_path / name, name)
        write_dataset([*pictures, pictures[0]], out, name, copy=True)
        found = read_dataset(out)
        assert_same(list(content(found).values()), pictures, name)
        assert len(found) == 5


def test_no_picture_is_placed_outside_of_the_set(pictures: list[Sample], tmp_path: Path) -> None:
    folder = pictures[0].path.parent
    roundabout = [folder / "deep" / ".." / "a.png", folder / "b c.png"]
    given = [replace(one, path=path) for one, path in zip(pictures[::2], roundabout, strict=True)]
    write_dataset(given, tmp_path / "set", "yolo")
    names = [one.path.relative_to(tmp_path / "set") for one in read_dataset(tmp_path / "set")]
    assert [name.as_posix() for name in names] == ["images/a.png", "images/b c.png"]


def test_validation_pictures_of_wider_stay_apart(pictures: list[Sample], tmp_path: Path) -> None:
    val = [replace(pictures[0], source="wider_val"), *pictures[1:]]
    write_dataset(val, tmp_path / "set", "wider")
    assert len(read_dataset(tmp_path / "set")) == 2
    (one,) = read_dataset(tmp_path / "set" / "WIDER_val")
    assert (one.path.name, one.source) == (val[0].path.name, "wider_val")


def test_what_a_format_cannot_hold_is_told(pictures: list[Sample], tmp_path: Path) -> None:
    box = np.array([[1, 1, 2.5, 9]], np.float32)
    given = [*pictures, replace(pictures[0], boxes=box, ignore=box, source="other")]
    lost = {name: write_dataset(given, target(tmp_path / name, name), name) for name in FORMATS}
    assert lost == {
        "jsonl": [],
        "coco": [],
        "csv": [],
        "voc": [],
        "yolo": [
            "YOLO has no ignored regions; not written: 1",
            "YOLO has no sources; they are not written",
        ],
        "wider": [
            "WIDER FACE has no sources; they are not written",
            "WIDER FACE has whole pixels alone; boxes were rounded",
        ],
    }
    assert write_dataset(pictures[:2], tmp_path / "all", "yolo") == []


def test_progress_is_told(pictures: list[Sample], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_dataset(pictures, tmp_path / "set", "yolo", progress=lambda *now: told.append(now))
    read_dataset(tmp_path / "set", progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)] * 2


def test_a_missing_picture_is_kept_but_cannot_be_placed(
    pictures: list[Sample], tmp_path: Path
) -> None:
    missing = replace(pictures[0], path=tmp_path / "none.jpg")
    for name in ("jsonl", "csv", "coco"):
        out = target(tmp_path / name, name)
        write_dataset([*pictures, missing], out, name)
        assert read_dataset(out)[-1].path.name == "none.jpg"
    for name in FORMATS:
        out = target(tmp_path / "new" / name, name)
        with pytest.raises(FileNotFoundError, match=r"there is no picture .*none\.jpg"):
            write_dataset([*pictures, missing], out, name, copy=True)
        assert list(out.parent.iterdir()) == []
    unsized = replace(missing, width=0, height=0)
    for name in FORMATS:
        with pytest.raises(ValueError, match=r"the size of .*none\.jpg is not known"):
            write_dataset([*pictures, unsized], tmp_path / "unsized", name)


def test_places_that_are_taken_are_refused(pictures: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_dataset(pictures, tmp_path, "yolo")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_dataset(pictures, tmp_path / "mine", "voc")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="images is not empty"):
        write_dataset(pictures, tmp_path / "labels.csv", "csv", copy=True)
    for name, file in (("jsonl", "set.jsonl"), ("coco", "set.json"), ("csv", "set.csv")):
        with pytest.raises(ValueError, match=rf"is one \.\w+ file; call it .*{file}"):
            write_dataset(pictures, tmp_path / "set", name)
    with pytest.raises(ValueError, match=r"call it .*images/labels\.json$"):
        write_dataset(pictures, tmp_path / "images", "coco")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "mine"]
    (tmp_path / "mine.jsonl").write_text("precious")
    with pytest.raises(FileExistsError, match=r"mine\.jsonl is there already"):
        write_dataset(pictures, tmp_path / "mine.jsonl", "jsonl")
    assert (tmp_path / "mine.jsonl").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    write_dataset(pictures, tmp_path / "empty", "voc")
    assert len(read_dataset(tmp_path / "empty")) == 3


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_where_links_cannot_be_made_a_copy_is_advised(
    pictures: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(
        OSError, match=r"no link to .*a\.png can be made in .*: not permitted; copy"
    ):
        write_dataset(pictures, tmp_path / "set", "yolo")


def test_what_is_not_recognised_says_what_was_looked_for(
    pictures: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*none"):
        read_dataset(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no labels of a known format; looked for jsonl: .*Annot"):
        read_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"no labels of COCO; looked for a \.json file"):
        read_dataset(tmp_path, "coco")
    with pytest.raises(
        ValueError, match="'pascal' is no format of labels; give one of jsonl, wider"
    ):
        read_dataset(tmp_path, "pascal")
    with pytest.raises(ValueError, match="'pascal' is no format"):
        write_dataset(pictures, tmp_path / "set", "pascal")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none of pictures"):
        read_dataset(tmp_path, images=tmp_path / "none")
    (tmp_path / "labels.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"labels\.jsonl names no picture"):
        read_dataset(tmp_path)


def test_two_formats_in_one_folder_are_named(pictures: list[Sample], tmp_path: Path) -> None:
    write_dataset(pictures, tmp_path / "labels.jsonl", "jsonl")
    write_dataset(pictures, tmp_path / "labels.csv", "csv")
    with pytest.raises(ValueError, match=r"jsonl \(.*labels\.jsonl\) and csv \(.*labels\.csv\)"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path, "csv")) == len(read_dataset(tmp_path / "labels.jsonl")) == 3


def test_a_file_of_another_name_is_read_when_its_format_is_given(
    pictures: list[Sample], tmp_path: Path
) -> None:
    for name in ("jsonl", "csv", "coco"):
        write_dataset(pictures, target(tmp_path, name), name)
        target(tmp_path, name).rename(tmp_path / "faces.txt")
        assert_same(read_dataset(tmp_path / "faces.txt", name), pictures, name)
        with pytest.raises(ValueError, match=r"faces\.txt holds no labels of a known format"):
            read_dataset(tmp_path / "faces.txt")


@pytest.mark.shared
def test_a_part_of_the_training_set_becomes_any_format(shared: Path, tmp_path: Path) -> None:
    given = read_dataset(shared / "data" / "train")[::240]
    for name in FORMATS:
        out = target(tmp_path / name, name)
        write_dataset(given, out, name)
        assert_same(read_dataset(out), given, name)
