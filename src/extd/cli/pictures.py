"""What commands over pictures have in common: how to look, and what becomes of a bad picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Group, Parameter, Token

from extd.cli.terminal import UsageError
from extd.media.sources import real_path

if TYPE_CHECKING:
    from extd.images import Image
    from extd.media.sources import Source

SEARCH = Group("What to look for", sort_key=2)

Result = TypeVar("Result")


def read_scales(_: object, tokens: Sequence[Token]) -> tuple[float, ...]:
    """The factors of one or several `--scales`, each like `0.5,1,2`."""
    words = [word for token in tokens for word in token.value.split(",")]
    try:
        return tuple(map(float, words))
    except ValueError:
        raise UsageError(f"--scales are {','.join(words)}; give factors like 0.5,1,2") from None


SCALES = Parameter(
    group=SEARCH, metavar="FACTORS", converter=read_scales, n_tokens=1, show_default="1"
)
Threshold = Annotated[float, Parameter(group=SEARCH)]
Longest = Annotated[int | None, Parameter(group=SEARCH, metavar="PX")]
Scales = Annotated[tuple[float, ...], SCALES]
Flip = Annotated[bool, Parameter(group=SEARCH, show_default=False)]


def with_picture(source: Source, work: Callable[[Image], Result]) -> Result | Exception:
    """What `work` makes of a picture, or why reading it or working on it failed.

    The error's message names the picture. `work` may raise ValueError, OSError and MemoryError.
    """
    from extd.images import read_image

    too_large = ValueError(f"{source.path} is too large for the memory of this machine")
    try:
        image = read_image(source.path)
    except (ValueError, OSError) as error:
        return error
    except MemoryError:
        return too_large
    try:
        return work(image)
    except (ValueError, OSError) as error:
        named = str(error).startswith(str(source.path))
        return error if named else ValueError(f"{source.path}: {error}")
    except MemoryError:
        return too_large


def check_folder(out: Path) -> None:
    """Refuse a file where a folder is to be.

    Raises:
        UsageError: `out` is no folder.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")


def protect_originals(sources: Sequence[Source], out: Path, written: Iterable[Path]) -> None:
    """Refuse to write over a picture.

    Raises:
        UsageError: one of the names `written` in the folder `out` is a source; it is named.
    """
    originals = {real_path(source.path) for source in sources}
    for name in written:
        if real_path(out / name) in originals:
            raise UsageError(f"--out {out} would replace the picture {out / name}; choose another")


def count_others(
    inputs: Iterable[str | Path], sources: Sequence[Source], results: Path | None = None
) -> int:
    """How many files of the folders among `inputs`, and of those in them, are no sources.

    Hidden ones, and what an earlier run left in `results`, do not count.
    """
    files = set()
    for folder in filter(Path.is_dir, map(Path, inputs)):
        for parent, folders, names in os.walk(folder):
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".")
                and (results is None or real_path(Path(parent, name)) != real_path(results))
            ]
            files |= {Path(parent, name).absolute() for name in names if not name.startswith(".")}
    return len(files - {source.path.absolute() for source in sources})
