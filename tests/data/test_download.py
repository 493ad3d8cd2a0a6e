from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from extd.data.download import ARCHIVES, LISTS, Archive, find_archives, install


@dataclass
class Server:
    """Files behind an address, and what was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    knows_ranges: bool = True
    breaks_after: int | None = None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine that gives `files`, and breaks off its first answer if told."""
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.ranges.append(asked)
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            first = int(asked[6:-1]) if asked and state.knows_ranges else 0
            if first >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            last = len(data)
            if state.breaks_after is not None:
                last, state.breaks_after = first + state.breaks_after, None
            self.wfile.write(data[first:last])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.address = f"http://127.0.0.1:{running.server_port}/data"
        yield state
        running.shutdown()
        thread.join()


def zipped(**members: str) -> bytes:
    """A zip archive of text files; `__` in a name stands for `/`, and `_dot_` for a dot."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        for name, text in members.items():
            bundle.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return stream.getvalue()


VAL = zipped(WIDER_val__images__a_dot_jpg="a" * 5000, WIDER_val__images__b_dot_jpg="b")


def archive_of(data: bytes, pictures: int = 2) -> Archive:
    return Archive(
        "WIDER_val", "http://nowhere.invalid", len(data), hashlib.sha256(data).hexdigest(), pictures
    )


def test_the_published_archives_are_named_once_with_sizes_and_digests() -> None:
    assert len({archive.folder for archive in ARCHIVES}) == len(ARCHIVES) == 5
    for archive in ARCHIVES:
        digests = [archive.sha256] if archive.sha256 else [digest for _, digest in archive.members]
        assert digests
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


@pytest.mark.shared
def test_the_lists_that_a_published_archive_is_checked_for_are_the_official_ones(
    shared: Path,
) -> None:
    for name, digest in LISTS:
        content = (shared / "data" / "wider_dev" / "ground_truth" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


def test_a_missing_archive_is_fetched_checked_and_unpacked(server: Server, tmp_path: Path) -> None:
    server.files["/data/WIDER_val.zip"] = VAL
    told: list[tuple[str, int, int]] = []
    done = install(
        archive_of(VAL), tmp_path / "new", server.address, lambda *news: told.append(news)
    )
    folder = tmp_path / "new" / "WIDER_val"
    assert (done.folder, done.action) == (folder, "fetched and unpacked")
    assert (done.pictures, done.warnings) == (2, ())
    assert (folder / "images" / "a.jpg").read_text() == "a" * 5000
    assert ("fetching WIDER_val.zip", len(VAL), len(VAL)) in told
    assert sorted(path.name for path in folder.parent.iterdir()) == ["WIDER_val", "WIDER_val.zip"]

    again = install(archive_of(VAL), tmp_path / "new", server.address)
    assert (again.action, again.pictures) == ("already there", 2)
    assert server.ranges == [None]


def test_fetching_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["/data/WIDER_val.zip"] = VAL
    (tmp_path / "WIDER_val.zip.partial").write_bytes(VAL[:1000])
    assert install(archive_of(VAL), tmp_path, server.address).warnings == ()
    assert server.ranges == ["bytes=1000-"]


def test_fetching_goes_on_after_a_broken_connection(server: Server, tmp_path: Path) -> None:
    server.files["/data/WIDER_val.zip"] = VAL
    server.breaks_after = 3000
    assert install(archive_of(VAL), tmp_path, server.address).pictures == 2
    assert server.ranges == [None, "bytes=3000-"]


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.files["/data/WIDER_val.zip"] = VAL
    server.knows_ranges = False
    (tmp_path / "WIDER_val.zip.partial").write_bytes(b"x" * 1000)
    assert install(archive_of(VAL), tmp_path, server.address).pictures == 2


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.files["/data/WIDER_val.zip"] = VAL
    (tmp_path / "WIDER_val.zip.partial").write_bytes(b"x" * 2 * len(VAL))
    unknown = replace(archive_of(VAL), bytes=None)
    assert install(unknown, tmp_path, server.address).pictures == 2
    assert server.ranges == [f"bytes={2 * len(VAL)}-", None]


def test_a_fetched_archive_of_another_digest_is_removed(server: Server, tmp_path: Path) -> None:
    other = zipped(WIDER_val__images__c_dot_jpg="c")
    server.files["/data/WIDER_val.zip"] = other
    with pytest.raises(ValueError, match=hashlib.sha256(other).hexdigest()) as caught:
        install(archive_of(VAL), tmp_path, server.address)
    assert archive_of(VAL).sha256 in str(caught.value)
    assert "--mirror" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_a_published_digest_the_file_s_own_is_told(server: Server, tmp_path: Path) -> None:
    right, wrong = "right", "wrong"
    tools = zipped(tools__ground_truth__x_dot_mat=right, tools__ground_truth__y_dot_mat=wrong)
    server.files["/data/tools.zip"] = tools
    digest = hashlib.sha256(right.encode()).hexdigest()
    members = (("x.mat", digest), ("y.mat", digest), ("z.mat", digest))
    archive = Archive("tools", server.address, None, None, members=members)
    warnings = install(archive, tmp_path).warnings
    assert len(warnings) == 3
    assert "unverified" in warnings[0]
    assert hashlib.sha256(tools).hexdigest() in warnings[0]
    assert "y.mat in" in warnings[1]
    assert "holds no z.mat" in warnings[2]


def test_what_is_no_zip_archive_is_removed(server: Server, tmp_path: Path) -> None:
    server.files["/data/tools.zip"] = b"<html>please log in</html>"
    with pytest.raises(ValueError, match="that of a zip archive"):
        install(Archive("tools", server.address, None, None), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_has_no_such_file_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"/data/WIDER_val\.zip cannot be fetched: Not Found"
    ) as caught:
        install(archive_of(VAL), tmp_path, server.address + "/")
    assert f"put WIDER_val.zip into {tmp_path}" in str(caught.value)


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file:///etc is no address; .*https"):
        install(archive_of(VAL), tmp_path, "file:///etc")


def test_one_s_own_archive_of_another_version_is_used_and_told(tmp_path: Path) -> None:
    own = zipped(WIDER_val__images__c_dot_jpg="c")
    (tmp_path / "WIDER_val.zip").write_bytes(own)
    done = install(archive_of(VAL), tmp_path)
    assert done.action == "unpacked"
    assert (tmp_path / "WIDER_val" / "images" / "c.jpg").read_text() == "c"
    assert (tmp_path / "WIDER_val.zip").read_bytes() == own
    assert "another version" in done.warnings[0]
    assert hashlib.sha256(own).hexdigest() in done.warnings[0]
    assert "1 of 2 pictures" in done.warnings[1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_one_s_own_broken_archive_is_named(damage: str, tmp_path: Path) -> None:
    broken = {
        "cut": VAL[: len(VAL) // 2],
        "flipped": VAL.replace(b"aaaa", b"aaab", 1),
        "text": b"no archive",
    }[damage]
    path = tmp_path / "WIDER_val.zip"
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"WIDER_val\.zip is broken .*; remove it"):
        install(archive_of(VAL), tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["../evil", "WIDER_val/../../evil", "/evil", "..\\evil", "C:/evil"]
)
def test_a_member_outside_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "WIDER_val.zip", "w") as bundle:
        bundle.writestr("WIDER_val/images/a.jpg", "a")
        bundle.writestr(name, "evil")
    with pytest.raises(ValueError, match=r"evil.* outside"):
        install(archive_of(VAL), root)
    assert [path.name for path in tmp_path.rglob("*")] == ["root", "WIDER_val.zip"]


def test_an_archive_without_the_folder_on_top_gets_it(tmp_path: Path) -> None:
    (tmp_path / "WIDER_val.zip").write_bytes(zipped(images__a_dot_jpg="a"))
    (tmp_path / "WIDER_val").mkdir()
    install(archive_of(VAL), tmp_path)
    assert (tmp_path / "WIDER_val" / "images" / "a.jpg").read_text() == "a"


def test_what_an_interrupted_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "WIDER_val.zip").write_bytes(VAL)
    left = tmp_path / ".WIDER_val.partial" / "WIDER_val" / "images"
    left.mkdir(parents=True)
    (left / "old.jpg").write_text("old")
    assert install(archive_of(VAL), tmp_path).pictures == 2
    assert not (tmp_path / ".WIDER_val.partial").exists()


def test_a_folder_with_too_few_pictures_is_left_alone_and_told(tmp_path: Path) -> None:
    (tmp_path / "WIDER_val").mkdir()
    (tmp_path / "WIDER_val" / "a.jpg").write_text("a")
    done = install(archive_of(VAL), tmp_path, "http://nowhere.invalid")
    assert done.action == "already there"
    assert "has 1 of 2 pictures" in done.warnings[0]


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    server: Server, tmp_path: Path
) -> None:
    huge = replace(archive_of(VAL), bytes=10**18)
    with pytest.raises(OSError, match=r"WIDER_val\.zip needs 1000000000\.0 GB in .* GB free"):
        install(huge, tmp_path, server.address)
    assert server.ranges == []


def test_the_unlabelled_pictures_are_left_out_unless_named_or_at_hand(tmp_path: Path) -> None:
    def names(*asked: str) -> list[str]:
        return [archive.folder for archive in find_archives(asked, tmp_path)]

    assert names() == ["WIDER_train", "WIDER_val", "wider_face_split", "eval_tools"]
    assert names("WIDER_test", "WIDER_val") == ["WIDER_test", "WIDER_val"]
    (tmp_path / "WIDER_test.zip").touch()
    assert "WIDER_test" in names()
    with pytest.raises(ValueError, match="no 'WIDER_vall'; did you mean WIDER_val"):
        names("WIDER_vall")
