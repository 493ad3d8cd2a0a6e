"""What commands share: usage errors, progress bars, tables, results in a file or on stdout."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Group, Parameter, Token
from rich.console import Console
from rich.text import Text

from extd.files import open_text

if TYPE_CHECKING:
    from rich.progress import Progress, Task

STDOUT = "-"


def whole_number(_: object, tokens: Sequence[Token]) -> int:
    """The whole number of an option; cyclopts would round it.

    Raises:
        ValueError: it is not a whole number.
    """
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


WHOLE_NUMBER = Parameter(converter=whole_number)
MACHINE = Group("Model and machine", sort_key=9)
Model = Annotated[str, Parameter(group=MACHINE, metavar="NAME|FILE")]
Target = Annotated[str | None, Parameter(metavar="[FILE|-]", allow_leading_hyphen=True)]
"""Where results go: a file, or `-`."""
Folder = Annotated[Path, Parameter(metavar="DIR")]


class UsageError(Exception):
    """The command line is wrong; exit code 2."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Within it, a refused value means that the command line is wrong.

    Raises:
        UsageError: in place of a ValueError or FileNotFoundError.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


@contextmanager
def train_extra(command: str) -> Iterator[None]:
    """Within it, packages of the extra `train` are imported for that command.

    Raises:
        ImportError: one is missing; the message says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{command} needs the package {error.name}; run: pip install "extd[train]"'
        ) from error


def print_error(message: str, console: Console | None = None) -> None:
    """One red line on stderr."""
    line = Text("error: " + " ".join(message.split()), style="red")
    (console or Console(stderr=True)).print(line, soft_wrap=True)


def print_line(console: Console, line: str) -> None:
    """A line as it is, however long."""
    console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)


def progress_bar(*, hidden: bool = False) -> Progress:
    """A progress bar on stderr, with speed and time left, that disappears at the end.

    It is shown only in a terminal, and with `hidden` not even there.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeLeft(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=hidden or not console.is_terminal,
    )


@contextmanager
def open_results(target: str) -> Iterator[TextIO]:
    """Standard output for `-`, or a file that appears once it is complete."""
    if target == STDOUT:
        yield sys.stdout
        return
    with open_text(Path(target)) as stream:
        yield stream


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse a file where a folder is needed.

    Raises:
        UsageError: `folder` is not a folder; the message names the option.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        kind = "file" if folder.exists() else "link that leads nowhere"
        raise UsageError(f"{option} {folder} is a {kind}; give a folder")


def count(number: int, noun: str) -> str:
    """As in `1 face` and `2 faces`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clock(seconds: float) -> str:
    """As in `1:02:03.45`, and `2:03.45` below an hour."""
    minutes, rest = divmod(math.floor(seconds * 100) / 100, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
