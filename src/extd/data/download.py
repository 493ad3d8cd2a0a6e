"""WIDER FACE (arXiv 1511.06523): its archives fetched, checked and unpacked."""

from __future__ import annotations

import difflib
import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PureWindowsPath
from zipfile import is_zipfile

from extd import __version__
from extd.data.archives import check_room, checked_members, open_archive

Progress = Callable[[str, int, int], object]
"""Told what goes on, how much of it is done and how much there is (0: not known)."""

PIECE = 1 << 20
"""Bytes that are read at once."""
PATIENCE = 60
"""Seconds without a byte after which a connection counts as lost."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive of WIDER FACE.

    Attributes:
        folder: the folder that it unpacks into; the file is called so too, with `.zip`.
        site: what its name follows in its official address.
        bytes: size of the file, or None where it is not known.
        sha256: digest of the file in hexadecimal, or None where none is published.
        pictures: how many pictures it holds.
        members: name and SHA-256 of files in it, to be checked where `sha256` is None.
    """

    folder: str
    site: str
    bytes: int | None
    sha256: str | None
    pictures: int = 0
    members: tuple[tuple[str, str], ...] = ()

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.folder}.zip"


HUB = "https://huggingface.co/datasets/CUHK-CSE/wider_face/resolve/main/data"
HOME = "http://shuoyang1213.me/WIDERFACE/support/eval_script"

LISTS = (
    ("wider_face_val.mat", "1dfe6a9853950f9dde256b5e8bb75d8f272e6bc02a15ae1968f5a9b883f458cb"),
    ("wider_easy_val.mat", "c2fb672d16f75653eb89fb8bc437a7d060896a71cd7a65c1a5a3e4479024099c"),
    ("wider_medium_val.mat", "4a031970bc132cef5cfacd05068aabcf4fe15d4a31a1e9f4f00eb134fdf449c1"),
    ("wider_hard_val.mat", "bb1af19dc5bc4dd9517dd8ae8096326c68175f2c3411763bdd4f23fa98638b78"),
)
"""The faces of the validation set and which of them each difficulty counts, with SHA-256."""

# Sizes and digests are those that the mirror's own repository states for its files.
ARCHIVES = (
    Archive(
        "WIDER_train",
        HUB,
        1_465_602_149,
        "e23b76129c825cafae8be944f65310b2e1ba1c76885afe732f179c41e5ed6d59",
        12_880,
    ),
    Archive(
        "WIDER_val",
        HUB,
        362_752_168,
        "f9efbd09f28c5d2d884be8c0eaef3967158c866a593fc36ab0413e4b2a58a17a",
        3_226,
    ),
    Archive(
        "WIDER_test",
        HUB,
        1_844_140_520,
        "3b0313e11ea292ec58894b47ac4c0503b230e12540330845d70a7798241f88d3",
        16_097,
    ),
    Archive(
        "wider_face_split",
        HUB,
        3_591_642,
        "c7561e4f5e7a118c249e0a5c5c902b0de90bbf120d7da9fa28d99041f68a8a5c",
    ),
    Archive("eval_tools", HOME, None, None, members=LISTS),
)
UNLABELLED = "WIDER_test"
"""Fetched only when asked for: nothing can be trained or measured with it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of one archive.

    Attributes:
        folder: where its content is.
        action: `already there`, `unpacked` or `fetched and unpacked`.
        pictures: how many pictures the folder holds.
        warnings: what the user should know, a sentence each.
    """

    folder: Path
    action: str
    pictures: int
    warnings: tuple[str, ...]


def find_archives(
    names: Sequence[str], root: Path, archives: Sequence[Archive] = ARCHIVES
) -> list[Archive]:
    """The archives of those folder names; without any, all that are of use or at hand.

    Raises:
        ValueError: there is no such archive; the message gives the nearest name.
    """
    by_name = {archive.folder: archive for archive in archives}
    for name in names:
        if name not in by_name:
            nearest = difflib.get_close_matches(name, by_name, n=1, cutoff=0)[0]
            raise ValueError(
                f"WIDER FACE has no {name!r}; did you mean {nearest}? "
                f"There are {', '.join(by_name)}"
            )
    if names:
        return [by_name[name] for name in dict.fromkeys(names)]
    return [a for a in archives if a.folder != UNLABELLED or (root / a.file).is_file()]


