"""What commands have in common: errors, extras, progress, and results in a file or on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from cyclopts import Group, Parameter, Token
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, Task

STDOUT = "-"


def whole(_: object, tokens: Sequence[Token]) -> int:
    """The whole number of an option, which cyclopts would round.

    Raises:
        ValueError: it is none.
    """
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


WHOLE_NUMBER = Parameter(converter=whole)
MACHINE = Group("Model and machine", sort_key=9)
Model = Annotated[str, Parameter(group=MACHINE, metavar="NAME|FILE")]
Threads = Annotated[int, WHOLE_NUMBER, Parameter(group=MACHINE, show_default="one a core")]
Provider = Annotated[
    str | None, Parameter(group=MACHINE, metavar="NAME", show_default="CPUExecutionProvider")
]
Target = Annotated[str | None, Parameter(metavar="[FILE|-]", allow_leading_hyphen=True)]
"""Where results go: a file, or `-`."""
Folder = Annotated[Path, Parameter(metavar="DIR")]


class UsageError(Exception):
    """The command line asks for what cannot be; exit code 2."""


@contextmanager
def usage() -> Iterator[None]:
    """Within it, a value that is refused is the command line's fault.

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
        ImportError: one is missing; the message tells what to install.
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


def progress_bar(what: str, *, hidden: bool) -> Progress:
    """A bar on stderr, with speed and time left, that goes when it is done.

    Only a terminal shows it.

    Args:
        what: stands before it; `{task.description}` where each task says it.
        hidden: do not show it even there.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    console = Console(stderr=True)
    return Progress(
        TextColumn(what, markup=False),
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
    """A stream to standard output for `-`, or to a file that appears when it is complete."""
    from extd.media.writers import open_text

    if target == STDOUT:
        yield sys.stdout
        return
    with open_text(Path(target)) as stream:
        yield stream


def check_suffix(target: Path, suffix: str) -> None:
    """Refuse a name under which the written file would not be recognised.

    Raises:
        UsageError: `target` does not end in `suffix`.
    """
    if target.suffix.lower() != suffix:
        raise UsageError(f"{target} is to be a {suffix} file; call it {target.with_suffix(suffix)}")


def report_file(path: Path) -> None:
    """Name a file that was written, and its size."""
    print_line(Console(), f"written: {path}, {path.stat().st_size / 1e3:,.0f} kB")


def count(number: int, noun: str) -> str:
    """As in `1 face` and `2 faces`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
