"""Requests that break a limit, and those that are no requests: the next one is answered."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse

import PIL.Image
import pytest
from tests.server.conftest import BOUNDARY, Reply, Serve, Server, form

from extd.server.listener import CONNECTIONS


def check_problem(reply: Reply, status: int, detail: str) -> None:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    problem = json.loads(reply.body)
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert detail in problem["detail"]


@pytest.fixture
def lives(server: Server, photo: bytes) -> Iterator[None]:
    """Checks after the test that the server works as before."""
    yield
    assert server.process.poll() is None
    (row,) = json.loads(server.post("/v1/detect", photo).body)
    assert len(row["faces"]) == 1


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 10,000 x 10,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def huge_chunk() -> bytes:
    """A PNG with a chunk that says it has 4 GB."""
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(stream, "PNG")
    png = stream.getvalue()
    return png[:33] + b"\xff\xff\xff\xf0IDAT" + png[41:]


def animated_bomb() -> bytes:
    """A GIF whose frames have more pixels together than an image may have."""
    stream = io.BytesIO()
    frames = [PIL.Image.new("P", (300, 300), color) for color in range(15)]
    for frame in frames:
        frame.putpalette(bytes(range(256)) * 3)
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def later_page_bomb() -> bytes:
    """A TIFF with a small page, then one that is too large."""
    stream = io.BytesIO()
    pages = [PIL.Image.new("L", (2000, 2000))]
    PIL.Image.new("L", (64, 64)).save(
        stream, "TIFF", compression="tiff_lzw", save_all=True, append_images=pages
    )
    return stream.getvalue()


@pytest.mark.usefixtures("lives")
@pytest.mark.parametrize("path", ["/v1/detect", "/v1/blur", "/v1/crop"])
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the request has no image"),
        (b"garbage" * 1000, "image is broken or not an image; extd reads JPEG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 5000, "image is broken"),
        (bomb(), "image has 10,000 x 10,000 pixels in"),
        (animated_bomb(), "image has 15 frames of 300 x 300 pixels, more than 1,300,000 together"),
        (later_page_bomb(), ""),
    ],
)
def test_what_is_no_image_is_refused(server: Server, path: str, body: bytes, detail: str) -> None:
    check_problem(server.post(path, body), 422, detail)


@pytest.mark.usefixtures("lives")
def test_a_chunk_does_not_have_the_memory_that_it_claims(server: Server) -> None:
    before = server.metric("process_virtual_memory_bytes")
    assert server.post("/v1/detect", huge_chunk()).status in {200, 422}
    assert server.metric("process_virtual_memory_bytes") < before + 1e9


@pytest.mark.usefixtures("lives")
def test_a_truncated_image_is_refused(server: Server, photo: bytes) -> None:
    check_problem(server.post("/v1/blur", photo[:3000]), 422, "image is broken")


@pytest.mark.usefixtures("lives")
@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/detect?threshold=1", "threshold is 1.0; give 0 to below 1"),
        (
            "/v1/detect?threshold=0",
            "threshold is '0': input should be greater than or equal to 0.01",
        ),
        ("/v1/detect?threshold=nan", "threshold is "),
        ("/v1/detect?threshold=high", "threshold is 'high': input should be a valid number"),
        ("/v1/detect?min_face=3", "there is no option 'min_face'"),
        ("/v1/detect?max-faces=0", "max_faces is 0; give a whole number, 1 or more"),
        ("/v1/detect?scales=1,b", "scales is '1,b'; give numbers like 0.5,1,2"),
        ("/v1/detect?scales=nan", "scales is nan; give 'auto' or factors above 0"),
        ("/v1/detect?scales=inf", "scales is inf; give 'auto' or factors above 0"),
        ("/v1/detect?rotations=45", "rotations is 45; give 0, 90, 180 or 270"),
        ("/v1/detect?rotations=1e999", "rotations is inf; give 0, 90, 180 or 270"),
        ("/v1/detect?rotations=90.5", "rotations is 90.5; give 0, 90, 180 or 270"),
        ("/v1/detect?flip=maybe", "flip is 'maybe': input should be a valid boolean"),
        ("/v1/detect?scales=8", "the passes that the options ask for have"),
        ("/v1/detect?scales=" + "1e-9," * 64 + "1", "ask for 65 passes; up to 64 are made"),
        ("/v1/detect?longest=100000", "the passes that the options ask for have"),
        ("/v1/detect?tile=0", "tile is '0': input should be greater than or equal to 256"),
        ("/v1/crop?tile=5000", "tile is '5000': input should be less than or equal to 4096"),
        ("/v1/detect?overlap=0.6", "overlap is 0.6; give above 0, up to 0.5"),
        ("/v1/detect?scales=2.5&overlap=0.5", "the passes that the options ask for have"),
        ("/v1/blur?track=true", "there is no option 'track'"),
        ("/v1/blur?hold=-1", "hold is '-1': input should be greater than or equal to 0"),
        ("/v1/blur?method=image", "method is 'image'"),
        ("/v1/blur?margin=11", "margin is 11.0; give 0 to 10"),
        ("/v1/blur?strength=nan", "strength is nan; give 0.01 to 100"),
        ("/v1/blur?keep=1,2,3", "keep is '1,2,3'; give x1,y1,x2,y2 in pixels"),
        ("/v1/blur?keep=3,3,1,1", "the region 3,3,1,1 needs x1 < x2, y1 < y2"),
        ("/v1/blur?quality=0", "quality is 0; give 1 to 100"),
        ("/v1/crop?margin=-1", "margin is '-1': input should be greater than or equal to 0"),
        ("/v1/crop?align=0", "align is '0': input should be greater than or equal to 1"),
        ("/v1/crop?align=9999", "image: the crops have"),
        ("/v1/crop?margin=10", "image: the crops have"),
    ],
)
def test_a_wrong_option_is_named(server: Server, photo: bytes, path: str, detail: str) -> None:
    check_problem(server.post(path, photo), 422, detail)


@pytest.mark.usefixtures("lives")
def test_a_body_that_is_too_large_is_refused(server: Server) -> None:
    check_problem(server.post("/v1/detect", b"x" * 1_000_001), 413, "more than 1,000,000 bytes")
    # Without a length.
    head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(server) as client:
        client.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (1_200_000, b"x" * 1_200_000))
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.usefixtures("lives")
@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (form({f"{number}": b"x" for number in range(4)}), 413, "more than 3 images"),
        (form({f"{number}": b"x" for number in range(9)}), 413, "more than 3 images"),
        (form({}), 422, "the request has no image"),
        (form({"a": b""}), 422, "a is empty"),
        (b"", 422, "the request has no image"),
        (b"garbage", 422, "the form: Invalid multipart data."),
        (form({"a": b"x"})[:-30], 422, ""),
        # The parser would log it.
        (f"--{BOUNDARY}\r\nno header\r\n\r\n1".encode(), 422, "the form: Invalid multipart data."),
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="flip"\r\n\r\n1\r\n'
            f"--{BOUNDARY}--\r\n".encode(),
            422,
            "the form's field 'flip' is no file; give options in the URL",
        ),
    ],
)
def test_a_wrong_form_is_refused(server: Server, body: bytes, status: int, detail: str) -> None:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    check_problem(
        server.request("POST", "/v1/detect", body, {"Content-Type": kind}), status, detail
    )


@pytest.mark.usefixtures("lives")
@pytest.mark.parametrize(
    "sent",
    [
        b"\0\xff garbage\r\n\r\n",
        b"\x16\x03\x01\x00\xc8\x01 of TLS\r\n\r\n",
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000,
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
    ],
)
def test_what_is_no_http_is_a_problem(server: Server, sent: bytes) -> None:
    with connect(server) as client:
        client.sendall(sent)
        answer = HTTPResponse(client)
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        check_problem(Reply(answer.status, headers, answer.read()), 400, "not a request of HTTP")


@pytest.mark.usefixtures("lives")
def test_a_broken_chunk_after_the_answer_is_no_fault(server: Server) -> None:
    with connect(server) as client:
        head = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head)
        assert client.recv(1 << 12).startswith(b"HTTP/1.1 404 ")
        client.sendall(b"no number\r\n")
        while client.recv(1 << 12):
            pass


@pytest.mark.usefixtures("lives")
def test_warnings_about_an_image_are_not_logged(server: Server) -> None:
    stream = io.BytesIO()
    page = PIL.Image.new("L", (64, 48))
    page.save(stream, "TIFF", save_all=True, append_images=[page])
    # The width of the pages comes twice.
    tiff = stream.getvalue()
    twice = tiff.replace(struct.pack("<HHL", 256, 4, 1), struct.pack("<HHL", 256, 3, 2))
    assert twice != tiff
    # The server's log is looked at in the end.
    assert server.post("/v1/detect", twice).status in {200, 422}


@pytest.mark.usefixtures("lives")
def test_connections_beyond_a_number_are_refused(server: Server, photo: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(connect(server))
        reply = server.post("/v1/detect", photo)
        check_problem(reply, 503, f"more than {CONNECTIONS} connections are open")
        assert (reply.headers["retry-after"], reply.headers["connection"]) == ("1", "close")
    while server.post("/v1/detect", photo).status == 503:
        time.sleep(0.01)


def test_other_addresses_and_methods_are_problems(server: Server) -> None:
    check_problem(server.request("GET", "/v1/detect"), 405, "Method Not Allowed")
    check_problem(server.request("GET", "/photo.jpg"), 404, "Not Found")
    check_problem(server.request("POST", "/v1/detect/"), 404, "Not Found")


@contextmanager
def connect(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        yield client


def half(photo: bytes) -> bytes:
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}\r\n\r\n"
    return head.encode() + photo[: len(photo) // 2]


@pytest.mark.usefixtures("lives")
@pytest.mark.parametrize("sent", [b"", b"POST /v1/de", b"\0\xff garbage\r\n\r\n", None])
def test_a_client_may_hang_up(server: Server, photo: bytes, sent: bytes | None) -> None:
    for reset in (False, True):
        with connect(server) as client:
            client.sendall(half(photo) if sent is None else sent)
            if reset:
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_slow_and_silent_clients_are_given_up(serve: Serve, photo: bytes) -> None:
    server = serve("--timeout", "3")
    answers: dict[str, bytes] = {}

    def drip(name: str, data: bytes) -> None:
        with connect(server) as client:
            received = threading.Event()

            def read() -> None:
                answers[name] = client.recv(1 << 12)
                received.set()

            reader = threading.Thread(target=read)
            reader.start()
            for byte in data:
                if received.wait(0.1):
                    break
                client.sendall(bytes([byte]))
            reader.join()

    inputs = {"body": half(photo)[-600:], "header": b"POST " + b"x" * 600, "silent": b""}
    threads = [threading.Thread(target=drip, args=item) for item in inputs.items()]
    with connect(server) as client:
        client.sendall(half(photo)[:-600])
        for thread in threads:
            thread.start()
        assert json.loads(server.post("/v1/detect", photo).body)[0]["faces"]
        for thread in threads:
            thread.join()
        assert client.recv(1 << 12).startswith(b"HTTP/1.1 408 ")
    # A connection that has sent no whole header gets no answer.
    assert answers["silent"] == answers["header"] == b""
    assert json.loads(server.post("/v1/detect", photo).body)[0]["faces"]
    assert server.stop() == 0


def test_a_full_queue_refuses_more(serve: Serve, photo: bytes) -> None:
    server = serve("--workers", "1", "--queue", "1")
    with connect(server) as first, connect(server) as second:
        for client in (first, second):
            client.sendall(half(photo))
        while server.metric("extd_requests_taken") < 2:
            time.sleep(0.01)
        reply = server.post("/v1/detect", photo)
        check_problem(reply, 429, "all 2 slots are taken")
        assert reply.headers["retry-after"] == "1"
        assert server.request("GET", "/readyz").status == 503
        assert server.request("GET", "/healthz").status == 200
        first.sendall(photo[len(photo) // 2 :])
        assert first.recv(1 << 12).startswith(b"HTTP/1.1 200 ")
        assert server.post("/v1/detect", photo).status == 200
    while server.metric("extd_requests_taken"):
        time.sleep(0.01)
    assert server.request("GET", "/readyz").status == 200


def test_what_was_accepted_is_finished(serve: Serve, photo: bytes) -> None:
    server = serve("--workers", "1")
    request = half(photo) + photo[len(photo) // 2 :]
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(6)]
    for client in clients:
        client.sendall(request)
    done = 'extd_requests_total{endpoint="/v1/detect",status="200"}'
    while server.metric("extd_requests_taken") + server.metric(done) < 6:
        time.sleep(0.01)
    assert server.stop() == 0
    for client in clients:
        with client:
            assert client.recv(1 << 12).startswith(b"HTTP/1.1 200 ")
    assert server.log.read_text() == ""
