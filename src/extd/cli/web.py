"""`extd web`: the page that covers faces in the browser, served to this machine."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from extd.cli.terminal import WHOLE_NUMBER, UsageError, print_line
from extd.page import HEADERS, TYPES, find_page

HOST = "127.0.0.1"


def web(
    *, port: Annotated[int, WHOLE_NUMBER, Parameter(validator=Number(gte=0, lte=65535))] = 8080
) -> None:
    """Serve the page that covers faces in images and videos, until Ctrl-C.

    Images never leave the browser. Only this machine can open the page; to serve it to others,
    copy the folder of the package `extd-web` to any host.

    Args:
        port: Port to listen on; 0 takes a free one.
    """
    with open_server(find_page(), port) as server:
        print_line(f"http://{HOST}:{server.server_port}/  (Ctrl-C stops)")
        server.serve_forever()


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the files in a folder, which listens.

    Raises:
        UsageError: the port cannot be had.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        hint = "give another --port, or 0 for a free one"
        raise UsageError(f"port {port}: {error.strerror}; {hint}") from error


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        # A browser asks whether a file has changed, which costs nothing here.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def list_directory(self, path: object) -> IO[bytes] | None:  # type: ignore[override]
        self.send_error(404)
        return None

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal shows only the address."""
