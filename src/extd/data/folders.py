"""Folders of pictures, written whole or not at all."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extd.data.pixels import is_file, read_bytes
from extd.images import image_size, open_pil
from extd.media.sources import real_path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose content is that of `folder` once the block ends well.

    Raises:
        FileExistsError: `folder` is there and not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; give a new folder, or remove it")
    # `.` has no name, and a link no place beside what it leads to.
    place = real_path(folder)
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if place.exists():
            # It stays, for it may be the folder that the user is in.
            for path in sorted(partial.iterdir()):
                path.rename(place / path.name)
        else:
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link_or_copy(path: Path, target: Path, copy: bool) -> None:
    """Bring a picture to a place; a member of an archive is extracted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not begin as a picture does.
        OSError: no link can be made there.
    """
    if not is_file(path):
        raise FileNotFoundError(f"there is no picture {path}; take it out of the labels")
    inside = not path.is_file()
    data = read_bytes(path) if inside else b""
    # Labels may come from anyone, and name any file of this machine.
    try:
        open_pil(io.BytesIO(data), str(path)) if inside else image_size(path)
    except ValueError as error:
        raise ValueError(f"{error}; mend it, or take it out of the labels") from error
    if inside:
        target.write_bytes(data)
    elif copy:
        shutil.copyfile(path, target)
    else:
        try:
            target.symlink_to(path)
        except (OSError, NotImplementedError) as error:
            raise OSError(
                f"no link to {path} can be made in {target.parent}: {error}; copy the pictures"
            ) from error
