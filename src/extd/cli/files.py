"""Many files, processed with a progress bar, a table, error lines and a summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import Progress

from extd.batch import process_files, refuse_video
from extd.cli.terminal import count, print_error, print_line, progress_bar
from extd.detector import Detector
from extd.images import Image
from extd.media.sources import Source, is_video
from extd.media.video import pyav
from extd.pipeline import OnFrame

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to print about a file, and to count.

    Attributes:
        faces: how many were found.
        rows: lines of the table.
        error: why the file failed or its result is incomplete.
        flaws: error lines about a result that was written all the same.
    """

    faces: int = 0
    rows: Sequence[str] = ()
    error: Exception | None = None
    flaws: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Task(Generic[Result]):
    """What a command does with each file.

    Attributes:
        name: as in `detecting`, for the progress bar.
        header: first line of the table; empty for none.
        on_image: called in any thread, with the detector to use, the image file and its pixels.
        describe: called with each file and its result, or why it failed, in order.
        on_video: called with a video file, and with what to call for each of its frames; without
            it, videos fail.
    """

    name: str
    header: str
    on_image: Callable[[Detector, Source, Image], Result]
    describe: Callable[[Source, Result | Exception], Outcome]
    on_video: Callable[[Source, OnFrame], Result] | None = None


@dataclass(slots=True)
class Totals:
    """How many files there are, of which kind, and what became of them."""

    files: int
    kind: str
    faces: int = 0
    failed: int = 0
    flawed: int = 0

    @property
    def done(self) -> int:
        """How many files did not fail."""
        return self.files - self.failed

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        self.faces += outcome.faces
        self.failed += outcome.error is not None
        self.flawed += bool(outcome.flaws)


def run_files(
    task: Task[Result],
    sources: Sequence[Source],
    detector: Detector,
    max_pixels: int,
    *,
    quiet: bool = False,
) -> Totals:
    """Process files and print what becomes of them; with `quiet`, errors only.

    Raises:
        ImportError: all files are videos, and PyAV is missing.
    """
    videos = sum(is_video(source.path) for source in sources)
    kind = "image" if not videos else "video" if videos == len(sources) else "file"
    if kind == "video" and task.on_video is not None:
        # Among images, a video that cannot be read is one failure of many.
        pyav()
    bar = progress_bar(hidden=is_one_image(sources) or (quiet and sys.stdout.isatty()))
    # If table and bar share the terminal, lines must go through the bar.
    shared = sys.stdout.isatty() and not bar.disable
    table = Console(quiet=True) if quiet else bar.console if shared else Console()

    def on_video(source: Source) -> Result:
        if task.on_video is None:
            refuse_video(source)
        with frame_progress(bar, source.path.name) as advance:
            return task.on_video(source, advance)

    if task.header:
        print_line(task.header, table)
    totals = Totals(len(sources), kind)
    processed = process_files(sources, detector, task.on_image, on_video, max_pixels)
    with bar, closing(processed):
        for source, result in bar.track(processed, len(sources), description=task.name):
            outcome = task.describe(source, result)
            for row in outcome.rows:
                print_line(row, table)
            for line in filter(None, [outcome.error, *outcome.flaws]):
                print_error(str(line), bar.console)
            totals.add(outcome)
    return totals


def print_summary(
    totals: Totals,
    written: Sequence[str | Path | None],
    *,
    flaw: str = "with flaws",
    note: str = "",
    quiet: bool = False,
) -> int:
    """Print the totals and what was written; the exit code.

    Args:
        totals: of `run_files`.
        written: files and folders of results; None among them are left out.
        flaw: what the results with flaws are called.
        note: follows the totals.
        quiet: print nothing.
    """
    done = f"{count(totals.faces, 'face')} in {count(totals.done, totals.kind)}"
    for number, what in ((totals.failed, "failed"), (totals.flawed, flaw)):
        done += f", {number:,} {what}" if number else ""
    console = Console(quiet=quiet)
    print_line(done + note, console)
    for target in filter(None, written):
        print_line(f"written: {target}", console)
    return 1 if totals.failed or totals.flawed else 0


@contextmanager
def frame_progress(bar: Progress, name: str) -> Iterator[OnFrame]:
    """A task of the bar for the frames of a video; yields a function that advances it."""
    task = bar.add_task(name, total=None)
    try:
        yield lambda _frame, _faces, total: bar.update(task, advance=1, total=total)
    finally:
        bar.remove_task(task)


def is_one_image(sources: Sequence[Source]) -> bool:
    """Whether there is a single file, and it is no video."""
    return len(sources) == 1 and not is_video(sources[0].path)
