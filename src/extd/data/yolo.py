"""YOLO: images below `images`, a text file for each at the same place below `labels`.

A line is a class, and center x, center y, width and height as fractions of the image's size; a
confidence or landmarks may follow. It may also be a class and the corners of a polygon. An image
whose text file is empty or missing has no faces. A YAML file or `classes.txt` may name the
classes; without names all objects must be of one class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extd.boxes import Boxes
from extd.data.image_paths import find_image
from extd.data.sample import (
    FACE,
    ReadOptions,
    Sample,
    are_pixels,
    at,
    face_classes,
    landmark_array,
    plain,
    read_text,
    write_text,
)
from extd.files import SUFFIXES

YAML = frozenset({".yaml", ".yml"})
KEYS = re.compile(r"^[\"']?(names|train|val)[\"']?[ \t]*:", re.MULTILINE)
"""What a YAML file has that describes a dataset, unlike one of hyperparameters."""
IMAGES, LABELS = "images", "labels"
SPLITS = ("train", "val", "valid", "test")
CLASSES, DARKNET = "classes.txt", "obj.names"
"""Names of the classes, one a line: labelImg's file among the labels, CVAT's one folder above."""
NOT_LABELS = frozenset({"classes", "predefined_classes", "label", "labelv2", *SPLITS})
"""Text files among the labels that are about no image, without `.txt`."""
DIGITS = 10
"""Decimals of a fraction: a millionth of a pixel."""
Row = tuple[int, list[float], list[float] | None]
"""Class, x1, y1, x2, y2 as fractions of the image's size, and x and y of five landmarks."""


@dataclass(frozen=True, slots=True)
class YoloConfig:
    """What the YAML file of a dataset says."""

    file: Path  # the file itself
    names: dict[int, str] | None  # the class of each number, or None where the file names none
    root: str  # its `path`, or empty
    images: tuple[str, ...]  # folders and lists of images under `train`, or else `val`
    keypoints: bool  # whether lines have keypoints behind the box, for there is a `kpt_shape`


def find_yolo(path: Path) -> Path | None:
    """The YAML file, list of images or folder of text files that a path means.

    The path is one of these, a folder with a YAML file that says where its images are, a folder
    with `images` and `labels`, one of those two or a folder below them, or a folder of images and
    text files together. One that is divided into splits, as `labels/train` and `labels/val`, is
    refused without such a YAML file.
    """
    if path.is_file():
        return path if path.suffix.lower() in YAML or _is_list(path) else None
    config = find_config(path)
    if config is not None and config.images:
        try:
            locate_images(config)
        except FileNotFoundError:
            # It was written for another place; the folder itself was named here.
            return _find_layout(path) or config.file
        return config.file
    return _find_layout(path)


def _is_list(path: Path) -> bool:
    """Whether this is a text file of names of images."""
    if path.suffix.lower() != ".txt":
        return False
    lines = [line.strip() for line in read_text(path).split("\n", 2)[:2] if line.strip()]
    return bool(lines) and all(Path(line).suffix.lower() in SUFFIXES for line in lines)


def _find_layout(path: Path) -> Path | None:
    """The folder of text files that a folder means."""
    layouts = (f"{LABELS}/{{}}", f"{{}}/{LABELS}", "obj_{}_data")
    parts = [path / layout.format(split) for split in SPLITS for layout in layouts]
    parts = [one for one in parts if one.is_dir() and _counterpart(one, LABELS, IMAGES).is_dir()]
    if len(parts) > 1:
        raise ValueError(f"{path} is divided; name one of {', '.join(map(str, parts))}")
    if parts:
        return parts[0]
    if (path / IMAGES).is_dir() and (path / LABELS).is_dir():
        return path / LABELS
    texts = path.rglob("*.txt") if path.name == LABELS else path.glob("*.txt")
    about = [text for text in texts if not _is_about_no_image(text)]
    if LABELS in {path.name, path.parent.name} and about:
        return path
    counterpart = _counterpart(path, IMAGES, LABELS)
    if counterpart != path and counterpart.is_dir():
        return counterpart
    stems = {text.stem for text in about}
    files = path.glob("*.*")
    together = any(file.stem in stems and file.suffix.lower() in SUFFIXES for file in files)
    return path if together else None


