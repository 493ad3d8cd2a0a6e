from __future__ import annotations

import hashlib
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.data.labels import read_labels
from extd.data.pack import MIB, Packing, pack, small_size, unpack
from extd.data.sample import Sample
from extd.images import read_image

Box = tuple[float, float, float, float]
NONE = np.empty((0, 4), np.float32)


def photo(path: Path, width: int, height: int, *boxes: Box, source: str = "") -> Sample:
    """Writes a smooth picture with a black square in every box, and labels it."""
    rng = np.random.default_rng(len(path.name))
    small = rng.integers(60, 255, (6, 8, 3), np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    for x1, y1, x2, y2 in boxes:
        pixels[int(y1) : int(y2), int(x1) : int(x2)] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return Sample(path, width, height, np.array(boxes, np.float32).reshape(-1, 4), NONE, source)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.tuples(st.floats(0.5, 900), st.floats(0.5, 900)), max_size=4),
    st.floats(1, 100),
    st.integers(1, 2000),
)
def test_a_shrunk_picture_keeps_what_was_asked(
    width: int, height: int, faces: list[tuple[float, float]], smallest: float, longest: int
) -> None:
    boxes = np.array([(0, 0, *sides) for sides in faces], np.float32).reshape(-1, 4)
    picture = Sample(Path("a.jpg"), width, height, boxes, NONE)
    size = small_size(picture, Packing(smallest_face=smallest, longest=longest))
    if size == (width, height):
        return
    assert size[0] <= width
    assert size[1] <= height
    assert max(size) >= longest
    scale = np.array(size) / (width, height)
    assert (boxes[:, 2:] * scale).min() >= smallest * 0.9999


def test_pictures_without_faces_or_with_a_tiny_one_keep_their_size() -> None:
    for boxes in ([], [(0, 0, 500, 500), (0, 0, 10, 12)], [(5, 5, 5, 9)]):
        picture = Sample(
            Path("a.jpg"), 2000, 1000, np.array(boxes, np.float32).reshape(-1, 4), NONE
        )
        assert small_size(picture, Packing()) == (2000, 1000)


@pytest.mark.parametrize("encoding", ["avif", "webp", "jpg"])
def test_labels_follow_the_shrunk_pictures(encoding: str, tmp_path: Path) -> None:
    faces = [(300.0, 200.0, 500.0, 440.0), (1000.0, 100.0, 1100.0, 180.0)]
    picture = photo(tmp_path / "in" / "a.png", 1280, 720, *faces, source="x")
    out = tmp_path / "out"
    done = pack([picture], out, Packing(encoding, quality=80, smallest_face=30, longest=400))
    (small,) = read_labels(out / "labels.jsonl")
    assert (small.width, small.height) == (480, 270)
    assert small.source == "x"
    assert small.path == out / "images" / f"a.{encoding}"
    np.testing.assert_allclose(small.boxes, np.array(faces) * 0.375, atol=0.01)
    pixels = read_image(small.path)
    assert pixels.shape == (270, 480, 3)
    for x1, y1, x2, y2 in small.boxes.round().astype(int).tolist():
        assert pixels[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].max() < 30
    assert (done.pictures, done.faces, done.shrunk, done.copied) == (1, 2, 1, 0)
    assert done.before == picture.path.stat().st_size
    assert done.after == small.path.stat().st_size < done.before
    assert done.failures == ()


def test_files_that_would_not_get_smaller_stay_as_they_are(tmp_path: Path) -> None:
    face = (10.0, 10.0, 20.0, 20.0)
    pictures = [photo(tmp_path / name, 320, 240, face) for name in ("a.avif", "b.jpg", "c.png")]
    squeezed = cv2.imread(str(pictures[1].path))
    assert cv2.imwrite(str(pictures[1].path), squeezed, [cv2.IMWRITE_JPEG_QUALITY, 1])
    done = pack(pictures, tmp_path / "out", Packing(quality=90))
    written = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert written == ["a.avif", "b.jpg", "c.avif"]
    assert done.copied == 2
    for picture in pictures[:2]:
        copy = tmp_path / "out" / "images" / picture.path.name
        assert copy.read_bytes() == picture.path.read_bytes()


