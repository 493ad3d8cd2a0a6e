"""What `extd detect` does with a camera: faces of its newest frames, until Ctrl-C."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from extd.cli.terminal import (
    STDOUT,
    count,
    open_results,
    print_error,
    print_line,
    progress_bar,
)
from extd.cli.video import (
    FRAME_CSV_HEADER,
    Tally,
    after_ctrl_c,
    look,
    reported,
    write_lines,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from extd.detector import Detector
    from extd.media.frame import Fault, Frame
    from extd.media.video import Span


def watch(detector: Detector, address: str, span: Span, json: str | None, csv: str | None) -> int:
    """Find faces in what a camera shows until Ctrl-C, which is no error here; the exit code."""
    from extd.media.frames import without_password

    quiet = STDOUT in {json, csv}
    bar = progress_bar("{task.description}", hidden=quiet and sys.stdout.isatty())
    with ExitStack() as stack:
        json_stream = stack.enter_context(open_results(json)) if json else None
        csv_stream = stack.enter_context(open_results(csv)) if csv else None
        if csv_stream:
            csv_stream.write(FRAME_CSV_HEADER)
        stack.enter_context(bar)
        tally = detect_camera(
            detector, address, span, json_stream=json_stream, csv_stream=csv_stream, bar=bar
        )
    if tally.error is not None:
        print_error(str(tally.error))
    done = f"{count(tally.faces, 'face')} in {count(tally.frames, 'frame')}"
    print_line(Console(quiet=quiet), f"{done} of {without_password(address)}")
    return 1 if tally.error else 0


def detect_camera(
    detector: Detector,
    address: str,
    span: Span,
    *,
    json_stream: TextIO | None,
    csv_stream: TextIO | None,
    bar: Progress,
) -> Tally:
    """Find the faces in the newest frame of a camera, again and again, until Ctrl-C or its end.

    Args:
        detector: what looks.
        address: the camera, as of `open_source`.
        span: from when to when, and which of the frames that it gives.
        json_stream: gets the `frame_json_line` of each frame, and that of an error.
        csv_stream: gets the `frame_csv_lines`.
        bar: shows the speed.
    """
    from extd.media.frames import open_source, without_password
    from extd.media.writers import json_line

    tally = Tally()
    with (
        reported(tally, without_password(address)),
        after_ctrl_c() as stopped,
        closing(open_source(address)) as frames,
    ):
        chosen = within(frames, span)
        for frame, faces in look(
            detector, chosen, without_password(address), None, tally, stopped, bar
        ):
            write_lines(frame, faces, json_stream, csv_stream)
    if json_stream is not None and tally.error is not None:
        json_stream.write(json_line(without_password(address), tally.error))
    return tally


def within(frames: Iterable[Frame | Fault], span: Span) -> Iterator[Frame | Fault]:
    """Those of a camera's frames that the span wants."""
    from extd.media.frame import Fault

    begun = 0
    for item in frames:
        if not isinstance(item, Fault):
            if item.time >= (math.inf if span.end is None else span.end):
                return
            if item.time < span.start:
                continue
            begun += 1
            if (begun - 1) % span.every:
                continue
        yield item
