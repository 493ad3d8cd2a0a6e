from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.media.sources import WRITTEN, Source, find_images, find_media, is_video
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
    assert {*ENCODERS, *CONTAINERS} == WRITTEN
