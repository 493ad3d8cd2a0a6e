"""The addresses of the server: `/v1/detect`, `/v1/blur`, `/v1/crop`, and those for operators."""

from __future__ import annotations

import asyncio
import hmac
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from extd import __version__
from extd.detector import Detector
from extd.media.writers import json_line
from extd.page import TYPES as PAGE_TYPES
from extd.server.documentation import (
    ARCHIVE,
    BEARER,
    IMAGE_OR_ZIP,
    ImageFaces,
    operation,
    page,
    responses,
)
from extd.server.limits import PROBLEM, Limits, RequestError
from extd.server.metrics import Metrics, Observed
from extd.server.pool import Pool, Slot
from extd.server.queries import AnyQuery, BlurQuery, CropQuery, DetectQuery, parse_query
from extd.server.results import (
    Job,
    Processed,
    archive,
    blur_faces,
    crop_faces,
    detect_faces,
    mime_type,
)
from extd.server.uploads import read_uploads

Process = Callable[[Job, Detector, AnyQuery], Processed]
SEND_BYTES = 1 << 18
"""Bytes that are sent before the client has taken most of them."""
ZIP = "application/zip"
OPERATIONS = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")
ENDPOINTS = frozenset({"/v1/detect", "/v1/blur", "/v1/crop", *OPERATIONS})


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a server, and what else it serves.

    Attributes:
        token: that requests must bear; None for no token.
        origins: of pages elsewhere that may read its answers (CORS).
        web: folder of a page to serve.
    """

    token: str | None = None
    origins: Sequence[str] = ()
    web: Path | None = None


OPEN = Access()


@dataclass(frozen=True, slots=True)
class Service:
    """What all requests share; `detector` is used in all threads of the pool."""

    detector: Detector
    pool: Pool
    limits: Limits
    access: Access
    metrics: Metrics


def build_app(detector: Detector, pool: Pool, limits: Limits, access: Access = OPEN) -> ASGIApp:
    """The server as an ASGI application; `detector` is used in all threads of the pool."""
    app = FastAPI(
        title="extd",
        version=__version__,
        description="Finds faces in images. Nothing of an image is stored or logged.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    metrics = Metrics(pool)
    app.state.service = Service(detector, pool, limits, access, metrics)
    app.include_router(IMAGES)
    app.include_router(OPERATOR)
    for kind in (RequestError, HTTPException, ValidationError, Exception):
        app.add_exception_handler(kind, answer_problem)
    app.openapi()["components"]["securitySchemes"] = BEARER
    app.add_middleware(Admission)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    if access.web is not None:
        for suffix, mime in PAGE_TYPES.items():
            # Starlette has no table of its own.
            mimetypes.add_type(mime, suffix)
        app.mount("/", StaticFiles(directory=access.web, html=True))
    return Observed(app, metrics, ENDPOINTS)


class Answer(Response):
    """A response that is given up if the client takes longer than `seconds` to receive it."""

    def __init__(self, content: bytes | memoryview, media_type: str, seconds: float) -> None:
        """Hold the whole content, of that MIME type."""
        super().__init__(content, media_type=media_type, headers={"Cache-Control": "no-store"})
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts one by one, or all of them would wait in the socket's buffer."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        content = memoryview(self.body)
        # uvicorn closes the connection of an answer that has no end.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                for begin in range(0, max(len(content), 1), SEND_BYTES):
                    end = begin + SEND_BYTES
                    part, more = bytes(content[begin:end]), end < len(content)
                    await send({"type": "http.response.body", "body": part, "more_body": more})


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


class Admission:
    """An ASGI application: lets in requests that bear the token, while the pool has slots.

    A request keeps its slot until the answer is sent. FastAPI's dependencies could do the same, but
    take a third of all the time that a request costs besides the work on its images.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`, whose other addresses than `/v1` are open to all."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        if not scope["path"].startswith(IMAGES.prefix):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            check_token(request)
            async with _service(request).pool.slot() as scope["slot"]:
                await self._app(scope, receive, send)
        except RequestError as error:
            # Others were answered within.
            answer = await answer_problem(request, error)
            await answer(scope, receive, send)


def check_token(request: Request) -> None:
    """Refuse a request without the token, in a time that tells nothing of the token."""
    token = _service(request).access.token
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    sent = given.strip() if kind.lower() == "bearer" else ""
    if token is not None and not hmac.compare_digest(token.encode(), sent.encode()):
        detail = "the token is missing or wrong; send the header Authorization: Bearer TOKEN"
        raise RequestError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})


IMAGES = APIRouter(prefix="/v1", responses=responses())
OPERATOR = APIRouter(include_in_schema=False)


@IMAGES.post("/detect", response_model=list[ImageFaces], openapi_extra=operation(DetectQuery))
async def detect(request: Request) -> Answer:
    """Detect faces: the objects of `extd detect --json`, one for each image or frame."""
    results = await _process(request, DetectQuery, detect_faces)
    rows = [row.rstrip() for result in results for row in result.rows]
    content = "[" + ",\n".join(rows) + "]\n"
    return Answer(content.encode(), "application/json", _service(request).limits.timeout)


@IMAGES.post(
    "/blur",
    response_class=Response,
    responses={200: IMAGE_OR_ZIP},
    openapi_extra=operation(BlurQuery),
)
async def blur(request: Request) -> Answer:
    """Cover faces: the image as `extd blur` writes it; a ZIP for several."""
    results = await _process(request, BlurQuery, blur_faces)
    seconds = _service(request).limits.timeout
    if len(results) > 1:
        return Answer(await asyncio.to_thread(archive, results), ZIP, seconds)
    (name, image), *_ = results[0].files
    return Answer(image, mime_type(name), seconds)


@IMAGES.post(
    "/crop", response_class=Response, responses={200: ARCHIVE}, openapi_extra=operation(CropQuery)
)
async def crop(request: Request) -> Answer:
    """Crop faces: a ZIP of the files that `extd crop` writes; a.jpg gives a-001.jpg and so on."""
    results = await _process(request, CropQuery, crop_faces)
    content = await asyncio.to_thread(archive, results)
    return Answer(content, ZIP, _service(request).limits.timeout)


async def _process(
    request: Request, kind: type[AnyQuery], process: Process[AnyQuery]
) -> list[Processed]:
    """What `process` makes of the images of a request.

    Raises:
        ValidationError: an option is wrong.
        RequestError: the request breaks a limit, or an image fails; of `detect` all must fail, for
            among others an image has an object that says why.
    """
    slot: Slot = request.scope["slot"]
    service, query = _service(request), parse_query(kind, request.scope["query_string"])
    uploads = await read_uploads(request, service.limits, slot.deadline)
    calls = [
        partial(
            _attempt, process, Job(one, service.limits, slot.abandoned), service.detector, query
        )
        for one in uploads
    ]
    results, failed = [], []
    for upload, outcome in zip(
        uploads, await service.pool.run(calls, slot, _gone(request)), strict=True
    ):
        if isinstance(outcome, ValueError):
            failed.append(outcome)
            outcome = Processed(0, [json_line(upload.name, outcome)])
        results.append(outcome)
    if failed and (len(failed) == len(uploads) or process is not detect_faces):
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, str(failed[0]))
    endpoint = request.url.path
    service.metrics.images.labels(endpoint).inc(len(uploads))
    service.metrics.faces.labels(endpoint).inc(sum(result.faces for result in results))
    return results


def _attempt(
    process: Process[AnyQuery], job: Job, detector: Detector, query: AnyQuery
) -> Processed | ValueError:
    try:
        return process(job, detector, query)
    except MemoryError:
        return ValueError(f"{job.upload.name} is too large for the memory of this machine")
    except ValueError as error:
        return error


async def _gone(request: Request) -> None:
    """Return once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@OPERATOR.get("/healthz")
async def healthz() -> PlainTextResponse:
    """The process lives."""
    return PlainTextResponse("ok\n")


@OPERATOR.get("/readyz")
async def readyz(request: Request) -> PlainTextResponse:
    """The next request will be taken."""
    if _service(request).pool.full:
        return PlainTextResponse("the queue is full\n", HTTPStatus.SERVICE_UNAVAILABLE)
    return PlainTextResponse("ok\n")


@OPERATOR.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    check_token(request)
    content = generate_latest(_service(request).metrics.registry)
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@OPERATOR.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """What there is, for people."""
    # Its style is in it.
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(page(request.app.openapi()), headers=policy)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Any error as problem details (RFC 9457)."""
    if isinstance(error, ValidationError):
        detail = "; ".join(map(_describe, error.errors()))
        error = RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    elif isinstance(error, HTTPException):
        status, headers = HTTPStatus(error.status_code), error.headers or {}
        error = RequestError(status, str(error.detail), headers)
    elif not isinstance(error, RequestError):
        detail = "the server has a fault, which it logged"
        error = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
    return Response(error.problem, error.status, dict(error.headers), PROBLEM)


def _describe(error: Mapping[str, Any]) -> str:
    """What is wrong with an option, in the library's words where it refused the value."""
    if isinstance(reason := error.get("ctx", {}).get("error"), ValueError):
        return str(reason)
    name = error["loc"][-1]
    if error["type"] == "extra_forbidden":
        return f"there is no option {name!r:.60}; /docs lists them"
    return f"{name} is {error['input']!r:.60}: {error['msg'][:1].lower()}{error['msg'][1:]}"
