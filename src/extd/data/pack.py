"""A data set made small: pictures compressed and shrunk, in parts of a bounded size."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import cv2
import numpy as np

from extd.data.archives import checked_members, open_archive
from extd.data.folders import whole_folder
from extd.data.labels import NAME as LABELS
from extd.data.labels import write_labels
from extd.data.pixels import read_bytes
from extd.data.sample import Sample
from extd.files import atomic_write
from extd.images import Image, read_image
from extd.prefetch import prefetch

MIB = 1 << 20
SUFFIXES = {"avif": (".avif",), "webp": (".webp",), "jpg": (".jpg", ".jpeg")}
"""Names of files that need not be encoded anew, by format."""
WORTHWHILE = 0.9
"""A picture is not shrunk by less: it would become blurred and hardly smaller."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How pictures are made small.

    Attributes:
        format: `avif`, `webp` or `jpg`.
        quality: 1 to 100, as the format understands it.
        smallest_face: px of the shorter side that every face keeps.
        longest: px of the longer side that every picture keeps.
    """

    format: str = "avif"
    quality: int = 50
    smallest_face: float = 24
    longest: int = 640

    def __post_init__(self) -> None:
        if self.format not in SUFFIXES:
            raise ValueError(f"format is {self.format!r}; give one of {', '.join(SUFFIXES)}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}; give 1 to 100")
        for name, value in (("smallest_face", self.smallest_face), ("longest", self.longest)):
            if not value >= 1:
                raise ValueError(f"{name} is {value}; give 1 px or more")


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed.

    Attributes:
        files: the parts, or the label file of a folder.
        pictures, faces: how many.
        shrunk: how many pictures have fewer pixels than before.
        copied: how many pictures are the very files that they were.
        before, after: bytes of the picture files.
        failures: why a picture was left out, a line each.
    """

    files: tuple[Path, ...]
    pictures: int
    faces: int
    shrunk: int
    copied: int
    before: int
    after: int
    failures: tuple[str, ...]


def pack(
    pictures: Sequence[Sample],
    out: Path,
    packing: Packing = Packing(),
    max_mib: float | None = None,
    threads: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Packed:
    """Write a data set anew, small: as a folder, or as parts for a slow connection.

    A picture whose faces are all large is shrunk, its labels with it. Pictures are then encoded,
    except those that are in the format already or would not get smaller. A part is a zip archive
    that is a data set of its own and a random sample of the whole. Equal input gives equal bytes.

    Args:
        pictures: the set; those without faces keep their size.
        out: a new folder. It appears when all is written.
        packing: how pictures are made small.
        max_mib: no part is larger, in MiB; without it the set is one folder.
        threads: how many pictures at once; 0 for one a core.
        progress: is told how many pictures are done, and of how many.

    Raises:
        FileExistsError: `out` is there and not empty.
        ValueError: a value is out of range, no picture can be read, or one does not fit into a
            part.
    """
    if max_mib is not None and not is_limit(max_mib):
        raise ValueError(f"max_mib is {max_mib}; give a finite size above 0 MiB")
    with whole_folder(out) as partial:
        whole = partial if max_mib is None else partial / "whole"
        results: list[_Small | str] = []
        jobs = zip(pictures, _stems(pictures), strict=True)
        for _, result in prefetch(jobs, lambda job: _make_small(*job, whole, packing), threads):
            if isinstance(result, Exception):
                raise result
            results.append(result)
            if progress is not None:
                progress(len(results), len(pictures))
        small = [result for result in results if isinstance(result, _Small)]
        failures = tuple(result for result in results if isinstance(result, str))
        if not small:
            raise ValueError(f"there is no picture to pack; {'; '.join(failures[:1])}".rstrip("; "))
        write_labels([one.picture for one in small], whole / LABELS)
        if max_mib is not None:
            write_parts(whole, partial, max_mib)
            shutil.rmtree(whole)
    return Packed(
        files=(out / LABELS,) if max_mib is None else tuple(sorted(out.iterdir())),
        pictures=len(small),
        faces=sum(len(one.picture.boxes) for one in small),
        shrunk=sum(one.shrunk for one in small),
        copied=sum(one.copied for one in small),
        before=sum(one.before for one in small),
        after=sum(one.after for one in small),
        failures=failures,
    )


def is_limit(max_mib: float) -> bool:
    """Whether a part can be limited to so many MiB."""
    return 0 < max_mib * MIB < math.inf


@dataclass(frozen=True, slots=True)
class _Small:
    """A picture that was written, and the bytes of its file before and after."""

    picture: Sample
    before: int
    after: int
    shrunk: bool
    copied: bool


def _stems(pictures: Sequence[Sample]) -> list[str]:
    """Paths below the folder that all pictures share, without suffix and unlike each other.

    A byte that is not UTF-8, which archives cannot hold, becomes `%e9` or the like.
    """
    paths = [picture.path.absolute() for picture in pictures]
    base = os.path.commonpath([path.parent for path in paths]) if paths else ""
    stems, taken = [], set()
    for path in paths:
        stem = path.relative_to(base).with_suffix("").as_posix()
        stem = first = stem.encode(errors="backslashreplace").decode().replace("\\udc", "%")
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{first}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _make_small(picture: Sample, stem: str, folder: Path, packing: Packing) -> _Small | str:
    """Write one picture below `folder`/images, or say why that cannot be."""
    try:
        data = read_bytes(picture.path)
        pixels = read_image(data)
        height, width = pixels.shape[:2]
        if (width, height) != (picture.width, picture.height):
            raise ValueError(
                f"it has {width} x {height} px, but its labels say "
                f"{picture.width} x {picture.height}"
            )
        size = small_size(picture, packing)
        shrunk = size != (width, height)
        suffix = picture.path.suffix.lower()
        encoded = data
        if shrunk or suffix not in SUFFIXES[packing.format]:
            if shrunk:
                smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
                pixels = np.asarray(smaller, np.uint8)
            encoded = _encode(pixels, packing)
    except (ValueError, OSError, MemoryError) as error:
        reason = str(error).replace("the picture in memory", str(picture.path))
        return reason if str(picture.path) in reason else f"{picture.path}: {reason}"
    copied = not shrunk and len(encoded) >= len(data)
    if not copied:
        suffix = SUFFIXES[packing.format][0]
    target = folder / "images" / f"{stem}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data if copied else encoded)
    scale = np.array([size[0] / width, size[1] / height] * 2, np.float32)
    moved = replace(
        picture,
        path=target,
        width=size[0],
        height=size[1],
        boxes=picture.boxes * scale,
        landmarks=None if picture.landmarks is None else picture.landmarks * scale,
        ignore=picture.ignore * scale,
    )
    return _Small(moved, len(data), target.stat().st_size, shrunk, copied)


def small_size(picture: Sample, packing: Packing) -> tuple[int, int]:
    """Width and height that a picture gets, px: its own unless all its faces are large."""
    sides = (picture.boxes[:, 2:] - picture.boxes[:, :2]).min(axis=1)
    size = (picture.width, picture.height)
    # Without faces nothing tells how small the picture may be.
    if not len(sides) or not sides.min() > 0:
        return size
    factor = max(packing.smallest_face / float(sides.min()), packing.longest / max(size))
    if factor > WORTHWHILE:
        return size
    return (math.ceil(size[0] * factor), math.ceil(size[1] * factor))


def _encode(pixels: Image, packing: Packing) -> bytes:
    """RGB pixels as a file.

    Raises:
        ValueError: the format cannot hold them, as WebP more than 16383 px a side.
    """
    parameters = {
        "avif": [cv2.IMWRITE_AVIF_QUALITY, packing.quality, cv2.IMWRITE_AVIF_SPEED, 6],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, packing.quality],
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, packing.quality],
    }[packing.format]
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    try:
        fine, data = cv2.imencode(SUFFIXES[packing.format][0], bgr, parameters)
    except cv2.error as error:
        raise ValueError(f"{packing.format} cannot encode it: {error}") from error
    if not fine:
        height, width = pixels.shape[:2]
        raise ValueError(f"{packing.format} cannot hold {width} x {height} px")
    return data.tobytes()