def install(
    archive: Archive, root: Path, mirror: str | None = None, progress: Progress | None = None
) -> Installed:
    """Put the content of an archive into `root`, in the official layout.

    A folder that is there is left alone. An archive in `root` is used and never changed; where
    there is none it is fetched into `root`, going on where an earlier attempt ended.

    Args:
        archive: one of `ARCHIVES`.
        root: folder of archives and content; made if need be.
        mirror: address that the file's name follows, instead of the official one.
        progress: is told how it goes, in bytes and files.

    Raises:
        ValueError: the address is none, or the archive is broken or not the one it should be.
        OSError: it cannot be fetched, or the disk is too small; the message tells what to do.
    """
    tell = progress or (lambda *_: None)
    target, path = root / archive.folder, root / archive.file
    if target.is_dir() and any(target.iterdir()):
        found = count_pictures(target)
        return Installed(target, "already there", found, _missing(archive, target, found))
    root.mkdir(parents=True, exist_ok=True)
    own = path.is_file()
    if not own:
        fetch(archive, path, mirror, tell)
    digest = sha256(path, tell)
    warnings: tuple[str, ...] = ()
    # One's own archive may well be of another year; a damaged one fails when it is unpacked.
    if own and archive.sha256 not in {None, digest}:
        warnings += (
            f"{path} is another version than the mirror's: its SHA-256 is {digest}, "
            f"the mirror's {archive.sha256}",
        )
    if archive.sha256 is None:
        warnings += (
            f"{path} is unverified, for no checksum of it is published; its SHA-256 is {digest}",
            *wrong_members(path, archive),
        )
    unpack(path, root, archive, tell)
    found = count_pictures(target)
    action = "unpacked" if own else "fetched and unpacked"
    return Installed(target, action, found, warnings + _missing(archive, target, found))


def fetch(archive: Archive, path: Path, mirror: str | None, progress: Progress) -> None:
    """Fetch an archive to `path`, which appears when it is complete and its digest is right.

    What an interrupted attempt brought stays in `path` + `.partial`, and the next goes on there.

    Raises:
        ValueError: the address is none of http, or what came is not the archive.
        OSError: the server does not give it, or the disk is too small.
    """
    url = f"{(mirror or archive.site).rstrip('/')}/{archive.file}"
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{mirror} is no address; give one that begins with https:// or http://")
    partial = path.with_name(path.name + ".partial")
    check_room(path.parent, (archive.bytes or 0) - _size(partial), archive.file)
    total = archive.bytes
    while total is None or _size(partial) < total:
        before = _size(partial)
        try:
            total = _go_on(url, partial, archive, progress)
        except (HTTPException, OSError) as error:
            reason = str(getattr(error, "reason", "") or error)
        else:
            reason = "the connection ended"
            if total is None:
                break
        # A break is no reason to give up where it brought something.
        complete = total is not None and _size(partial) >= total
        if _size(partial) <= before and not complete:
            raise OSError(
                f"{url} cannot be fetched: {reason}. Run the command again to go on where it "
                f"stopped, or put {archive.file} into {path.parent} yourself"
            )
    size = _size(partial)
    digest = sha256(partial, progress)
    if archive.sha256 not in {None, digest} or not is_zipfile(partial):
        partial.unlink()
        expected = archive.sha256 or "that of a zip archive"
        raise ValueError(
            f"{url} gave {size:,} bytes of SHA-256 {digest}, not {expected}; they were removed: "
            "run the command again, or choose another --mirror"
        )
    partial.replace(path)


def _go_on(url: str, partial: Path, archive: Archive, progress: Progress) -> int | None:
    """One request for what `partial` lacks; the size of the whole, if the server tells it."""
    done = _size(partial)
    headers = {"User-Agent": f"extd/{__version__}"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        answer: HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=PATIENCE
        )
    except urllib.error.HTTPError as error:
        # The file is no longer than what is at hand.
        if error.code != 416 or not done:
            raise
        partial.unlink()
        return _go_on(url, partial, archive, progress)
    with answer:
        # A server that knows no ranges sends the file from its beginning.
        done = done if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with partial.open("ab" if done else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
                done += len(piece)
                progress(f"fetching {archive.file}", done, total or archive.bytes or 0)
    return total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha256(path: Path, progress: Progress) -> str:
    """The digest of a file, in hexadecimal."""
    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            done += len(piece)
            progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


def wrong_members(path: Path, archive: Archive) -> tuple[str, ...]:
    """A sentence for each of `archive.members` that is missing in the file or another."""
    expected, found = dict(archive.members), {}
    with open_archive(path) as bundle:
        for member in bundle.namelist():
            name = PureWindowsPath(member).name
            if name in expected:
                found[name] = hashlib.sha256(bundle.read(member)).hexdigest()
    return tuple(
        f"{name} in {path} is not the official one: its SHA-256 is {found[name]}, not {digest}"
        if name in found
        else f"{path} holds no {name}"
        for name, digest in expected.items()
        if found.get(name) != digest
    )


def unpack(path: Path, root: Path, archive: Archive, progress: Progress) -> None:
    """Unpack a zip archive into its folder below `root`, which appears when it is complete.

    Raises:
        ValueError: the archive is broken, or a member would be written outside of the folder.
        OSError: the disk is too small.
    """
    partial = root / f".{archive.folder}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with open_archive(path) as bundle:
            members = checked_members(bundle, root)
            for number, member in enumerate(members, 1):
                bundle.extract(member, partial)
                progress(f"unpacking {path.name}", number, len(members))
        top, target = partial / archive.folder, root / archive.folder
        if target.is_dir():
            target.rmdir()
        (top if top.is_dir() else partial).rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def count_pictures(folder: Path) -> int:
    """How many JPEG files are in a folder and below."""
    return sum(1 for _ in folder.rglob("*.jpg"))


def _missing(archive: Archive, target: Path, found: int) -> tuple[str, ...]:
    if found >= archive.pictures:
        return ()
    return (
        f"{target} has {found:,} of {archive.pictures:,} pictures; "
        "remove the folder to have it unpacked anew",
    )
