from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from extd.files import atomic_folder, atomic_write, shorten


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.jpg"
    with atomic_write(target) as partial:
        partial.write_text("half")
        assert partial.suffix == ".jpg"
        assert not target.exists()
    assert target.read_text() == "half"
    assert [p.name for p in target.parent.iterdir()] == ["a.jpg"]


def test_names_may_be_long_and_files_be_written_at_the_same_time(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".jpg")
    with atomic_write(target) as first, atomic_write(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"


def test_an_error_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")

    def write_half(path: Path) -> None:
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half(target)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files fails in the middle of a write, as a full disk does."""
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")

    def write(path: Path) -> None:
        with atomic_write(path) as partial:
            partial.write_bytes(bytes(100_000))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="large") as caught:
            write(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")

    def stop(name: str) -> None:
        with atomic_folder(tmp_path / name) as partial:
            (partial / "a").write_text("a")
            raise RuntimeError

    for name in ("new/deep", "link"):
        with pytest.raises(RuntimeError):
            stop(name)
        assert not (tmp_path / name / "a").exists()
        with atomic_folder(tmp_path / name) as partial:
            (partial / "a").write_text("a")
            assert not (tmp_path / name / "a").exists()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a"]
    with (
        pytest.raises(FileExistsError, match="link is not empty"),
        atomic_folder(tmp_path / "link"),
    ):
        pass
    assert (tmp_path / "link").is_symlink()
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("stem", ["a" * 260, "ä" * 130, "\udcff" * 260, "a." + "b" * 300])
def test_long_names_are_shortened_and_stay_apart(stem: str) -> None:
    first, second = shorten(Path("x") / f"{stem}1.jpg"), shorten(Path("x") / f"{stem}2.jpg")
    assert first != second
    for path in (first, second):
        assert path.parent == Path("x")
        assert path.suffix == ".jpg"
        assert 250 < len(os.fsencode(path.name)) <= 255
    assert len(os.fsencode(shorten(Path(f"{stem}.jpg"), 20).name)) <= 235
    assert shorten(Path("a" * 251 + ".jpg")) == Path("a" * 251 + ".jpg")


def test_a_name_that_is_too_long_fails_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"), atomic_write(tmp_path / ("a" * 300)):
        pytest.fail("the block must not begin")