def test_names_keep_their_folders_and_never_meet(tmp_path: Path) -> None:
    names = ("x/a.png", "x/a.bmp", "x/A.jpg", "y/a.png")
    pictures = [photo(tmp_path / "in" / name, 64, 48) for name in names]
    pack([*pictures, pictures[0]], tmp_path / "out")
    labelled = read_labels(tmp_path / "out" / "labels.jsonl")
    stems = [
        one.path.relative_to(tmp_path / "out" / "images").with_suffix("").as_posix()
        for one in labelled
    ]
    assert stems == ["x/a", "x/a-2", "x/A-3", "y/a", "x/a-4"]
    assert all(one.path.is_file() for one in labelled)


def test_parts_are_small_complete_and_the_same_every_time(tmp_path: Path) -> None:
    pictures = [
        photo(tmp_path / "in" / f"{number}.png", 200 + number, 150, (9.0, 9.0, 20.0, 30.0))
        for number in range(24)
    ]
    limit = 12_000 / MIB
    first, second = tmp_path / "first", tmp_path / "second"
    done = pack(pictures, first, max_mib=limit, threads=1)
    told: list[tuple[int, int]] = []
    pack(pictures, second, max_mib=limit, threads=2, progress=lambda *news: told.append(news))
    assert told == [(number, 24) for number in range(1, 25)]
    assert digests(first) == digests(second)
    assert done.files == tuple(sorted(first.iterdir()))
    assert len(done.files) > 2
    assert [path.name for path in done.files[:2]] == ["part-000.zip", "part-001.zip"]
    for part in done.files:
        assert part.stat().st_size <= 12_000
        with ZipFile(part) as bundle:
            assert len(bundle.read("labels.jsonl").splitlines()) == len(bundle.namelist()) - 1
    # A sample of the whole, not its first pictures.
    with ZipFile(done.files[0]) as bundle:
        assert {int(Path(name).stem) for name in bundle.namelist()[1:]} - set(range(12))

    one, whole = tmp_path / "one", tmp_path / "whole"
    with ZipFile(done.files[1]) as bundle:
        bundle.extractall(one)
    assert all(read_image(own.path).shape[0] == 150 for own in read_labels(one / "labels.jsonl"))
    assert unpack(done.files[2:], whole) < 24
    assert unpack(done.files, whole) == 24
    found = {own.path.stem: own for own in read_labels(whole / "labels.jsonl")}
    assert len(found) == 24
    for picture in pictures:
        own = found[picture.path.stem]
        assert (own.width, own.height) == (picture.width, picture.height)
        np.testing.assert_array_equal(own.boxes, picture.boxes)
        assert read_image(own.path).shape == (picture.height, picture.width, 3)


