"""Data sets of labelled pictures in any of the known formats, read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path

import numpy as np

from extd.data.coco import find_coco, read_coco, write_coco
from extd.data.folders import link_or_copy, whole_folder
from extd.data.labels import find_labels, read_labels, write_labels
from extd.data.pixels import Progress, find_archive, is_file
from extd.data.sample import Sample
from extd.data.table import find_table, read_table, write_table
from extd.data.voc import find_voc, place_voc, read_voc, write_voc
from extd.data.wider import find_wider, place_wider, read_wider, write_wider
from extd.data.yolo import find_yolo, place_yolo, read_yolo, write_yolo, yolo_images
from extd.files import SUFFIXES, real_path


@dataclass(frozen=True, slots=True)
class Format:
    """One format of labels.

    Attributes:
        name: how it is called on the command line.
        title: how people call it.
        sign: what it is recognised by.
        find: the label file or folder that a path means, or None.
        read: pictures of such a file or folder; takes the folder of pictures, too.
        write: writes pictures to a file, or to a folder that has the pictures in their places.
        place: where a picture lies in the folder, from its path below the pictures' own folder.
        suffix: of the label file; empty where the format is a folder in which pictures have places.
        regions, sources, decimals, raw_names: whether it holds ignored regions, sources, parts of a
            pixel, and names that are not UTF-8.
        searched: the folder whose pictures all belong to the set, whatever the labels name; takes
            what `read` takes.
    """

    name: str
    title: str
    sign: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path, Path | None, Progress | None], list[Sample]]
    write: Callable[[Sequence[Sample], Path], None]
    place: Callable[[Sample, Path], Path]
    suffix: str = ""
    regions: bool = True
    sources: bool = True
    decimals: bool = True
    raw_names: bool = True
    searched: Callable[[Path, Path | None], Path] | None = None


def _place_beside(picture: Sample, below: Path) -> Path:
    return below


_ALL = (
    Format(
        "jsonl",
        "labels.jsonl",
        "a .jsonl file, or a folder or .zip with labels.jsonl",
        find_labels,
        lambda path, images, _: read_labels(path, images),
        write_labels,
        _place_beside,
        ".jsonl",
    ),
    Format(
        "wider",
        "WIDER FACE",
        "WIDER_train or WIDER_val and wider_face_split, as folders or .zip, or one of its lists",
        find_wider,
        read_wider,
        write_wider,
        place_wider,
        sources=False,
        decimals=False,
    ),
    Format(
        "coco",
        "COCO",
        "a .json file, or a folder with one, or with annotations/*.json",
        find_coco,
        read_coco,
        write_coco,
        _place_beside,
        ".json",
    ),
    Format(
        "yolo",
        "YOLO",
        "folders images and labels, or .txt files beside the pictures",
        find_yolo,
        read_yolo,
        write_yolo,
        place_yolo,
        regions=False,
        sources=False,
        searched=yolo_images,
    ),
    Format(
        "voc",
        "Pascal VOC",
        "a folder with Annotations/*.xml or *.xml",
        find_voc,
        read_voc,
        write_voc,
        place_voc,
        raw_names=False,
    ),
    Format(
        "csv",
        "CSV",
        "a .csv file, or a folder or .zip with labels.csv",
        find_table,
        read_table,
        write_table,
        _place_beside,
        ".csv",
    ),
)
FORMATS = {one.name: one for one in _ALL}
"""The known formats by name."""


def read_dataset(
    path: Path,
    format: str | None = None,  # noqa: A002
    images: Path | None = None,
    progress: Progress | None = None,
) -> list[Sample]:
    """The pictures of a data set.

    All labels are kept as they are, also boxes without area, boxes outside of the picture and
    pictures whose files are missing; `extd data check` names them. Where labels do not tell the
    size of a picture it is read from the file, and is 0 x 0 if that cannot be read.

    The folder of all of WIDER FACE means its training pictures, `WIDER_val` in it the others. A
    COCO or YOLO folder that is divided into training and other pictures is refused: name a part.

    Args:
        path: a label file or the folder of the set.
        format: a name of `FORMATS`; without it, what `path` holds tells.
        images: folder that picture names are relative to, instead of the format's own.
        progress: is told how many pictures' sizes were read, and of how many.

    Raises:
        FileNotFoundError: there is no such file or folder, or its pictures are nowhere.
        ValueError: the format is not known or not recognised, an entry of a label file cannot be
            understood (the message names both), or there are no pictures.
    """
    if not path.exists() and not is_file(path):
        raise FileNotFoundError(f"there is no file or folder {path}")
    if images is not None and not images.exists() and find_archive(images) is None:
        raise FileNotFoundError(f"there is no folder {images} of pictures")
    chosen, labels = _find(path, format)
    pictures = chosen.read(labels, images, progress)
    if not pictures:
        raise ValueError(f"{labels} names no picture")
    return pictures


def check_new_files(
    files: Iterable[Path],
    pictures: Iterable[Sample],
    path: Path,
    format: str | None = None,  # noqa: A002
    images: Path | None = None,
) -> None:
    """Refuse to write files that would replace one of a data set, or become pictures of it.

    Args:
        files: what is to be written.
        pictures: the set.
        path: where the set is.
        format: as `read_dataset` was given it.
        images: likewise.

    Raises:
        ValueError: the message names the file.
    """
    chosen, labels = _find(path, format)
    places = {real_path(file): file for file in files}
    for own in (labels, *(picture.path for picture in pictures)):
        if (file := places.get(real_path(own))) is not None:
            raise ValueError(
                f"{file} would replace a file of the data set, {own}; give another folder"
            )
    if chosen.searched is not None:
        folder = chosen.searched(labels, images)
        for file in places.values():
            parent = real_path(file.parent)
            found = real_path(folder) in {parent, *parent.parents}
            if found and file.suffix.lower() in SUFFIXES:
                raise ValueError(
                    f"{file} would become a picture of the data set, as all in {folder} are; "
                    "give a folder elsewhere"
                )


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of labels; give one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _find(path: Path, name: str | None) -> tuple[Format, Path]:
    """The format of what is at `path`, that of the name if given, and its label file or folder."""
    return _recognise(path) if name is None else _look_for(path, find_format(name))


def _look_for(path: Path, wanted: Format) -> tuple[Format, Path]:
    """The label file or folder of one format at `path`."""
    # A file may be called anything when its format is given.
    labels = wanted.find(path) or (path if wanted.suffix and is_file(path) else None)
    if labels is None:
        raise ValueError(f"{path} holds no labels of {wanted.title}; looked for {wanted.sign}")
    return wanted, labels


def _recognise(path: Path) -> tuple[Format, Path]:
    """The format of what is at `path`, and its label file or folder."""
    found = [(one, labels) for one in FORMATS.values() if (labels := one.find(path)) is not None]
    if len(found) > 1:
        names = " and ".join(f"{one.name} ({labels})" for one, labels in found)
        raise ValueError(
            f"{path} holds labels of more than one format: {names}; name the label file or folder "
            "itself, or the format"
        )
    if not found:
        signs = "; ".join(f"{one.name}: {one.sign}" for one in FORMATS.values())
        raise ValueError(f"{path} holds no labels of a known format; looked for {signs}")
    return found[0]


def write_dataset(
    pictures: Sequence[Sample],
    out: Path,
    format: str,  # noqa: A002
    copy: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Write a data set in any format. What is at `out` appears whole or not at all.

    `jsonl`, `coco` and `csv` are one file, which names the pictures where they are, relative to
    it. The others are a folder in which pictures have places; they get symbolic links, and
    members of zip archives are extracted. With `copy` no picture stays outside: those of a
    folder are copied, and a file gets a folder `images` beside it.

    Args:
        pictures: what to write. Where two would have one name, a number is added.
        out: a `.jsonl`, `.json` or `.csv` file, or a new folder.
        format: a name of `FORMATS`.
        copy: whether pictures are copied.
        progress: is told how many pictures were linked or copied, and of how many.

    Returns:
        What the format cannot hold and was not written, a sentence each.

    Raises:
        ValueError: the format is not known, `out` has another suffix, the size of a picture is not
            known, its name cannot be written, or what is to be linked or copied is no picture.
        FileExistsError: the new folder is not empty, or the file is there already.
        FileNotFoundError: a picture that is to be linked or copied is missing.
    """
    chosen = find_format(format)
    for picture in pictures:
        if not (picture.width > 0 and picture.height > 0):
            raise ValueError(
                f"the size of {picture.path} is not known, for it cannot be read; mend it, or take "
                "it out of the labels"
            )
        words = f"{picture.path.name}{picture.source}"
        if not chosen.raw_names and words != words.encode(errors="ignore").decode():
            raise ValueError(
                f"the name or source of {picture.path} is not UTF-8, which {chosen.title} needs; "
                "change it, in the labels too"
            )
    if not chosen.suffix:
        with whole_folder(out) as partial:
            chosen.write(_put(pictures, partial, chosen, copy, progress), partial)
    elif out.suffix.lower() != chosen.suffix or out.is_dir():
        file = out / f"labels{chosen.suffix}" if out.is_dir() else out.with_suffix(chosen.suffix)
        raise ValueError(f"{chosen.title} is one {chosen.suffix} file; call it {file}")
    elif out.exists():
        raise FileExistsError(f"{out} is there already; give another name, or remove it")
    elif copy:
        folder = out.parent / "images"
        with whole_folder(folder) as partial:
            copied = _put(pictures, partial, chosen, copy, progress)
        places = [folder / picture.path.relative_to(partial) for picture in copied]
        moved = [replace(one, path=path) for one, path in zip(pictures, places, strict=True)]
        chosen.write(moved, out)
    else:
        chosen.write(pictures, out)
    return _losses(pictures, chosen)


