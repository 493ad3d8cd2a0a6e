"""Datasets in any of the known formats: the table of formats, reading and writing."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np

from extd.data import coco, cvat, label_studio, labelme, retinaface, voc, wider, yolo
from extd.data.labels import are_fractions, find_jsonl, read_csv, read_jsonl, write_csv, write_jsonl
from extd.data.sample import ReadOptions, Sample, absolute, find_file, in_pixels
from extd.files import atomic_folder
from extd.images import image_size
from extd.prefetch import prefetch

Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Wraps what is iterated over, to show a progress bar."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format of labels."""

    name: str  # on the command line
    title: str  # in messages
    sign: str  # what it is recognized by
    find: Callable[[Path], Path | None]  # the label file or folder that a path means, or None
    read: Callable[[Path, ReadOptions], list[Sample]]  # the samples of such a file or folder
    # Writes a file, or into a folder that has the images in their places. None: only read.
    write: Callable[[Sequence[Sample], Path], None] | None = None
    suffix: str = ""  # of the label file; empty for a folder that holds the images
    # Where an image goes in such a folder, from its name below the images' common folder.
    place: Callable[[Sample, Path], Path] = lambda sample, name: name
    regions: bool = True  # whether it holds regions to ignore, and so on
    sources: bool = True
    landmarks: bool = False
    classes: bool = True
    decimals: bool = True
    # Whether the boxes of a file are read as fractions of the image's size.
    relative: Callable[[Path], bool] = lambda _: False


_ALL = (
    Format(
        "jsonl",
        "labels.jsonl",
        "a .jsonl file, or a folder with labels.jsonl",
        find_jsonl,
        read_jsonl,
        write_jsonl,
        ".jsonl",
        landmarks=True,
        classes=False,
    ),
    Format(
        "wider",
        "WIDER FACE",
        "a folder with WIDER_train or WIDER_val and wider_face_split, or one of its lists",
        wider.find_wider,
        wider.read_wider,
        wider.write_wider,
        place=wider.place_wider,
        sources=False,
        classes=False,
        decimals=False,
    ),
    Format(
        "coco",
        "COCO",
        "a .json file, or a folder with one, or with annotations/*.json",
        coco.find_coco,
        coco.read_coco,
        coco.write_coco,
        ".json",
    ),
    Format(
        "yolo",
        "YOLO",
        "a .yaml file, folders images and labels, or .txt files beside the images",
        yolo.find_yolo,
        yolo.read_yolo,
        yolo.write_yolo,
        place=yolo.place_yolo,
        regions=False,
        sources=False,
        relative=lambda _: True,
    ),
    Format(
        "voc",
        "Pascal VOC",
        "a folder with Annotations/*.xml or *.xml",
        voc.find_voc,
        voc.read_voc,
        voc.write_voc,
        place=voc.place_voc,
    ),
    Format(
        "csv",
        "CSV",
        "a .csv file, or a folder with labels.csv",
        lambda path: find_file(path, "labels.csv"),
        read_csv,
        write_csv,
        ".csv",
        relative=are_fractions,
    ),
    Format(
        "retinaface",
        "RetinaFace",
        "label.txt with lines such as '# a.jpg', or a folder with it",
        retinaface.find_retinaface,
        retinaface.read_retinaface,
        classes=False,
    ),
    Format(
        "labelme", "labelme", ".json files of shapes", labelme.find_labelme, labelme.read_labelme
    ),
    Format(
        "cvat", "CVAT", "an .xml file of images, or annotations.xml", cvat.find_cvat, cvat.read_cvat
    ),
    Format(
        "label-studio",
        "Label Studio",
        "a .json file of tasks, or a folder with one",
        label_studio.find_label_studio,
        label_studio.read_label_studio,
    ),
)
FORMATS = {one.name: one for one in _ALL}
"""The known formats by name."""
WRITABLE = tuple(one.name for one in _ALL if one.write is not None)
"""The names of those that can be written."""


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is not a format of labels; give one of {', '.join(FORMATS)}")
    return FORMATS[name]


