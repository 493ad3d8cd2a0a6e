from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

MODEL = "extd-lite-nano"
BOUNDARY = "limit"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Server:
    """`extd serve` in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes, **headers: str) -> Reply:
        return self.request("POST", path, body, headers)

    def send(self, path: str, files: Mapping[str, bytes]) -> Reply:
        """Files as a form."""
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.request("POST", path, form(files), {"Content-Type": kind})

    def metric(self, name: str) -> float:
        text = self.request("GET", "/metrics").body.decode()
        return sum(map(float, re.findall(rf"^{re.escape(name)} (.+)$", text, re.MULTILINE)))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def form(files: Mapping[str, bytes]) -> bytes:
    parts = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
        f'name="image"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files.items()
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def serving(log: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "extd", "serve", "--port", "0", "--model", MODEL, *options]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(os.environ)
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.match(r"http://127\.0\.0\.1:(\d+): ", line)
            assert match, line + log.read_text()
            yield Server(process, int(match[1]), log)
        finally:
            process.kill()


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers with options, and ends them with the test."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(serving(tmp_path / "log", *options))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small limits for the tests of a file; it must outlive all of them."""
    log = tmp_path_factory.mktemp("server") / "log"
    limits = ["--max-body", "1000000", "--max-pixels", "1300000", "--max-images", "3"]
    with serving(log, *limits) as server:
        yield server
        assert server.process.poll() is None
        assert server.stop() == 0
        # Nothing of an image, such as its name, and no fault.
        assert log.read_text() == ""


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A photograph with one face, JPEG."""
    return Path(__file__).parents[2].joinpath("examples/astronaut.jpg").read_bytes()
