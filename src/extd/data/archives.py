"""Zip archives from elsewhere: checked before they are unpacked."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from zipfile import BadZipFile, ZipFile, ZipInfo

# Encrypted members give a RuntimeError, unknown compression a NotImplementedError.
DAMAGE = (BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """A zip archive to read from.

    Raises:
        ValueError: the archive, or a member that is read in the block, is broken.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no archive {path}")
    try:
        with ZipFile(path) as bundle:
            yield bundle
    except DAMAGE as error:
        raise ValueError(f"{path} is broken ({error}); remove it and fetch it anew") from error


def checked_members(bundle: ZipFile, folder: Path) -> list[ZipInfo]:
    """The members of an archive that is to be unpacked into `folder`.

    Raises:
        ValueError: one would be written outside of the folder.
        OSError: the disk has too little room.
    """
    members = bundle.infolist()
    for member in members:
        # Takes both kinds of slashes and the letter of a drive.
        inside = PureWindowsPath(member.filename)
        if inside.anchor or ".." in inside.parts:
            raise ValueError(
                f"{bundle.filename} holds {member.filename!r}, which would be written outside of "
                f"{folder}; do not use this archive"
            )
    check_room(folder, sum(member.file_size for member in members), str(bundle.filename))
    return members


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk of a folder cannot hold, in bytes.

    Raises:
        OSError: the message tells how much is missing.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{what} needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free"
        )
