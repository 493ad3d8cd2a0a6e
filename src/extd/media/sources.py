"""The image and video files that paths, folders and globs stand for, and where results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from itertools import takewhile
from pathlib import Path

from extd.files import SUFFIXES, real_path, shorten

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv"}
    | {".flv", ".3gp", ".ogv", ".ts", ".m2t", ".m2v", ".mpe", ".vob", ".asf", ".f4v", ".3g2"}
    | {".ogm", ".divx", ".dv", ".mxf", ".qt", ".rm", ".rmvb", ".ivf", ".y4m", ".nut"}
    | {".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg"}
)
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".jpe", ".jif"})
WRITTEN_IMAGES = JPEG_SUFFIXES | {".png", ".apng", ".webp", ".avif", ".tif", ".tiff", ".gif"}
WRITTEN_VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})
"""Formats that results keep; other images become PNG, other videos MKV."""
SYNC, PACKET = b"G", 188
"""MPEG transport streams are packets of that many bytes, each with that first (ISO/IEC 13818-1)."""
NOT_VIDEOS = frozenset({"image2", "ico", "tty", "bin", "xbin", "adf", "idf"})
"""FFmpeg's names of formats that it reads as videos, but hold images or text."""
KINDS = 8
"""How many kinds of files a line names."""
LIST = "-"
"""Stands for standard input: a list of paths, or an image."""


@dataclass(frozen=True, slots=True)
class Source:
    """An image or video file.

    Attributes:
        path: the file, as the user names it.
        name: relative path after which results are named: the file with its folders below the
            one, or the glob, that was given. Names that differ only in letter case get a number.
    """

    path: Path
    name: Path

    @property
    def result(self) -> Path:
        """Relative path of the result: `name`, with `.png` or `.mkv` for what is not written."""
        video = is_video(self.path)
        if self.name.suffix.lower() in (WRITTEN_VIDEOS if video else WRITTEN_IMAGES):
            return shorten(self.name)
        suffix = ".mkv" if video else ".png"
        return shorten(self.name.parent / f"{self.name.name}{suffix}")

    @property
    def crop(self) -> Path:
        """Relative path after which crops are named: PNG where `result` has few colors or pages."""
        if self.name.suffix.lower() in JPEG_SUFFIXES | {".png", ".webp"}:
            return self.name
        return self.name.parent / f"{self.name.name}.png"


def find_images(
    inputs: Iterable[str | Path], results: Path | None = None, suffixes: frozenset[str] = SUFFIXES
) -> list[Source]:
    """List the images that `inputs` stand for, in their order and each once.

    A file is listed whatever its suffix, and even if it does not exist. A folder stands for the
    images in it and in its subfolders, a glob (`*`, `?`, `[...]`, `**`) for those that match and
    those in matching folders. Both are sorted and leave out hidden files; links to folders are
    not followed. An input that yields nothing, or a folder that cannot be read, is listed itself,
    so that reading it gives the error.

    Args:
        inputs: files, folders and globs.
        results: folder of results; what an earlier run left there is not listed.
        suffixes: those of the files to list from folders and globs.

    Raises:
        ValueError: an input is empty, as from an unset shell variable.
    """
    left_out = None if results is None else real_path(results)
    real_folder = cache(real_path)
    sources: dict[Path, Source] = {}
    taken: set[str] = set()
    for base, path in (found for item in inputs for found in _expand(item, suffixes)):
        # A link is a file of its own, but two paths to a folder hold the same files.
        file = real_folder(path.parent) / path.name
        below = left_out is not None and real_folder(base) in left_out.parents
        if file in sources or (below and left_out in real_path(file).parents):
            continue
        name = path.relative_to(base)
        if name.name in {"", ".."}:
            # A folder without images may be `.`, and results need a name.
            name = Path(real_path(path).name or "root")
        stem, number = name.stem, 1
        # The result may become PNG or MKV and get that suffix.
        while taken & (claims := {f"{name}{end}".casefold() for end in ("", ".png", ".mkv")}):
            number += 1
            name = name.with_stem(f"{stem}-{number}")
        taken |= claims
        sources[file] = Source(path, name)
    return list(sources.values())


def find_media(inputs: Iterable[str | Path], results: Path | None = None) -> list[Source]:
    """List the images and videos that `inputs` stand for; see `find_images`."""
    return find_images(inputs, results, SUFFIXES | VIDEO_SUFFIXES)


