from __future__ import annotations

import mimetypes
import socket
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn

from extd.cli.app import main

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "'x' is no whole number"),
        (["--max-body", "0"], "--max-body is 0; give a number of 1 or more"),
        (["--timeout", "nan"], "--timeout is nan; give a number of 1 or more"),
        (["--timeout", "inf"], "--timeout is inf; give a number of 1 or more"),
        (["--workers", "-1"], "workers is -1; give 0 for one a core"),
        (["--workers", "many"], "many"),
        (["--model", "none"], "none"),
        (["--token-file", "missing"], "missing"),
        (["--token-file", "empty"], "empty has no token; give one line of ASCII characters"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1, port 8000"),
        (["--port", "99999"], "99999"),
    ],
)
def test_a_wrong_value_is_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text(" \n")
    monkeypatch.setattr(uvicorn.Server, "serve", refuse)
    assert main(["serve", *arguments]) in {1, 2}
    assert message in " ".join(capsys.readouterr().err.split())


async def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the server starts")


def test_a_port_that_is_taken_is_named(capsys: Captured) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err


def test_without_the_extra_it_is_named() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from extd.cli.app import main; sys.exit(main(['serve']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "run: pip install 'extd[serve]'" in ended.stderr


def test_the_page_needs_its_package(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setitem(sys.modules, "extd_web", None)
    assert main(["serve", "--web"]) == 1
    assert "run: pip install 'extd[web]'" in capsys.readouterr().err


def test_the_page_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: str, capsys: Captured
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/index.html").write_text("<p>page")
    (tmp_path / "dist/glue.mjs").write_text("1234")
    (tmp_path / "secret").write_text("secret")
    # As on systems whose own table has it wrong.
    mimetypes.add_type("text/plain", ".mjs")
    monkeypatch.setitem(sys.modules, "extd_web", SimpleNamespace(DIST=tmp_path / "dist"))
    answers: list[tuple[int, str, str]] = []
    kinds: list[str] = []

    def visit(app: object, listening: socket.socket, seconds: float) -> None:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        for path in ("/", "/../secret", "/healthz", "/glue.mjs"):
            connection = HTTPConnection(*listening.getsockname())
            connection.request("GET", path)
            reply = connection.getresponse()
            policy = reply.headers["Cross-Origin-Embedder-Policy"]
            kinds.append(reply.headers["Content-Type"])
            answers.append((reply.status, policy, reply.read().decode()))
            connection.close()
        server.should_exit = True
        thread.join()

    monkeypatch.setattr("extd.server.listener.run", visit)
    assert main(["serve", "--web", "--port", "0", "--host", "127.0.0.1", "--model", toy]) == 0
    assert "toy in float, " in capsys.readouterr().out
    assert answers[0] == (200, "require-corp", "<p>page")
    assert answers[1][0] == 404
    assert answers[2] == (200, "require-corp", "ok\n")
    assert answers[3] == (200, "require-corp", "1234")
    assert kinds[3].startswith("text/javascript")


def test_an_open_port_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, toy: str, capsys: Captured
) -> None:
    monkeypatch.setattr("extd.server.listener.run", lambda *_: None)
    assert main(["serve", "--port", "0", "--host", "0.0.0.0", "--model", toy]) == 0
    assert "note: without --token-file, anybody who reaches this port may use it" in (
        capsys.readouterr().err
    )


def test_an_ipv6_address_is_printed_in_brackets(
    monkeypatch: pytest.MonkeyPatch, toy: str, capsys: Captured
) -> None:
    monkeypatch.setattr("extd.server.listener.run", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Not every machine has IPv6.
        monkeypatch.setattr("extd.server.listener.listen", lambda *_: listening)
        port = listening.getsockname()[1]
        assert main(["serve", "--host", "::1", "--model", toy]) == 0
    assert capsys.readouterr().out.startswith(f"http://[::1]:{port}: toy in ")


def test_other_commands_do_not_load_it() -> None:
    code = (
        "import sys, extd.cli.detect, extd.cli.app; extd.cli.app.build_app(['detect'])\n"
        "assert not {'fastapi', 'uvicorn', 'starlette'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
