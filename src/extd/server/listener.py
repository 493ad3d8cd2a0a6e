"""uvicorn with its gaps closed: connections that send nothing, and signals that end it in order."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import warnings
from asyncio import TimerHandle, Transport
from http import HTTPStatus

import h11
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from extd.server.limits import PROBLEM, RequestError
from extd.signals import handle_signals

GRACE = 4
"""Seconds for what was accepted, once the server is told to stop."""
CONNECTIONS = 500
"""Above so many, requests are answered with 503."""
BACKLOG = 1024


class Connection(H11Protocol):
    """Closed when no request arrives in time: uvicorn would wait for ever for the first header.

    Its own errors are problem details, too.
    """

    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app = refuse
        self._wait()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless the answer has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status = HTTPStatus.BAD_REQUEST
            body = RequestError(status, "this is not a request of HTTP/1.1").problem
            head = f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: {PROBLEM}\r\n"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        self.transport.close()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._give_up)

    def _give_up(self) -> None:
        # There is no cycle before the first request.
        idle = getattr(self.cycle, "response_complete", True)
        if idle or self.transport.is_closing():
            # Nor does it wait for a client that takes no data.
            self.transport.abort()
        else:
            self._wait()


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application for connections that are too many."""
    detail = f"more than {CONNECTIONS} connections are open; try again later"
    error = RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail)
    headers = {"Retry-After": "1", "Connection": "close"}
    await Response(error.problem, error.status, headers, PROBLEM)(scope, receive, send)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 stands for any that is free.

    Raises:
        OSError: there is no such host, or the port is taken; the message names them.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}") from error


def run(app: ASGIApp, listening: socket.socket, seconds: float) -> None:
    """Answer requests until Ctrl-C or SIGTERM; then finish those that were accepted.

    `seconds` is how long a connection may send no request.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(int(seconds), 1),
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(config)
    # The thread that receives and sends waits less for those that work; by default, 5 ms each time.
    sys.setswitchinterval(0.0005)
    # Nor do requests wait until the garbage collector has seen what all modules made.
    gc.freeze()
    # Pillow's tell of images.
    warnings.simplefilter("ignore")
    # uvicorn raises the signal again when it has ended, which would end this process, too.
    with handle_signals(server.handle_exit):
        asyncio.run(server.serve(sockets=[listening]))