def is_video(path: Path) -> bool:
    """Whether a file is a video: by its name, or else because FFmpeg opens it as one."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return True
    # Not above: without numpy, help is shown at once.
    from extd.images import is_image
    from extd.media.video import open_video

    with suppress(OSError, ValueError, ImportError):
        # A pipe can be read only once.
        if path.is_file() and not is_image(path):
            with open_video(path) as video:
                kind = video.container.format.name
                return video.stream.width > 0 and not (kind in NOT_VIDEOS or kind.endswith("_pipe"))
    return False


def left_alone(
    inputs: Iterable[str | Path],
    sources: Iterable[Source],
    results: Path | None = None,
    suffixes: frozenset[str] = SUFFIXES | VIDEO_SUFFIXES,
) -> str:
    """Name the files in the folders among `inputs` that are not listed, as in `2 .txt, 1 .pdf`.

    Hidden files, and what an earlier run left in `results`, do not count. Nothing gives "".
    """
    left_out = None if results is None else real_path(results)
    named = {source.path.absolute() for source in sources}
    others = set()
    for folder in filter(is_folder, map(Path, inputs)):
        for parent, folders, names in os.walk(folder):
            below = [(name, real_path(Path(parent, name))) for name in folders]
            folders[:] = [name for name, real in below if name[0] != "." and real != left_out]
            paths = [Path(parent, name) for name in names if name[0] != "."]
            others |= {path.absolute() for path in paths if not _is_listed(path, suffixes)}
    kinds = Counter(path.suffix.lower() or "without suffix" for path in others - named)
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    parts = [f"{number:,} {kind}" for kind, number in ordered[:KINDS]]
    if rest := sum(number for _, number in ordered[KINDS:]):
        parts.append(f"{rest:,} of other kinds")
    return ", ".join(parts)


def is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Whether a path is a folder; False for one that cannot be accessed."""
    return os.path.isdir(path)  # noqa: PTH112 - `is_dir` of both raises errors


def check_results(sources: Sequence[Source], out: Path) -> None:
    """Refuse a folder of results where one would replace an original.

    Raises:
        ValueError: the message names the file.
    """
    originals = {real_path(source.path) for source in sources}
    for source in sources:
        target = out / source.result
        paths = [target]
        if target.suffix.lower() in WRITTEN_VIDEOS:
            # Some audio makes the result MKV.
            paths.append(shorten(target.with_name(f"{target.name}.mkv")))
        for path in paths:
            if real_path(path) in originals:
                kind = "video" if is_video(source.path) else "image"
                raise ValueError(f"{out} would replace the {kind} {path}; choose another folder")


def _expand(item: str | Path, suffixes: frozenset[str]) -> list[tuple[Path, Path]]:
    """The files that one input names, each with the folder that its name is relative to."""
    if item == "":
        raise ValueError('an input is ""; name a file, a folder or a glob, as . for this folder')
    item = Path(item)
    base, pattern = item, item.parts[:0]
    if not os.path.lexists(item):
        parts = item.relative_to(item.anchor).parts
        fixed = tuple(takewhile(lambda part: not _is_pattern(part), parts))
        base, pattern = Path(item.anchor, *fixed), parts[len(fixed) :]
    found = _glob(base, pattern, suffixes) if pattern or is_folder(item) else ()
    return [(base, path) for path in sorted(set(found))] or [
        (base if pattern else item.parent, item)
    ]


def _glob(path: Path, pattern: tuple[str, ...], suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield the files that match the parts of a glob in `path`; without parts, all below it.

    Folders that cannot be listed, which `Path.glob` would skip, are yielded, too.
    """
    part, rest = pattern[0] if pattern else "**", pattern[1:]
    if not _is_pattern(part):
        path /= part
        if rest or is_folder(path):
            yield from _glob(path, rest, suffixes)
        elif os.path.lexists(path) and _is_listed(path, suffixes):
            yield path
        return
    try:
        entries = [
            entry
            for entry in os.scandir(path)
            if fnmatch(entry.name, part) and not entry.name.startswith(".")
        ]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield path
        return
    if part == "**" and rest:
        yield from _glob(path, rest, suffixes)
    for entry in entries:
        below = Path(entry)
        if not is_folder(entry):
            if not rest and _is_listed(below, suffixes):
                yield below
        elif part != "**":
            yield from _glob(below, rest, suffixes)
        elif not entry.is_symlink():
            yield from _glob(below, pattern, suffixes)


def _is_pattern(part: str) -> bool:
    return not set(part).isdisjoint("*?[")


def _is_listed(path: Path, suffixes: frozenset[str]) -> bool:
    # macOS writes a "._photo.jpg", which is not an image, beside "photo.jpg" on foreign disks.
    if path.suffix.lower() not in suffixes or path.name.startswith("."):
        return False
    # Reading a pipe may never end; for other special files it gives an error.
    with suppress(OSError):
        if path.is_fifo():
            return False
        if path.suffix.lower() == ".ts":
            # Programs in TypeScript are called so, too.
            with path.open("rb") as file:
                return file.read(PACKET + 1)[::PACKET] == 2 * SYNC
    return True
