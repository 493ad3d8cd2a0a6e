"""What all commands share: kinds of options, usage errors, printed lines, bars, result files."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter, Token
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.text import Text

from extd.files import open_text

STDOUT = "-"


class UsageError(ValueError):
    """The command line is wrong; exit code 2."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Within it, an error about values or files means that the command line is wrong."""
    try:
        yield
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        raise UsageError(str(error)) from error


def _whole_number(_: object, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


def _check_folder(_: object, path: Path | None) -> None:
    if path is not None and os.path.lexists(path) and not path.is_dir():
        kind = "file" if path.exists() else "link that leads nowhere"
        raise ValueError(f"It is a {kind}; give a folder.")


WHOLE_NUMBER = Parameter(converter=_whole_number)
"""cyclopts alone would round."""
Folder = Annotated[Path, Parameter(metavar="DIR", validator=_check_folder)]
Target = Annotated[str | None, Parameter(metavar="[FILE|-]", allow_leading_hyphen=True)]
"""Where results go: a file, or `-`."""


@contextmanager
def open_results(target: str) -> Iterator[TextIO]:
    """Standard output for `-`, or a file that appears once it is complete."""
    if target == STDOUT:
        yield sys.stdout
        return
    with open_text(Path(target)) as stream:
        yield stream


def write_json(target: str, value: object, indent: int | None = None) -> None:
    """Write one JSON value to a file or standard output."""
    with open_results(target) as stream:
        stream.write(json.dumps(value, indent=indent) + "\n")


def print_error(message: str, console: Console | None = None) -> None:
    """One red line on stderr."""
    line = Text("error: " + " ".join(message.split()), style="red")
    (console or Console(stderr=True)).print(line, soft_wrap=True)


def print_note(message: str, console: Console) -> None:
    """One yellow line on stderr, for what is no error."""
    console.print(Text("note: " + " ".join(message.split()), style="yellow"), soft_wrap=True)


def print_line(line: str, console: Console | None = None) -> None:
    """A line as it is, however long."""
    (console or Console()).print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def progress_bar(*, hidden: bool = False, quiet: bool = False) -> Progress:
    """A progress bar on stderr, with speed and time left, that disappears at the end.

    It is shown only in a terminal, and with `quiet` only if results on stdout go elsewhere.
    """
    console = Console(stderr=True)
    hidden |= not console.is_terminal or (quiet and sys.stdout.isatty())
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeLeft(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=hidden,
    )


def count(number: int, noun: str) -> str:
    """As in `1 face` and `2 faces`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clock(seconds: float) -> str:
    """As in `1:02:03.45`, and `2:03.45` below an hour."""
    minutes, rest = divmod(math.floor(seconds * 100) / 100, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