def _is_about_no_image(text: Path) -> bool:
    name = text.stem.casefold()
    return name in NOT_LABELS or name.startswith("readme")


def _counterpart(path: Path, own: str, other: str) -> Path:
    """The same place in the other of the two trees; the path itself if it is in neither."""
    if own not in path.parts:
        return path
    last = len(path.parts) - 1 - path.parts[::-1].index(own)
    return Path(*path.parts[:last], other, *path.parts[last + 1 :])


def read_yolo(path: Path, options: ReadOptions) -> list[Sample]:
    """The samples of a YAML file, list or folder; see `datasets.read_dataset`.

    Sizes of images are 0 x 0, and boxes are float64 fractions of the size: YOLO gives no sizes.
    A text file without an image stands for one that is missing, with the suffix `.jpg`. Without
    `options.images`, the images of a folder are in the one called so beside it, or else in itself.
    """
    config, texts = _find_texts(path, options.images)
    keypoints = config is not None and config.keypoints
    rows = {}
    for image, text in texts.items():
        rows[image] = _read_rows(text, options, keypoints)
        if not rows[image] and not image.is_file() and text.is_file() and text.stat().st_size:
            # A text about something else; its lines were reported.
            del rows[image]
    file, names = _class_names(path, config)
    if names is None:
        names = {number: str(number) for own in rows.values() for number, *_ in own}
    with at(file):
        faces = face_classes(names.values(), options.classes) if names else frozenset()
    none = np.empty((0, 4), np.float32)
    samples = []
    for image, own in rows.items():
        chosen = [row for row in own if names.get(row[0]) in faces]
        boxes = np.reshape(np.array([box for _, box, _ in chosen]), (-1, 4))
        points = landmark_array([points for *_, points in chosen])
        samples.append(Sample(image, 0, 0, boxes, none, landmarks=points))
    return samples


def _find_texts(path: Path, images: Path | None) -> tuple[YoloConfig | None, dict[Path, Path]]:
    """The description of the set, and the text file of each image."""
    if path.suffix.lower() in YAML and path.is_file():
        config = read_config(path)
        if config.images and images is None:
            places = locate_images(config)
            return config, {k: v for place in places for k, v in _texts_of_images(place)}
        layout = _find_layout(path.parent)
        if layout is None:
            raise ValueError(f"{path} does not say where its images are; add train: images")
        return config, dict(_texts_of_folder(layout, images))
    if path.is_file():
        return _config_of(path.parent), dict(_texts_of_images(path))
    return _config_of(path), dict(_texts_of_folder(path, images))


def _texts_of_images(place: Path) -> Iterator[tuple[Path, Path]]:
    """Each image of a folder or a list, with its text file."""
    if place.is_dir():
        labels = _counterpart(place, IMAGES, LABELS)
        yield from _texts_of_folder(labels if labels.is_dir() else place, place)
        return
    for line in read_text(place).split("\n"):
        if name := line.strip():
            image = find_image(place.parent, name)
            image = image if image.is_file() else find_image(Path.cwd(), name)
            text = _counterpart(image, IMAGES, LABELS)
            yield image, (text if text.parent.is_dir() else image).with_suffix(".txt")


def _texts_of_folder(folder: Path, images: Path | None) -> Iterator[tuple[Path, Path]]:
    """Each image, also those missing, with its text file in `folder` or below, sorted by name."""
    if images is None:
        beside = _counterpart(folder, LABELS, IMAGES)
        images = beside if beside.is_dir() else folder
    names = {
        file.relative_to(images)
        for file in images.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file()
    }
    stems = {name.with_suffix("") for name in names}
    for text in folder.rglob("*.txt"):
        name = text.relative_to(folder)
        if not _is_about_no_image(text) and name.with_suffix("") not in stems:
            names.add(name.with_suffix(".jpg"))
    for name in sorted(names):
        yield images / name, (folder / name).with_suffix(".txt")