def _put(
    pictures: Sequence[Sample],
    folder: Path,
    chosen: Format,
    copy: bool,
    progress: Progress | None,
) -> list[Sample]:
    """Link or copy pictures to their places in `folder`, and tell where they are."""
    # Without `..`, which would lead out of the folder.
    paths = [picture.path.parent.resolve() / picture.path.name for picture in pictures]
    base = commonpath([path.parent for path in paths]) if paths else ""
    moved = []
    taken: set[str] = set()
    for number, (picture, path) in enumerate(zip(pictures, paths, strict=True), 1):
        target = folder / _free(chosen.place(picture, path.relative_to(base)), taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target, copy)
        moved.append(replace(picture, path=target))
        if progress is not None:
            progress(number, len(pictures))
    return moved


def _free(path: Path, taken: set[str]) -> Path:
    """The path, with a number added to its name if that is `taken`, whatever the suffix."""
    free, number = path, 1
    while (claim := str(free.with_suffix("")).casefold()) in taken:
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    taken.add(claim)
    return free


def _losses(pictures: Sequence[Sample], chosen: Format) -> list[str]:
    """What the format cannot hold of these pictures."""
    lost = []
    regions = sum(len(picture.ignore) for picture in pictures)
    if regions and not chosen.regions:
        lost.append(f"{chosen.title} has no ignored regions; not written: {regions:,}")
    if not chosen.sources and len({picture.source for picture in pictures}) > 1:
        lost.append(f"{chosen.title} has no sources; they are not written")
    boxes = [picture.boxes for picture in pictures] + [picture.ignore for picture in pictures]
    if not chosen.decimals and any((own != np.rint(own)).any() for own in boxes):
        lost.append(f"{chosen.title} has whole pixels alone; boxes were rounded")
    return lost
