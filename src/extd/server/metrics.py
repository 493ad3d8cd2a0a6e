"""What Prometheus reads of the server, and `Observed`, which counts every request."""

from __future__ import annotations

import logging
import traceback
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from extd.page import HEADERS
from extd.server.pool import Pool

LOGGER = logging.getLogger("extd.server")
BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
"""Upper bounds of the histogram of times, s."""


class Metrics:
    """Counters of one server.

    Attributes:
        registry: what `/metrics` shows.
        images: images worked on, by endpoint.
        faces: faces found, likewise.
    """

    def __init__(self, pool: Pool) -> None:
        """Count from 0; `pool` tells how busy the server is."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        labels = ["endpoint"]
        self.images = Counter("extd_images", "Images worked on.", labels, registry=self.registry)
        self.faces = Counter("extd_faces", "Faces found.", labels, registry=self.registry)
        self.requests = Counter(
            "extd_requests", "Requests answered.", [*labels, "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "extd_request_seconds",
            "From a request's header to the end of its answer.",
            labels,
            buckets=BUCKETS,
            registry=self.registry,
        )
        taken = Gauge("extd_requests_taken", "Requests in work or waiting.", registry=self.registry)
        taken.set_function(lambda: pool.taken)


class Observed:
    """An ASGI application, counted, with headers; errors are logged without what they say."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: frozenset[str]) -> None:
        """Other paths than `endpoints` count as one, or clients could invent any number."""
        self._app, self._metrics, self._endpoints = app, metrics, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, perf_counter()

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception as error:  # noqa: BLE001 - the server goes on
            # Messages can name files of clients.
            place = "".join(traceback.format_tb(error.__traceback__))
            LOGGER.error("a request failed with %s\n%s", type(error).__name__, place)
        endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
        self._metrics.requests.labels(endpoint, str(status)).inc()
        self._metrics.seconds.labels(endpoint).observe(perf_counter() - began)