def test_a_picture_larger_than_a_part_is_named(tmp_path: Path) -> None:
    picture = photo(tmp_path / "a.png", 640, 480)
    with pytest.raises(ValueError, match=r"images/a\.avif takes .* --max-mib .* --quality"):
        pack([picture], tmp_path / "out", max_mib=0.0005)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_a_picture_that_fails_is_named_and_the_rest_is_packed(tmp_path: Path) -> None:
    good = photo(tmp_path / "good.png", 64, 48)
    (tmp_path / "broken.png").write_text("no picture")
    pictures = [
        Sample(tmp_path / "missing.png", 64, 48, NONE, NONE),
        Sample(tmp_path / "broken.png", 64, 48, NONE, NONE),
        Sample(good.path, 48, 64, NONE, NONE),
        good,
    ]
    done = pack(pictures, tmp_path / "out")
    assert done.pictures == 1
    for word, failure in zip(["missing.png", "broken.png", "48 x 64"], done.failures, strict=True):
        assert word in failure
    assert len(read_labels(tmp_path / "out" / "labels.jsonl")) == 1
    with pytest.raises(ValueError, match=r"no picture to pack; .*missing\.png"):
        pack(pictures[:3], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_picture_that_the_format_cannot_hold_is_named(tmp_path: Path) -> None:
    pictures = [photo(tmp_path / "wide.png", 17000, 8), photo(tmp_path / "a.png", 64, 48)]
    done = pack(pictures, tmp_path / "out", Packing("webp"))
    assert done.pictures == 1
    assert done.failures[0].startswith(f"{tmp_path / 'wide.png'}: webp cannot ")


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    picture = photo(tmp_path / "a.png", 64, 48)
    with pytest.raises(FileExistsError, match="is not empty; give a new folder"):
        pack([picture], tmp_path)
    (tmp_path / "empty").mkdir()
    assert pack([picture], tmp_path / "empty").pictures == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "gif"}, "format is 'gif'; give one of avif, webp, jpg"),
        ({"quality": 0}, "quality is 0; give 1 to 100"),
        ({"smallest_face": 0}, "smallest_face is 0; give 1 px or more"),
        ({"longest": float("nan")}, "longest is nan"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Packing(**wrong)


def test_what_is_no_part_is_not_unpacked(tmp_path: Path) -> None:
    pictures = [photo(tmp_path / "in" / f"{name}.png", 64, 48) for name in "ab"]
    pack(pictures, tmp_path / "one", max_mib=1)
    other = [photo(tmp_path / "other" / f"{name}.png", 90, 70) for name in "ab"]
    pack(other, tmp_path / "two", max_mib=1)
    folder = tmp_path / "out"
    unpack([tmp_path / "one" / "part-000.zip"], folder)
    labels = folder / "labels.jsonl"
    labels.write_bytes(labels.read_bytes().rstrip())
    assert unpack([tmp_path / "one" / "part-000.zip"], folder) == 2
    before = digests(folder)
    with pytest.raises(ValueError, match=r"is there and not that of .*two"):
        unpack([tmp_path / "two" / "part-000.zip"], folder)
    with ZipFile(tmp_path / "plain.zip", "w") as bundle:
        bundle.writestr("a.txt", "a")
    with pytest.raises(ValueError, match=r"plain\.zip is no part of a packed set"):
        unpack([tmp_path / "plain.zip"], folder)
    with ZipFile(tmp_path / "evil.zip", "w") as bundle:
        bundle.writestr("labels.jsonl", "")
        bundle.writestr("../evil", "evil")
    with pytest.raises(ValueError, match=r"evil' *, which would be written outside"):
        unpack([tmp_path / "evil.zip"], folder)
    with pytest.raises(FileNotFoundError, match=r"there is no archive .*part-009\.zip"):
        unpack([tmp_path / "one" / "part-009.zip"], folder)
    assert digests(folder) == before


@pytest.mark.shared
def test_real_pictures_get_smaller_and_stay_readable(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "wider_dev" / "WIDER_val" / "images" / "5--Car_Accident"
    paths = sorted(folder.glob("*.jpg"))[:4]
    pictures = []
    for path in paths:
        height, width = read_image(path).shape[:2]
        face = np.array([[10, 10, 10 + width / 4, 10 + height / 4]], np.float32)
        pictures.append(Sample(path, width, height, face, NONE))
    done = pack(pictures, tmp_path / "out", Packing(longest=320))
    assert done.shrunk == len(paths)
    assert done.after < done.before / 4
    packed = read_labels(tmp_path / "out" / "labels.jsonl")
    for before, after in zip(pictures, packed, strict=True):
        old, new = read_image(before.path), read_image(after.path)
        assert new.shape[:2] == (after.height, after.width)
        expected = cv2.resize(old, (after.width, after.height), interpolation=cv2.INTER_AREA)
        assert cv2.PSNR(expected, new) > 28
