"""`Upload`, an image that came with a request, and the request's body read into memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Container
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import PurePosixPath

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from extd.server.limits import Limits, RequestError

# Its warnings quote bytes of the form.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

UNNAMED = "image"
"""Name of an image that is the whole body."""
NAME_LENGTH = 100
"""Characters of a file's name."""
FORM = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent.

    Attributes:
        name: of the file, without folders, and unique in its request.
        data: its bytes.
    """

    name: str
    data: bytes = field(repr=False)


async def read_uploads(request: Request, limits: Limits, deadline: float) -> list[Upload]:
    """The images of a request: its body, or the files of a form. Nothing goes to disk.

    Raises:
        RequestError: the body is too large, too slow or no form, or holds no image, or too many.
    """
    try:
        async with asyncio.timeout_at(deadline):
            body = await _read_body(request, limits.max_body)
    except TimeoutError:
        detail = f"the request did not arrive within {limits.timeout:g} s"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the client is gone") from None
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        uploads = [Upload(UNNAMED, body)] if body else []
    else:
        uploads = await _read_form(request, body, limits)
    if not uploads:
        detail = f"the request has no image; send it as the body, or as files of {FORM}"
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return uploads


async def _read_body(request: Request, limit: int) -> bytes:
    too_large = RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {limit:,} bytes"
    )
    # A header that lies is caught below.
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


async def _read_form(request: Request, body: bytes, limits: Limits) -> list[Upload]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # One more than allowed, so that the message is ours.
    parser = MultiPartParser(
        request.headers, stream(), max_files=limits.max_images + 1, max_fields=limits.max_images
    )
    # Larger files would be spooled to disk.
    parser.spool_max_size = limits.max_body
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(limits) from error
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the form: {error.message}") from error
    items = form.multi_items()
    if len(items) > limits.max_images:
        raise _too_many(limits)
    uploads: dict[str, Upload] = {}
    for field_name, item in items:
        if not isinstance(item, UploadFile):
            detail = f"the form's field {field_name!r:.60} is no file; give options in the URL"
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        name = unique(_plain(item.filename or UNNAMED), uploads)
        uploads[name.casefold()] = Upload(name, await item.read())
    await form.close()
    return list(uploads.values())


def unique(name: str, taken: Container[str]) -> str:
    """The name, with a number if `taken`, which is in lower case, has it."""
    first = path = PurePosixPath(name)
    number = 1
    while path.name.casefold() in taken:
        number += 1
        path = first.with_stem(f"{first.stem}-{number}")
    return path.name


def _plain(sent: str) -> str:
    """The name of a file without folders and control characters."""
    printable = "".join(filter(str.isprintable, sent.replace("\\", "/")))
    return PurePosixPath(PurePosixPath(printable).name[-NAME_LENGTH:]).name or UNNAMED


def _too_many(limits: Limits) -> RequestError:
    detail = f"the request has more than {limits.max_images:,} images"
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
