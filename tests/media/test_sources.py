from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.files import SUFFIXES
from extd.media.frames import open_source
from extd.media.sources import (
    WRITTEN_IMAGES,
    WRITTEN_VIDEOS,
    Source,
    check_results,
    find_images,
    find_media,
    is_video,
    left_alone,
)
from extd.media.videowriter import CONTAINERS
from extd.media.writers import ENCODERS

NAMES = st.sampled_from(["a.jpg", "A.JPG", "a.png", "a-2.jpg", "a.jpg.png", "b.tiff", "b.tiff.png"])


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, other files and hidden ones, which is the working directory."""
    for name in (
        "album/b.jpg",
        "album/a.PNG",
        "album/notes.txt",
        "album/._b.jpg",
        "album/.cache/c.jpg",
        "album/trip/day 1/c.webp",
        "album/trip/b.jpg",
        "other/b.jpg",
        "empty/notes.txt",
        "odd[1].jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str) -> dict[str, str]:
    """The name of each source by its path."""
    return {str(source.path): str(source.name) for source in find_images(inputs)}


def test_a_folder_gives_its_images_sorted_with_the_tree_below_it(album: Path) -> None:
    found = names("album")
    assert found == {
        "album/a.PNG": "a.PNG",
        "album/b.jpg": "b.jpg",
        "album/trip/b.jpg": "trip/b.jpg",
        "album/trip/day 1/c.webp": "trip/day 1/c.webp",
    }
    assert list(found) == sorted(found)
    assert list(names(str(album / "album"))) == [str(album / path) for path in found]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("album/*", {"a.PNG", "b.jpg", "trip/b.jpg", "trip/day 1/c.webp"}),
        ("album/**/*.jpg", {"b.jpg", "trip/b.jpg"}),
        ("*/b.jpg", {"album/b.jpg", "other/b.jpg"}),
        ("album/t?i[op]/*.jpg", {"trip/b.jpg"}),
        ("album/**", {"a.PNG", "b.jpg", "trip/b.jpg", "trip/day 1/c.webp"}),
        ("**/day 1/*", {"album/trip/day 1/c.webp"}),
        ("album/*/*/../b.jpg", {"trip/day 1/../b.jpg"}),
    ],
)
def test_a_glob_gives_what_matches_with_the_tree_below_its_fixed_part(
    album: Path, pattern: str, expected: set[str]
) -> None:
    assert set(names(pattern).values()) == expected
    assert set(names(str(album / pattern)).values()) == expected


def test_equal_names_from_different_folders_get_a_number(album: Path) -> None:
    assert names("album/b.jpg", "other/b.jpg", "album/trip/b.jpg") == {
        "album/b.jpg": "b.jpg",
        "other/b.jpg": "b-2.jpg",
        "album/trip/b.jpg": "b-3.jpg",
    }


def test_order_is_that_of_the_arguments_and_each_image_comes_once(album: Path) -> None:
    again = str(album / "album" / "b.jpg")
    assert list(names("other", "album/b.jpg", "album", again, "other/b.jpg"))[:3] == [
        "other/b.jpg",
        "album/b.jpg",
        "album/a.PNG",
    ]
    assert len(names("other", "album/b.jpg", "album", again, "other/b.jpg")) == 5
    assert len(names("album/b.jpg", "other/../album/b.jpg")) == 1


@pytest.mark.parametrize("item", ["missing.jpg", "no*.jpg", "empty", "album/notes.txt", "gone/*/x"])
def test_what_gives_no_image_stays_to_be_reported(album: Path, item: str) -> None:
    assert list(names(item, "other/b.jpg")) == [item, "other/b.jpg"]


def test_a_path_that_no_system_has_stays_to_be_reported(album: Path) -> None:
    assert list(names("x" * 300 + ".jpg", "other/b.jpg")) == ["x" * 300 + ".jpg", "other/b.jpg"]


def test_a_folder_without_images_has_a_name(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album / "empty")
    assert names(".") == {".": "empty"}


@pytest.mark.usefixtures("album")
def test_an_existing_file_is_no_glob() -> None:
    assert names("odd[1].jpg") == {"odd[1].jpg": "odd[1].jpg"}


@given(st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), NAMES), unique=True))
def test_names_never_collide_on_any_file_system(files: list[tuple[str, str]]) -> None:
    sources = find_images(f"{folder}/{name}" for folder, name in files)
    assert len(sources) == len(files)
    written = [str(source.name).lower() for source in sources]
    assert len({*written, *(f"{name}.png" for name in written)}) == 2 * len(files)


def test_what_an_earlier_run_left_below_a_folder_is_no_input(album: Path) -> None:
    def found(item: str, results: str) -> list[str]:
        return [str(source.path) for source in find_images([item], Path(results))]

    assert found("album", "album/trip") == ["album/a.PNG", "album/b.jpg"]
    assert found("album/**/b.jpg", "album/trip") == ["album/b.jpg"]
    everything = [str(source.path) for source in find_images(["album"])]
    # Not below the input: nothing there can be an earlier result.
    for results in ("album", ".", "other"):
        assert found("album", results) == everything
    assert found("album/trip/b.jpg", "album/trip") == ["album/trip/b.jpg"]


def test_videos_count_where_they_are_asked_for(album: Path) -> None:
    (album / "album" / "d.MP4").touch()
    (album / "album" / "trip" / "e.mkv").touch()
    found = find_media(["album"])
    assert [str(source.name) for source in found if is_video(source.path)] == [
        "d.MP4",
        "trip/e.mkv",
    ]
    assert [source for source in found if not is_video(source.path)] == find_images(["album"])
    assert [source.name for source in find_media(["album/*.MP4"])] == [Path("d.MP4")]


def test_what_is_left_alone_in_folders_is_named_by_kind(album: Path) -> None:
    for name in ("album/trip/b.pdf", "album/README", "album/d.MP4", "album/e.TXT", "album/f.jfif"):
        (album / name).touch()
    (album / "album/g.ts").write_text("Good.")
    (album / "album/h.ts").write_bytes((b"G" + bytes(187)) * 2)
    sources = find_media(["album"])
    assert {source.name.name for source in sources} >= {"f.jfif", "h.ts", "d.MP4"}
    told = "2 .txt, 1 .pdf, 1 .ts, 1 without suffix"
    assert left_alone(["album", "album", "other"], sources) == told
    assert left_alone(["album"], sources, album / "album" / "trip") == told.replace(" 1 .pdf,", "")
    named = find_media(["album", "album/g.ts"])
    assert left_alone(["album"], named) == told.replace(" 1 .ts,", "")
    images = find_images(["album"])
    found = left_alone(["album"], images, suffixes=SUFFIXES)
    assert found == "2 .ts, 2 .txt, 1 .mp4, 1 .pdf, 1 without suffix"
    assert left_alone(["other", "album/notes.txt", "missing", "*"], []) == ""
    for number in range(12):
        (album / f"other/x.{number:02}").touch()
    told = left_alone(["other"], [])
    assert told.startswith("1 .00, 1 .01, ")
    assert told.endswith(", 1 .07, 4 of other kinds")


@pytest.mark.parametrize("name", ["film", "film.mp4.download", "film.ts", "film.jpg", "film.h264"])
def test_a_named_file_is_a_video_if_ffmpeg_opens_it(
    tmp_path: Path, film: Callable[..., Path], name: str
) -> None:
    made = film(
        {"film.ts": "a.mts", "film.h264": "a.h264"}.get(name, "a.mp4"), codecs=("libx264", None)
    )
    path = made.rename(tmp_path / name)
    assert is_video(path)
    (source,) = find_media([path])
    assert source.result == Path(f"{name}.mkv")
    assert len(list(open_source(path))) == 10


def test_images_and_texts_are_no_videos(tmp_path: Path) -> None:
    files = {
        "a": encode("JPEG"),
        "a.psd": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\4\0\0\0\4\0\10\0\3" + bytes(80),
        "a.txt": b"hello " * 100,
        "a.gif": encode("GIF"),
        "broken.jpg": encode("JPEG")[1:],
        "random": np.random.default_rng(0).bytes(10_000),
        "empty": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert not is_video(tmp_path / name), name
    assert not is_video(tmp_path)
    assert not is_video(tmp_path / "missing")
    assert is_video(tmp_path / "missing.mkv")


def encode(kind: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (32, 32), (200, 100, 0)).save(file, kind)
    return file.getvalue()


def test_results_that_become_mkv_replace_no_original(album: Path) -> None:
    for name in ("other/a.mp4", "album/a.mp4.mkv"):
        (album / name).touch()
    with pytest.raises(ValueError, match=r"would replace the video album/a\.mp4\.mkv"):
        check_results(find_media(["other/a.mp4", "album/a.mp4.mkv"]), Path("album"))


def test_links_that_lead_to_themselves_end(album: Path) -> None:
    (album / "album" / "again").symlink_to("..")
    (album / "album" / "loop.jpg").symlink_to("loop.jpg")
    found = find_images(["album", "album/**/*.jpg"], album / "album" / "trip")
    assert [str(source.name) for source in found] == ["a.PNG", "b.jpg", "loop.jpg"]


def test_a_pipe_in_a_folder_is_no_image(album: Path) -> None:
    before = find_images(["album", "album/*.jpg"])
    assert before
    os.mkfifo(album / "album" / "pipe.jpg")
    assert find_images(["album", "album/*.jpg"]) == before
    assert len(find_images(["album/pipe.jpg"])) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("b.WEBP", "b.WEBP"),
        ("b.tiff", "b.tiff"),
        ("b.gif", "b.gif"),
        ("b.bmp", "b.bmp.png"),
        ("b.jfif", "b.jfif"),
        ("b", "b.png"),
        ("b.MP4", "b.MP4"),
        ("a/b.avi", "a/b.avi.mkv"),
    ],
)
def test_results_in_formats_that_are_not_written_become_png_or_mkv(
    name: str, expected: str
) -> None:
    assert Source(Path(name), Path(name)).result == Path(expected)


def test_every_format_of_results_can_be_written() -> None:
    assert ENCODERS.keys() == WRITTEN_IMAGES
    assert CONTAINERS.keys() == WRITTEN_VIDEOS
