from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest

from extd.cli.app import main
from extd.cli.web import open_server

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>page")
    for name in ("glue.mjs", "glue.wasm", "model.onnx"):
        (folder / "assets" / name).write_bytes(b"1234")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def connection(page: Path) -> Iterator[HTTPConnection]:
    with open_server(page, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


def get(connection: HTTPConnection, path: str) -> tuple[HTTPResponse, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response, response.read()


def test_the_page_is_isolated_and_may_only_load_its_own_files(connection: HTTPConnection) -> None:
    response, body = get(connection, "/")
    assert (response.status, body) == (200, b"<p>page")
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; connect-src 'self'; ")
    assert "http" not in policy


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/assets/glue.mjs", "text/javascript"),
        ("/assets/glue.wasm", "application/wasm"),
        ("/assets/model.onnx", "application/octet-stream"),
    ],
)
def test_browsers_get_the_kinds_that_they_insist_on(
    connection: HTTPConnection, path: str, kind: str
) -> None:
    response, body = get(connection, path)
    assert (response.status, body) == (200, b"1234")
    assert response.headers["Content-Type"] == kind
    # Workers start only with the headers of isolation.
    assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize("path", ["/assets/", "/../secret.txt", "/%2e%2e/secret.txt", "/no.html"])
def test_nothing_else_is_served(connection: HTTPConnection, path: str) -> None:
    response, body = get(connection, path)
    assert response.status == 404
    assert b"secret" not in body


def test_a_taken_port_is_named(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, "extd_web", SimpleNamespace(DIST=page))
    with open_server(page, 0) as server:
        assert main(["web", "--port", str(server.server_port)]) == 2
    error = capsys.readouterr().err
    assert f"port {server.server_port}: Address already in use" in error
    assert "--port" in error


def test_without_the_package_or_the_page_the_command_that_brings_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, "extd_web", None)
    assert main(["web"]) == 1
    assert "pip install 'extd[web]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "extd_web", SimpleNamespace(DIST=tmp_path / "none"))
    assert main(["web"]) == 1
    assert "make web" in capsys.readouterr().err


def test_ports_beyond_the_last_one_are_refused(capsys: Captured) -> None:
    assert main(["web", "--port", "65536"]) == 2
    assert "65535" in capsys.readouterr().err
