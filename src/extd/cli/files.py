"""Many files, processed with a progress bar, a table, error lines and a summary."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from rich.console import Console
from rich.progress import Progress

from extd.cli.outputs import NO_RESULTS, Add
from extd.cli.terminal import count, print_error, print_line, print_note, progress_bar
from extd.faces import Faces
from extd.images import Reduced, Reduction, unreduced
from extd.media.sources import Source, is_video
from extd.media.video import Frame, pyav
from extd.pipeline import Finder, OnFrame, process_files


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file."""

    faces: int = 0  # how many were found
    rows: Sequence[str] = ()  # lines of the table
    error: Exception | None = None  # why the file failed or its result is incomplete
    flaws: Sequence[str] = ()  # error lines about a result that was written all the same
    notes: Sequence[str] = ()  # what else the user should know
    found: Faces | None = None  # the faces of an image, for files of results


@dataclass(frozen=True, slots=True)
class Task(Generic[Finder]):
    """What a command does with each file, and what it prints."""

    name: str  # as in `detecting`, for the progress bar
    header: str  # first line of the table; empty for none
    # Called in any thread, with what finds faces, the image file and what was read of it.
    on_image: Callable[[Finder, Source, Reduced], Outcome]
    # Called with a video file, and with what to call for each of its frames.
    on_video: Callable[[Source, OnFrame], Outcome]
    written: Sequence[str | Path | None] = ()  # results, named at the end if they exist
    flaw: str = "with flaws"  # what results with flaws are called
    left_alone: str = ""  # which other files there are in the folders
    results: AbstractContextManager[Add] = NO_RESULTS  # opened while files are processed
    quiet: bool = False  # print errors only
    reduction: Reduction = unreduced


def run_files(
    task: Task[Finder], sources: Sequence[Source], finder: Finder, max_pixels: int
) -> int:
    """Process files and print what becomes of them; return the exit code."""
    if sources and all(is_video(source.path) for source in sources):
        # Among images, a video that cannot be read is one failure of many.
        pyav()
    bar = progress_bar(hidden=is_one_image(sources), quiet=task.quiet)
    # If table and bar share the terminal, lines must go through the bar.
    shared = sys.stdout.isatty() and not bar.disable
    console = Console(quiet=True) if task.quiet else bar.console if shared else Console()

    def on_video(source: Source) -> Outcome:
        with frame_progress(bar, source.path.name, add) as on_frame:
            return task.on_video(source, on_frame)

    if task.header:
        print_line(task.header, console)
    totals: Counter[str] = Counter()
    processed = process_files(sources, finder, task.on_image, on_video, max_pixels, task.reduction)
    with task.results as add, bar, closing(processed):
        for source, result in bar.track(processed, len(sources), description=task.name):
            outcome = Outcome(error=result) if isinstance(result, Exception) else result
            for row in outcome.rows:
                print_line(row, console)
            for found in (outcome.found, outcome.error):
                if found is not None:
                    add(str(source.path), found, None)
            for error in filter(None, (outcome.error, *outcome.flaws)):
                print_error(str(error), bar.console)
            for note in outcome.notes:
                print_note(note, bar.console)
            failed, flawed = outcome.error is not None, bool(outcome.flaws)
            totals.update(faces=outcome.faces, failed=failed, flawed=flawed)
    print_totals(task, sources, totals)
    return 1 if totals["failed"] or totals["flawed"] else 0


def print_totals(task: Task[Finder], sources: Sequence[Source], totals: Counter[str]) -> None:
    """Print how many faces were found, files failed and results are flawed, and where they are."""
    others = f"left alone: {task.left_alone}" if task.left_alone else ""
    if task.quiet:
        if others:
            print_note(others, Console(stderr=True))
        return
    videos = sum(is_video(source.path) for source in sources)
    kind = "image" if not videos else "video" if videos == len(sources) else "file"
    line = f"{count(totals['faces'], 'face')} in {count(len(sources) - totals['failed'], kind)}"
    for key, what in (("failed", "failed"), ("flawed", task.flaw)):
        line += f", {totals[key]:,} {what}" if totals[key] else ""
    print_line("; ".join(filter(None, (line, others))))
    for target in task.written:
        # A folder appears with the first result.
        if target is not None and Path(target).exists():
            print_line(f"written: {target}")


@contextmanager
def frame_progress(bar: Progress, name: str, add: Add) -> Iterator[OnFrame]:
    """A task of the bar for a video; yields what to call with each frame and its faces."""
    task = bar.add_task(name, total=None)

    def on_frame(frame: Frame, faces: Faces, frame_count: int | None) -> None:
        add(frame.name, faces, frame)
        bar.update(task, advance=1, total=frame_count)

    try:
        yield on_frame
    finally:
        bar.remove_task(task)


def is_one_image(sources: Sequence[Source]) -> bool:
    """Whether there is a single file, and it is not a video."""
    return len(sources) == 1 and not is_video(sources[0].path)
