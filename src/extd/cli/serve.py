"""`extd serve`: a server that detects, blurs and crops faces over HTTP."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from cyclopts import Group, Parameter
from cyclopts.validators import Number
from rich.console import Console

from extd.catalog import DEFAULT_MODEL, Precision
from extd.cli.inference import Machine, Model, load_model
from extd.cli.terminal import WHOLE_NUMBER, count, print_line, print_note, usage_errors
from extd.cpu import check_threads, cores
from extd.detector import Detector
from extd.page import find_page

if TYPE_CHECKING:
    from extd.server.app import Access
    from extd.server.limits import Limits

PORT = Parameter(validator=Number(gte=0, lte=65535))
LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


@Parameter(name="*", group=Group("Limits of a request", sort_key=1))
@dataclass(frozen=True, slots=True)
class Bounds:
    """What a request may cost.

    Attributes:
        max_body: Bytes of its body.
        max_pixels: Pixels of an image, by its header, before it is decoded.
        max_images: Images in it.
        timeout: Seconds to receive it and work on it, and as many to send the answer.
        queue: How many requests may wait while all workers are busy; others get 429.
    """

    max_body: Annotated[int, WHOLE_NUMBER, Parameter(metavar="BYTES")] = 20_000_000
    max_pixels: Annotated[int, WHOLE_NUMBER, Parameter(metavar="N")] = 50_000_000
    max_images: Annotated[int, WHOLE_NUMBER, Parameter(metavar="N")] = 16
    timeout: Annotated[float, Parameter(metavar="SECONDS")] = 30.0
    queue: Annotated[int, WHOLE_NUMBER, Parameter(metavar="N")] = 64


@Parameter(name="*", group=Group("Model and machine", sort_key=9))
@dataclass(frozen=True, slots=True)
class Engine:
    """The model, and what runs it.

    Attributes:
        model: A model that `extd models` lists, or an .onnx file.
        workers: How many images are worked on side by side, each on one thread; auto for one a
            core.
        provider: What runs the network, as for `extd detect`.
        precision: Weights of the model, as for `extd detect`.
    """

    model: Model = DEFAULT_MODEL
    workers: Annotated[Literal["auto"] | int, Parameter(metavar="auto|N")] = "auto"
    provider: Annotated[str, Parameter(metavar="NAME")] = "cpu"
    precision: Precision = "auto"


BOUNDS, ENGINE = Bounds(), Engine()


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, WHOLE_NUMBER, PORT] = 8000,
    token_file: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    web: bool = False,
    cors: Annotated[
        tuple[str, ...], Parameter(metavar="ORIGIN", negative="", show_default=False)
    ] = (),
    bounds: Bounds = BOUNDS,
    engine: Engine = ENGINE,
) -> int:
    """Detect, blur and crop faces over HTTP.

    POST images to /v1/detect, /v1/blur or /v1/crop; the options of these commands are query
    parameters, which /docs lists. Nothing of an image is written to disk or logged. Ctrl-C and
    SIGTERM finish what was accepted. Needs the extra `serve`.

        extd serve
        curl --data-binary @photo.jpg "http://127.0.0.1:8000/v1/detect?threshold=0.6"
        curl --form image=@a.jpg --form image=@b.jpg http://127.0.0.1:8000/v1/blur -o blurred.zip

    Args:
        host: Address to listen on; 0.0.0.0 for every one of this machine.
        port: Port to listen on; 0 for any that is free.
        token_file: Answer only requests with the token in this file, sent as
            "Authorization: Bearer TOKEN".
        web: Serve the page that blurs faces in the browser, too; it is in the extra `web`.
        cors: Let pages of this origin, as https://example.org, read the answers; may be repeated.
    """
    try:
        from extd.server.app import Access
        from extd.server.limits import Limits
    except ModuleNotFoundError as error:
        raise ImportError(
            f"extd serve needs the package {error.name}; run: pip install 'extd[serve]'"
        ) from error

    with usage_errors():
        limits = Limits(
            bounds.max_body, bounds.max_pixels, bounds.max_images, bounds.timeout, bounds.queue
        )
        token = None if token_file is None else read_token(token_file)
        access = Access(token, cors, find_page() if web else None)
        workers = 0 if engine.workers == "auto" else engine.workers
        check_threads(workers, "workers")
    # Sessions compute in the worker's thread alone.
    detector = load_model(Machine(engine.model, 1, engine.provider, engine.precision))
    if host not in LOCAL and token is None:
        note = "without --token-file, anybody who reaches this port may use it"
        print_note(note, Console(stderr=True))
    if answer(detector, workers or cores(), limits, access, (host, port)):
        return 0
    # Python would wait for the threads, and Docker kills after ten seconds.
    print_note("stopped before all requests were finished", Console(stderr=True))
    sys.stderr.flush()
    os._exit(1)


def answer(
    detector: Detector, workers: int, limits: "Limits", access: "Access", address: tuple[str, int]
) -> bool:
    """Answer requests until a signal; whether no thread still works then."""
    from extd.server.app import build_app
    from extd.server.listener import listen, run
    from extd.server.pool import Pool

    # The first run allocates; a request should not wait for it.
    detector.detect(np.zeros((480, 640, 3), np.uint8))
    pool = Pool(workers, limits)
    app = build_app(detector, pool, limits, access)
    with listen(*address) as listening:
        network, port = detector.network, listening.getsockname()[1]
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        print_line(
            f"http://{host}:{port}: {network.name} in {network.precision}, "
            f"{count(workers, 'worker')}; Ctrl-C stops"
        )
        sys.stdout.flush()
        run(app, listening, limits.timeout)
    return not pool.close()


def read_token(path: Path) -> str:
    """The token in a file, without the space around it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no token, or one that a header cannot hold.
    """
    token = path.read_text("utf-8").strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise ValueError(f"{path} has no token; give one line of ASCII characters without spaces")
    return token