def read_dataset(
    path: Path,
    format: str | None = None,  # noqa: A002
    images: Path | None = None,
    progress: Track = iter,
    classes: Sequence[str] = (),
    report: Callable[[Path, str], None] | None = None,
) -> list[Sample]:
    """The samples of a dataset.

    All labels are kept as they are, also boxes without area, boxes outside the image and images
    whose files are missing; `extd data check` reports them. Where labels do not give the size of
    an image it is read from the file, and is 0 x 0 if that fails. A malformed entry, such as a box
    of three numbers, is left out and reported.

    The folder of all of WIDER FACE and the YAML file of a YOLO set mean the training images; name
    `WIDER_val`, or the folder or list of the others, for those. A COCO or YOLO folder that is
    divided into training and other images without such a file is refused: name a part.

    Args:
        path: a label file or the folder of the set.
        format: a name of `FORMATS`; without it, what `path` holds tells.
        images: folder that image names are relative to, instead of the format's own.
        progress: wraps the images whose sizes are read.
        classes: the classes of faces; none for `face` and its usual names, or the only class.
        report: is told a label file and what is left out of it. Without it there is a warning.

    Raises:
        FileNotFoundError: there is no such file or folder, or its images are nowhere.
        ValueError: the format is unknown or not recognized, a label file is malformed, or there
            are no images; without `report`, also if no box is left.
        ImportError: what reads the format is not installed; the message names it.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if images is not None and not images.exists():
        raise FileNotFoundError(f"there is no folder {images} of images")
    chosen, labels = _find(path, format)
    if classes and not chosen.classes:
        raise ValueError(f"{labels}: {chosen.title} has no classes; leave out --class")
    faults: list[tuple[Path, str]] = []
    options = ReadOptions(lambda file, fault: faults.append((file, fault)), images, classes)
    samples = chosen.read(labels, options)
    has_boxes = any(len(one.boxes) + len(one.ignore) for one in samples)
    if faults and not (samples and (report or has_boxes)):
        raise ValueError(", ".join(map(str, faults[0])))
    if not samples:
        raise ValueError(f"{labels} names no image")
    if report is not None:
        for file, fault in faults:
            report(file, fault)
    elif faults:
        first = ", ".join(map(str, faults[0]))
        warnings.warn(f"left out: {len(faults):,} of {labels}, such as {first}", stacklevel=2)
    samples = with_sizes(samples, labels, progress)
    return [in_pixels(sample) for sample in samples] if chosen.relative(labels) else samples


def with_sizes(samples: Sequence[Sample], labels: Path, progress: Track = iter) -> list[Sample]:
    """The samples, with sizes of 0 x 0 replaced by those of their files.

    Missing and broken images keep 0 x 0, so that the others can be used.

    Raises:
        ValueError: none of these files can be read; the message names `labels`, which lists them.
    """
    unknown = [index for index, sample in enumerate(samples) if not sample.width]
    results = prefetch([samples[index].path for index in unknown], image_size)
    complete, faults = list(samples), []
    for index, (path, size) in zip(progress(unknown), results, strict=True):
        if isinstance(size, Exception):
            faults.append(str(size) if str(path) in str(size) else f"{path}: {size}")
        else:
            complete[index] = replace(samples[index], width=size[0], height=size[1])
    if faults and len(faults) == len(unknown):
        raise ValueError(
            f"{labels} does not give the sizes of its images, and none of the {len(unknown):,} can "
            f"be read: {faults[0]}; name their folder, as with extd data convert --images"
        )
    return complete


def _find(path: Path, name: str | None) -> tuple[Format, Path]:
    """The format of what is at `path`, that of the name if given, and its label file or folder."""
    if name is not None:
        wanted = find_format(name)
        # A file may be called anything when its format is given.
        labels = wanted.find(path) or (path if wanted.suffix and path.is_file() else None)
        if labels is None:
            raise ValueError(f"{path} holds no labels of {wanted.title}; looked for {wanted.sign}")
        return wanted, labels
    found = [(one, labels) for one in _ALL if (labels := one.find(path)) is not None]
    if len(found) > 1:
        names = " and ".join(f"{one.name} ({labels})" for one, labels in found)
        raise ValueError(
            f"{path} holds labels of more than one format: {names}; name the label file or folder "
            "itself, or the format"
        )
    if not found:
        signs = "; ".join(f"{one.name}: {one.sign}" for one in _ALL)
        raise ValueError(f"{path} holds no labels of a known format; looked for {signs}")
    return found[0]


def write_dataset(
    samples: Sequence[Sample],
    out: Path,
    format: str,  # noqa: A002
    copy: bool = False,
    progress: Track = iter,
) -> list[str]:
    """Write a dataset in any format. What is at `out` appears whole or not at all.

    `jsonl`, `coco` and `csv` are one file, which names the images where they are, relative to it;
    with `copy` they go into a folder `images` beside it. The other formats are a folder that holds
    the images: symbolic links, or copies with `copy`.

    Args:
        samples: what to write. Where two images would have one name, a number is added.
        out: a `.jsonl`, `.json` or `.csv` file, or a new folder.
        format: a name of `WRITABLE`.
        copy: whether images are copied.
        progress: wraps the images that are linked or copied.

    Returns:
        What the format cannot hold and was not written, a sentence each.

    Raises:
        ValueError: the format is unknown or only read, `out` has another suffix, the size of an
            image is unknown, its name cannot be written, or what is to be linked or copied is not
            an image.
        FileExistsError: the new folder is not empty, or the file exists.
        FileNotFoundError: an image that is to be linked or copied is missing.
    """
    chosen = find_format(format)
    if chosen.write is None:
        raise ValueError(f"{chosen.title} is only read; write one of {', '.join(WRITABLE)}")
    for sample in samples:
        if not (sample.width > 0 and sample.height > 0):
            raise ValueError(
                f"the size of {sample.path} is unknown, for it cannot be read; repair it, or "
                "remove it from the labels"
            )
    if not chosen.suffix:
        with atomic_folder(out) as partial:
            chosen.write(_place(samples, partial, chosen, copy, progress), partial)
    elif out.suffix.lower() != chosen.suffix or out.is_dir():
        file = out / f"labels{chosen.suffix}" if out.is_dir() else out.with_suffix(chosen.suffix)
        raise ValueError(f"{chosen.title} is one {chosen.suffix} file; call it {file}")
    elif out.exists():
        raise FileExistsError(f"{out} exists; give another name, or remove it")
    elif copy:
        folder = out.parent / "images"
        with atomic_folder(folder) as partial:
            copied = _place(samples, partial, chosen, copy, progress)
        moved = [replace(one, path=folder / one.path.relative_to(partial)) for one in copied]
        chosen.write(moved, out)
    else:
        chosen.write(samples, out)
    return _losses(samples, chosen)


def _place(
    samples: Sequence[Sample], folder: Path, chosen: Format, copy: bool, progress: Track
) -> list[Sample]:
    """The samples with their images linked or copied to their places in `folder`."""
    paths = [absolute(sample.path) for sample in samples]
    base = commonpath([path.parent for path in paths]) if paths else ""
    placed = []
    taken: set[str] = set()
    for sample, path in zip(progress(samples), paths, strict=True):
        target = folder / _free(chosen.place(sample, path.relative_to(base)), taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(path, target, copy)
        placed.append(replace(sample, path=target))
    return placed


def _free(path: Path, taken: set[str]) -> Path:
    """The path, with a number added to its name if that is `taken`, whatever the suffix."""
    free, number = path, 1
    while (claim := str(free.with_suffix("")).casefold()) in taken:
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    taken.add(claim)
    return free


def _link_or_copy(path: Path, target: Path, copy: bool) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"there is no image {path}; remove it from the labels")
    # Labels may come from anyone, and name any file of this machine.
    try:
        image_size(path)
    except ValueError as error:
        raise ValueError(f"{error}; repair it, or remove it from the set") from error
    if copy:
        shutil.copyfile(path, target)
        return
    try:
        target.symlink_to(path)
    except (OSError, NotImplementedError) as error:
        raise OSError(
            f"{target.parent} cannot hold a link to {path}: {error}; copy the images"
        ) from error


def _losses(samples: Sequence[Sample], chosen: Format) -> list[str]:
    """What the format cannot hold of these samples."""
    lost = []
    regions = sum(len(sample.ignore) for sample in samples)
    if regions and not chosen.regions:
        lost.append(f"{chosen.title} has no ignored regions; not written: {regions:,}")
    if not chosen.sources and len({sample.source for sample in samples}) > 1:
        lost.append(f"{chosen.title} has no sources; they are not written")
    if not chosen.landmarks and any(sample.landmarks is not None for sample in samples):
        lost.append(f"landmarks are not written to {chosen.title}")
    boxes = [box for sample in samples for box in (sample.boxes, sample.ignore)]
    if not chosen.decimals and any((own != np.rint(own)).any() for own in boxes):
        lost.append(f"{chosen.title} has whole pixels only; boxes were rounded")
    return lost