def write_parts(whole: Path, parts: Path, max_mib: float) -> None:
    """Divide a folder of `labels.jsonl` and pictures into zip archives `part-000.zip` ...

    Each holds a random sample of the pictures and their lines of `labels.jsonl`, uncompressed.

    Raises:
        ValueError: a picture is larger than a part.
    """
    parts.mkdir(parents=True, exist_ok=True)
    lines = (whole / LABELS).read_bytes().splitlines(keepends=True)
    names = [json.loads(line)["image"] for line in lines]
    limit = int(max_mib * MIB)
    groups: list[list[int]] = []
    room = 0
    for index in np.random.default_rng(0).permutation(len(lines)).tolist():
        needed = _member(names[index], (whole / names[index]).stat().st_size) + len(lines[index])
        if needed + EMPTY > limit:
            raise ValueError(
                f"{names[index]} takes {needed / MIB:.2f} MiB, more than a part of {max_mib:g}; "
                "give a larger --max-mib or a lower --quality"
            )
        if not groups or needed > room:
            groups.append([])
            room = limit - EMPTY
        groups[-1].append(index)
        room -= needed
    for number, group in enumerate(groups):
        with (
            atomic_write(parts / f"part-{number:03d}.zip") as partial,
            ZipFile(partial, "w") as out,
        ):
            out.writestr(_entry(LABELS), b"".join(lines[index] for index in group))
            for index in group:
                out.writestr(_entry(names[index]), (whole / names[index]).read_bytes())


def _member(name: str, size: int) -> int:
    """Bytes that a member takes in an archive: two headers with its name, and itself."""
    return 30 + 46 + 2 * len(name.encode()) + size


EMPTY = 22 + _member(LABELS, 0)
"""Bytes of an archive whose labels have no line."""


def _entry(name: str) -> ZipInfo:
    """A member whose header is the same on every day and machine."""
    entry = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def unpack(parts: Iterable[Path], out: Path) -> int:
    """Unpack parts into one folder, whose `labels.jsonl` then names the pictures of them all.

    Parts that are there already stay: others may be added to them later, in any order.

    Returns:
        How many pictures the folder holds.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: one is broken or no part, or a picture of another set has the same name.
        OSError: the disk is too small.
    """
    labels = out / LABELS
    lines = dict.fromkeys(labels.read_bytes().splitlines() if labels.exists() else ())
    for part in parts:
        with open_archive(part) as bundle:
            if LABELS not in bundle.namelist():
                raise ValueError(f"{part} is no part of a packed set: it holds no {LABELS}")
            out.mkdir(parents=True, exist_ok=True)
            for member in checked_members(bundle, out):
                target = out / member.filename
                data = bundle.read(member)
                if member.filename == LABELS:
                    lines |= dict.fromkeys(data.splitlines())
                elif not member.is_dir():
                    if target.exists() and target.read_bytes() != data:
                        raise ValueError(
                            f"{target} is there and not that of {part}; "
                            "unpack the parts of one set into a folder of their own"
                        )
                    with atomic_write(target) as partial:
                        partial.write_bytes(data)
        with atomic_write(labels) as partial:
            partial.write_bytes(b"".join(line + b"\n" for line in lines))
    return len(lines)
