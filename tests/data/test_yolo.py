"""YOLO's lines, its YAML file, and where the images of a set are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from extd.data.datasets import read_dataset, write_dataset

Write = Callable[[Mapping[str, object]], Path]

LINE = "0 0.5 0.5 0.25 0.5\n"
BOX = [24.0, 12.0, 40.0, 36.0]
"""The same in an image of 64 x 48 px."""
POINTS = "0.45 0.4 0.55 0.4 0.5 0.5 0.46 0.6 0.54 0.6"
SEEN_POINTS = "0.45 0.4 2 0.55 0.4 2 0.5 0.5 1 0.46 0.6 2 0.54 0.6 2"
IMAGE = {"images/a.jpg": (64, 48)}


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        "0.0 0.5 0.5 0.25 0.5",
        "0,0.5,0.5,0.25,0.5",
        "0 0.5 0.5 0.25 0.5 0.93",
        f"0 0.5 0.5 0.25 0.5 {POINTS}",
        f"0 0.5 0.5 0.25 0.5 {POINTS} 0.9",
        "0 0.5 0.5 0.25 0.5" + " -1" * 10,
        "0 0.5 0.5 0.25 0.5" + " 0.41 0.3 2" * 5,
        # Polygons.
        "0 0.375 0.25 0.625 0.25 0.5 0.75",
        "0 0.375 0.25 0.625 0.25 0.625 0.75 0.375 0.75",
        "0 0.375 0.5 0.45 0.25 0.55 0.25 0.625 0.5 0.55 0.75 0.5 0.75 0.45 0.75",
    ],
)
def test_every_kind_of_line_gives_its_box(line: str, write: Write) -> None:
    (sample,) = read_dataset(write({**IMAGE, "labels/a.txt": line}))
    assert sample.boxes.tolist() == [BOX]


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (f"{LINE[:-1]} {POINTS}", True),
        (f"{LINE[:-1]} {POINTS} 0.9", True),
        (f"{LINE[:-1]} {SEEN_POINTS}", True),
        (f"{LINE[:-1]} {SEEN_POINTS} 0.9", True),
        (f"{LINE[:-1]} {'0 0 0 ' * 5}", False),
        (f"{LINE[:-1]} {'-1 ' * 10}", False),
    ],
)
def test_five_points_are_landmarks(line: str, known: bool, write: Write) -> None:
    (sample,) = read_dataset(write({**IMAGE, "labels/a.txt": f"{line}\n{LINE}"}))
    assert sample.boxes.tolist() == [BOX, BOX]
    if not known:
        assert sample.landmarks is None
        return
    assert sample.landmarks is not None
    expected = np.array(POINTS.split(), float) * ([64, 48] * 5)
    assert np.allclose(sample.landmarks[0], expected)
    assert np.isnan(sample.landmarks[1]).all()


def test_a_keypoint_shape_tells_landmarks_from_polygons(write: Write) -> None:
    line = "0 0.5 0.5 0.25 0.5 0.1 0.1 0.9 0.9"
    config = "kpt_shape: [2, 2]\nnames: [face]\n"
    (sample,) = read_dataset(write({**IMAGE, "labels/a.txt": line, "data.yaml": config}))
    assert sample.boxes.tolist() == [BOX]


def test_utf16_is_read(write: Write) -> None:
    (sample,) = read_dataset(write({**IMAGE, "labels/a.txt": LINE.encode("utf-16")}))
    assert sample.boxes.tolist() == [BOX]


SETS = {
    "new/images/a.jpg": (64, 48),
    "new/labels/a.txt": LINE,
    "new/images/b.jpg": (64, 48),
    "other/images/c.jpg": (64, 48),
    "proj/images/old.jpg": (9, 9),
    "proj/labels/old.txt": LINE,
}


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ("path: ../new\ntrain: images", "a b"),
        ("path: {root}/new\ntrain: images\nval: ../other/images", "a b"),
        ("train: ../new/images", "a b"),
        ("train:\n- ../new/images\n- ../other/images", "a b c"),
        ("path: new\ntrain: images", "a b"),
        ("val: ../other/images", "c"),
        ("path: .\ntrain: list.txt", "b"),
        # As Roboflow writes it: two dots too many.
        ("train: ../images", "old"),
        ("nc: 1", "old"),
    ],
)
def test_a_yaml_file_says_where_its_images_are(config: str, names: str, write: Write) -> None:
    root = write({**SETS, "proj/list.txt": "../new/images/b.jpg\n\n"})
    text = config.replace("{root}", str(root))
    write({"proj/data.yaml": f"{text}\nnames: [face]\n"})
    samples = read_dataset(root / "proj/data.yaml")
    assert [one.path.stem for one in samples] == names.split()
    assert all(one.path.is_file() for one in samples)
    found = {one.path.stem: one.boxes.tolist() for one in samples}
    assert found.get("a", [BOX]) == [BOX]


def test_images_that_a_yaml_file_names_must_exist(write: Write) -> None:
    root = write({**SETS, "proj/data.yaml": "path: ../gone\ntrain: images\nnames: [face]\n"})
    with pytest.raises(FileNotFoundError, match=r"data\.yaml: there is no 'images' in .*gone; cor"):
        read_dataset(root / "proj/data.yaml")
    # The folder itself was named, so its own images are meant.
    assert [one.path.stem for one in read_dataset(root / "proj")] == ["old"]


def test_a_list_names_images(write: Write) -> None:
    root = write({**SETS, "lists/val.txt": f"../new/images/a.jpg\n{'../gone.jpg'}\n"})
    first, gone = read_dataset(root / "lists/val.txt")
    assert (first.boxes.tolist(), gone.width) == ([BOX], 0)


def test_the_yaml_file_of_a_neighbor_is_not_read(write: Write) -> None:
    root = write(
        {
            "sets/coco.yaml": "names: [person, car]",
            "sets/mine/images/a.jpg": (64, 48),
            "sets/mine/labels/a.txt": LINE,
        }
    )
    assert read_dataset(root / "sets/mine")[0].boxes.tolist() == [BOX]
    write({"sets/mine/labels/a.txt": f"{LINE}1 0.5 0.5 0.5 0.5\n"})
    message = "none of the classes is called 'face'; there are '0', '1'; .* --class"
    with pytest.raises(ValueError, match=message):
        read_dataset(root / "sets/mine")
    (sample,) = read_dataset(root / "sets/mine", classes=["0"])
    assert sample.boxes.tolist() == [BOX]
    with pytest.raises(ValueError, match="there is no class 'face'; there are '0', '1'"):
        read_dataset(root / "sets/mine", classes=["face"])


def test_the_splits_of_a_yaml_file_share_its_names(write: Write) -> None:
    files: dict[str, object] = {}
    for split in ("train", "valid"):
        files[f"set/{split}/images/{split}.jpg"] = (64, 48)
        files[f"set/{split}/labels/{split}.txt"] = f"{LINE}1 0.5 0.5 1 1\n"
    config = "train: ../train/images\nval: ../valid/images\nnames: [face, hand]\n"
    root = write({**files, "set/data.yaml": config})
    places = {"set": "train", "set/valid": "valid", "set/valid/images": "valid"}
    for path, name in places.items():
        (sample,) = read_dataset(root / path)
        assert (sample.path.stem, sample.boxes.tolist()) == (name, [BOX])
    # Names of another set do not count.
    write({"set/data.yaml": "train: elsewhere\nnames: [face, hand]\n"})
    with pytest.raises(ValueError, match="there are '0', '1'"):
        read_dataset(root / "set/valid")


@pytest.mark.parametrize(
    "names",
    ["face", "[\n  face,\n  hand\n]", "{0: Faces}", "\n- Human face\n- hand", "[with_mask, other]"],
)
def test_names_may_be_written_in_any_way(names: str, write: Write) -> None:
    config = f"names: {names}\nnc: 2\n"
    (sample,) = read_dataset(write({**IMAGE, "labels/a.txt": LINE, "data.yaml": config}))
    assert sample.boxes.tolist() == [BOX]


def test_classes_are_named_by_a_text_file_or_are_one(write: Write) -> None:
    root = write({**IMAGE, "labels/a.txt": "15 0.5 0.5 0.25 0.5\n"})
    assert read_dataset(root)[0].boxes.tolist() == [BOX]
    write({"labels/a.txt": f"0 0.5 0.5 1 1\n1 {LINE[2:]}", "labels/classes.txt": "dog\nface\n"})
    assert read_dataset(root)[0].boxes.tolist() == [BOX]


def test_two_descriptions_are_one_too_many(write: Write) -> None:
    root = write({**IMAGE, "labels/a.txt": LINE, "a.yaml": "names: [face]", "b.yaml": "names: [x]"})
    with pytest.raises(ValueError, match=r"holds several datasets; name one of .*a\.yaml, .*b\.y"):
        read_dataset(root)
    write({"b.yaml": "lr: 0.1\n"})
    assert read_dataset(root)[0].boxes.tolist() == [BOX]


def test_a_bad_line_is_left_out_with_a_word(write: Write) -> None:
    files = {**IMAGE, "labels/a.txt": f"0 0.5\n{LINE}", "labels/README.md.txt": "Exported by"}
    root = write({**files, "labels/notes.txt": "some words"})
    faults: list[tuple[Path, str]] = []
    (sample,) = read_dataset(root, report=lambda *fault: faults.append(fault))
    assert sample.boxes.tolist() == [BOX]
    assert {file.name: fault[:20] for file, fault in faults} == {
        "a.txt": "line 1: '0 0.5' has ",
        "notes.txt": "line 1: 'some words'",
    }
    with pytest.warns(UserWarning, match=r"left out: 2 of .*, such as .*, line 1: "):
        read_dataset(root)


def test_what_is_written_does_not_depend_on_the_working_directory(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({**IMAGE, "labels/a.txt": LINE, "else/images/x.jpg": (9, 9)})
    write_dataset(read_dataset(root), root / "out", "yolo", copy=True)
    # ultralytics takes `path` from the working directory, and without it the file's own folder.
    assert "path" not in (root / "out/data.yaml").read_text()
    monkeypatch.chdir(root / "else")
    (sample,) = read_dataset(Path("../out/data.yaml"))
    assert sample.boxes.tolist() == [BOX]


def test_yaml_needs_a_library(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({**IMAGE, "labels/a.txt": LINE, "data.yaml": "names: [face]"})
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r'data\.yaml needs PyYAML; .* "extd\[eval\]"'):
        read_dataset(root)