def find_config(folder: Path) -> YoloConfig | None:
    """The description of a dataset in a folder, or None.

    Raises:
        ValueError: there are several, or it is malformed.
        ImportError: PyYAML is missing.
    """
    files = sorted(file for file in folder.glob("*.*") if file.suffix.lower() in YAML)
    configs = [read_config(file) for file in files if KEYS.search(read_text(file))]
    if len(configs) > 1:
        names = ", ".join(str(config.file) for config in configs)
        raise ValueError(f"{folder} holds several datasets; name one of {names}")
    return configs[0] if configs else None


def read_config(file: Path) -> YoloConfig:
    """What a YAML file says.

    Raises:
        ValueError: it is not YAML or describes no dataset.
        ImportError: PyYAML is missing.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError(f'reading {file} needs PyYAML; run: pip install "extd[eval]"') from error
    with at(file):
        try:
            content = yaml.safe_load(read_text(file))
        except yaml.YAMLError as error:
            raise ValueError(f"it is not YAML: {error}") from error
        if not isinstance(content, dict) or not content.keys() & {"names", "train", "val"}:
            raise ValueError("it describes no dataset: it has none of names, train, val")
        images = content.get("train") or content.get("val") or ()
        return YoloConfig(
            file,
            None if content.get("names") is None else dict(_classes(content["names"])),
            str(content.get("path") or ""),
            tuple(map(str, images if isinstance(images, list) else (images,) if images else ())),
            "kpt_shape" in content,
        )


def _classes(names: object) -> Iterable[tuple[int, str]]:
    if isinstance(names, dict):
        return [(int(number), str(name)) for number, name in names.items()]
    if isinstance(names, list | str):
        return enumerate(map(str, names if isinstance(names, list) else [names]))
    raise ValueError(f"the names of classes are {names!r}; write them as names: [face]")


def locate_images(config: YoloConfig) -> list[Path]:
    """The folders and lists of images that the file names.

    As in ultralytics, they are relative to `path`, which is relative to the file here, or else to
    the working directory; `../` in front is dropped where that leads nowhere.

    Raises:
        FileNotFoundError: one of them is nowhere.
    """
    # Sets that were exported for another place have the `path` of that place.
    own, root = config.file.parent, Path(config.root)
    bases = [own / root, own.parent / root, own.parent / "datasets" / root, Path.cwd() / root]
    found = []
    for entry in config.images:
        names = [entry, entry[3:]] if entry.startswith("../") else [entry]
        candidates = [base / name for base in dict.fromkeys(bases) for name in names]
        existing = [path for path in candidates if path.exists()]
        if not existing:
            raise FileNotFoundError(
                f"{config.file}: there is no {entry!r} in {bases[0]}; correct path, train and val"
            )
        found.append(existing[0])
    return found


def _config_of(folder: Path) -> YoloConfig | None:
    """The description of the set that a folder of texts or images belongs to."""
    root = folder
    if folder.name in {IMAGES, LABELS}:
        root = folder.parent
    elif folder.name in SPLITS and folder.parent.name in {IMAGES, LABELS}:
        root = folder.parent.parent
    config = find_config(folder) if root == folder else find_config(folder) or find_config(root)
    if config is None and root.name in SPLITS:
        # The folder above may hold other sets: it counts only if it has this one's splits.
        above = find_config(root.parent)
        return above if above is not None and _names_split(above, root) else None
    return config


def _names_split(config: YoloConfig, root: Path) -> bool:
    try:
        places = [place.resolve() for place in locate_images(config)]
    except FileNotFoundError:
        return False
    return any(root.resolve().parent in place.parents for place in places)


def _class_names(path: Path, config: YoloConfig | None) -> tuple[Path, dict[int, str] | None]:
    """The classes by their numbers, and the file that names them; None where nothing does."""
    if config is not None and config.names is not None:
        return config.file, config.names
    folder = path if path.is_dir() else path.parent
    folders = [folder, folder.parent if folder.name == LABELS else folder / LABELS]
    files = [*(one / CLASSES for one in folders), folder / DARKNET, folder.parent / DARKNET]
    for file in files:
        if file.is_file():
            lines = [line.strip() for line in read_text(file).split("\n")]
            return file, {number: line for number, line in enumerate(lines) if line}
    return path, None


def _read_rows(file: Path, options: ReadOptions, keypoints: bool) -> list[Row]:
    """The objects in a text file."""
    rows = []
    lines = read_text(file).split("\n") if file.is_file() else []
    for number, line in enumerate(lines, 1):
        if line.strip():
            with options.entry(file, f"line {number}"):
                rows.append(_parse_line(line, keypoints))
    return rows


def _parse_line(line: str, keypoints: bool) -> Row:
    words = line.replace(",", " ").split()
    if len(words) < 5:
        raise ValueError(
            f"{line.strip()!r} has {len(words)} numbers; expected 5: class, center x, center y, "
            "width, height"
        )
    numbers = [float(word) for word in words]
    if not are_pixels(numbers, len(numbers)) or numbers[0] != int(numbers[0]):
        raise ValueError(f"{line.strip()!r} is not a class and finite numbers")
    number, values = int(numbers[0]), numbers[1:]
    points = _landmarks(values, known=keypoints)
    if len(values) >= 6 and len(values) % 2 == 0 and not (keypoints or points):
        xs, ys = values[::2], values[1::2]
        return number, [min(xs), min(ys), max(xs), max(ys)], None
    x, y, width, height = values[:4]
    # Of points that are unknown some are 0 or negative.
    seen = points if points and min(points) > 0 else None
    return number, [x - width / 2, y - height / 2, x + width / 2, y + height / 2], seen


def _landmarks(values: list[float], *, known: bool) -> list[float] | None:
    """Eyes, nose and corners of the mouth behind a box, if that is what these numbers are.

    They are five points, perhaps each with 0, 1 or 2 for its visibility. Without it, and unless
    it is `known` that points follow the box, 14 numbers may also be the corners of a polygon. A
    confidence may follow.
    """
    if len(values) in {19, 20} and {*values[6:19:3]} <= {0, 1, 2}:
        return [value for start in range(4, 19, 3) for value in values[start : start + 2]]
    if len(values) in {14, 15} and (known or _has_landmarks(values[:14])):
        return values[4:14]
    return None


def _has_landmarks(values: list[float]) -> bool:
    """Whether 14 numbers are a box and eyes, nose and corners of the mouth, not seven corners.

    Points that are unknown are negative. The others are in the box or near it, the eyes above the
    mouth, both from left to right, which no polygon's corners are that go around it.
    """
    if min(values[4:]) < 0:
        return True
    x, y, width, height = values[:4]
    points = np.reshape(values[4:], (5, 2))
    near = np.abs(points - [x, y]) <= np.multiply([width, height], 0.6)
    ordered = points[0, 0] <= points[1, 0] and points[3, 0] <= points[4, 0]
    return bool(near.all() and ordered and points[:2, 1].mean() < points[3:, 1].mean())


def place_yolo(sample: Sample, name: Path) -> Path:
    """Where an image is in the layout; see `datasets.Format`."""
    return IMAGES / name


def write_yolo(samples: Sequence[Sample], folder: Path) -> None:
    """Write text files for images that are in their place in `folder`, and `data.yaml`."""
    for sample in samples:
        name = sample.path.relative_to(folder / IMAGES)
        text = yolo_lines(sample.boxes, sample.width, sample.height)
        write_text((folder / LABELS / name).with_suffix(".txt"), text)
    # No `path`: ultralytics would take it from the working directory, not from this file.
    names = f"train: {IMAGES}\nval: {IMAGES}\nnames:\n  0: {FACE}\n"
    write_text(folder / "data.yaml", names)


def yolo_lines(boxes: Boxes, width: int, height: int) -> str:
    """The text of an image: a line a face, exact to a few millionths of a pixel."""
    corners = boxes.astype(np.float64) / [width, height, width, height]
    center, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    rows = np.concatenate([center, sides], axis=1).round(DIGITS).tolist()
    return "".join(f"0 {' '.join(map(plain, row))}\n" for row in rows)
