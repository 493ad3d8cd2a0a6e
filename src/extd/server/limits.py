"""`Limits` of a request, and `RequestError`, the answer to one that breaks them (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

PROBLEM = "application/problem+json"
"""MIME type of an error."""
MAX_PASSES = 64
"""Over an image; each takes its time, however small it is."""
PIXEL_FACTOR = 2
"""How many times `Limits.max_pixels` the passes over an image, its covers or its crops may have."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost.

    Attributes:
        max_body: bytes of a request's body.
        max_pixels: of an image, by its header.
        max_images: in a request.
        timeout: seconds to receive a request and work on it, and to send the answer.
        queue: requests that wait while all threads are busy.

    Raises:
        ValueError: a value is below 1 or not finite; the message names its option.
    """

    max_body: int = 20_000_000
    max_pixels: int = 50_000_000
    max_images: int = 16
    timeout: float = 30.0
    queue: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            # Written so that NaN fails too.
            if not 1 <= value < math.inf:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} is {value}; give a number of 1 or more")


# Not frozen: `raise` and context managers set the traceback.
@dataclass(eq=False)
class RequestError(Exception):
    """A request that gets no result.

    Attributes:
        status: of the answer.
        detail: what is wrong, and what to do.
        headers: of the answer, besides its type.
    """

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> bytes:
        """The answer's body, problem details."""
        members = {"title": self.status.phrase, "status": self.status, "detail": self.detail}
        return json.dumps({"type": "about:blank", **members}).encode()


def check_work(pixels: float, what: str, limits: Limits) -> None:
    """Refuse work that would block a thread or fill the memory; nothing can interrupt it.

    Raises:
        ValueError: it begins with `what`.
    """
    most = PIXEL_FACTOR * limits.max_pixels
    if not pixels <= most:
        raise ValueError(f"{what} have {pixels:,.0f} pixels together, more than {most:,}")
