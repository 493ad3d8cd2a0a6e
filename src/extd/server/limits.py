"""`Limits` of a request, and `RequestError`, the answer to one that breaks them (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

WORK = 2
"""How many times `Limits.pixels` the passes over an image, its covers or its crops may have."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost.

    Attributes:
        body: bytes of a request's body.
        pixels: of an image, by its header.
        images: in a request.
        seconds: to receive a request and work on it, and to send the answer.
        queue: requests that wait while all threads are busy.

    Raises:
        ValueError: a value is below 1.
    """

    body: int = 20_000_000
    pixels: int = 50_000_000
    images: int = 16
    seconds: float = 30.0
    queue: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            # Written so that NaN fails too.
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")


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


def check_work(pixels: float, what: str, limits: Limits) -> None:
    """Refuse work that would block a thread or fill the memory; nothing can interrupt it.

    Raises:
        ValueError: it begins with `what`.
    """
    most = WORK * limits.pixels
    if not pixels <= most:
        raise ValueError(f"{what} have {pixels:,.0f} pixels together, more than {most:,}")
