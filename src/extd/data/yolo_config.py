"""The YAML file of a YOLO dataset: the names of its classes, and where its images are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from extd.data.sample import at, read_text

SUFFIXES = frozenset({".yaml", ".yml"})
KEYS = re.compile(r"^[\"']?(names|train|val)[\"']?[ \t]*:", re.MULTILINE)
"""What a YAML file has that describes a dataset, unlike one of hyperparameters."""


@dataclass(frozen=True, slots=True)
class YoloConfig:
    """What such a file says."""

    file: Path  # the file itself
    names: dict[int, str] | None  # the class of each number, or None where the file names none
    root: str  # its `path`, or empty
    images: tuple[str, ...]  # folders and lists of images under `train`, or else `val`
    keypoints: bool  # whether lines have keypoints behind the box, for there is a `kpt_shape`


def find_config(folder: Path) -> YoloConfig | None:
    """The description of a dataset in a folder, or None.

    Raises:
        ValueError: there are several, or it is malformed.
        ImportError: PyYAML is missing.
    """
    files = sorted(file for file in folder.glob("*.*") if file.suffix.lower() in SUFFIXES)
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
