"""What the OpenAPI description says of bodies and answers, and the page `/docs`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from pydantic import BaseModel

from extd.server.limits import PROBLEM

BINARY = {"type": "string", "format": "binary"}
IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as the body, or one or several as files of a form.",
        "content": {
            "application/octet-stream": {"schema": BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": BINARY, "minItems": 1}},
                    "required": ["image"],
                    "additionalProperties": False,
                }
            },
        },
    }
}
BEARER = {
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of `extd serve --token-file`, if any.",
    }
}
ARCHIVE: dict[str, Any] = {
    "description": "A ZIP of images, with the faces in faces.jsonl.",
    "content": {"application/zip": {"schema": BINARY}},
}
IMAGE_OR_ZIP: dict[str, Any] = {
    "description": "The image, in its format or as PNG; of several, a ZIP with faces.jsonl.",
    "content": {"image/*": {"schema": BINARY}, **ARCHIVE["content"]},
}
STATUSES = {
    400: "The client went away.",
    401: "The token is missing or wrong.",
    408: "The request did not arrive in time.",
    413: "The body is too large, or has too many images.",
    422: "An image cannot be read or has too many pixels, or an option is wrong.",
    429: "The queue is full; Retry-After says when to come back.",
    500: "The server has a fault.",
    503: "The work took too long.",
}


class DetectedFace(BaseModel):
    """A face: x1, y1, x2, y2 in pixels of the upright image, and its probability."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: list[tuple[float, float]] | None = None
    id: int | None = None


class ImageFaces(BaseModel):
    """The faces of an image, or of one of its frames or pages; or why it cannot be read."""

    path: str
    frame: int | None = None
    time: float | None = None
    width: int | None = None
    height: int | None = None
    faces: list[DetectedFace] | None = None
    error: str | None = None


class ProblemDetails(BaseModel):
    """What is wrong with a request (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def operation(query: type[BaseModel]) -> dict[str, Any]:
    """The options, which `query` defines, and the body of an address."""
    options = query.model_json_schema()["properties"].items()
    parameters = [
        {"name": name, "in": "query", "schema": schema, "description": schema.pop("description")}
        for name, schema in options
    ]
    return {"parameters": parameters, "security": [{name: [] for name in BEARER}], **IMAGE_BODY}


def responses() -> dict[int | str, dict[str, Any]]:
    """The answers that are no result, for FastAPI."""
    schema = ProblemDetails.model_json_schema()
    return {
        status: {"description": text, "content": {PROBLEM: {"schema": schema}}}
        for status, text in STATUSES.items()
    }


def page(description: Mapping[str, Any]) -> str:
    """An HTML page of an OpenAPI description; nothing in it comes from elsewhere."""
    return "\n".join(_lines(description))


def _lines(description: Mapping[str, Any]) -> Iterator[str]:
    title = escape(description["info"]["title"])
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield "<style>body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    yield "td{vertical-align:top;padding:.1rem 1rem .1rem 0}</style>"
    yield f"<h1>{title}</h1><p>{escape(description['info'].get('description', ''))}</p>"
    yield '<p>For programs: <a href="openapi.json">openapi.json</a></p>'
    for path, methods in description["paths"].items():
        for method, one in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{_marked_up(one.get('description') or one.get('summary', ''))}</p><table>"
            for parameter in one.get("parameters", ()):
                name, default = parameter["name"], parameter["schema"].get("default")
                text = parameter["description"] + (f" Default: {default}." if default else "")
                yield f"<tr><td><code>{escape(name)}</code><td>{escape(text)}"
            yield "</table>"


def _marked_up(text: str) -> str:
    """Text as HTML; what stands in backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
