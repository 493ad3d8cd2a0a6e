"""The command `extd`: its subcommands, error messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path

from cyclopts import App, CycloptsError, Group, Parameter
from rich.console import Console

from extd import __version__
from extd.cli.blur import blur
from extd.cli.crop import crop
from extd.cli.data import check, convert_data
from extd.cli.detect import detect
from extd.cli.doctor import doctor
from extd.cli.eval import labels, wider
from extd.cli.models import models
from extd.cli.terminal import STDOUT, UsageError, print_error, print_line
from extd.cli.train import train
from extd.cli.weights import convert, export
from extd.files import SUFFIXES
from extd.media.sources import LIST, VIDEO_SUFFIXES
from extd.signals import handle_signals

DETECTION = Group("Detect faces", sort_key=0)
TRAINING = Group("Evaluate and train", sort_key=1)

app = App(
    name="extd",
    help="Detect faces in images, tiny ones too.\n\n    extd detect photo.jpg --out boxed",
    version=f"extd {__version__}",
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = (Group("This program", sort_key=2),)
app.command(detect, group=DETECTION, sort_key=0, usage="Usage: extd detect [OPTIONS] FILES...")
app.command(blur, group=DETECTION, sort_key=1, usage="Usage: extd blur [OPTIONS] FILES...")
app.command(crop, group=DETECTION, sort_key=2, usage="Usage: extd crop [OPTIONS] FILES...")
app.command(models, group=DETECTION, sort_key=3)
app.command(doctor, group=DETECTION, sort_key=4)
evaluation = App(name="eval", help="Evaluate a detector.", group=TRAINING, sort_key=0)
evaluation.command(wider)
evaluation.command(labels)
app.command(evaluation)
datasets = App(name="data", help="Check and convert datasets.", group=TRAINING, sort_key=7)
datasets.command(check, sort_key=0)
datasets.command(convert_data, name="convert", sort_key=1)
app.command(datasets)
app.command(train, group=TRAINING, sort_key=3)
app.command(convert, group=TRAINING, sort_key=5)
app.command(export, group=TRAINING, sort_key=6)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of the process without it.

    Returns:
        The exit code: 0 all well, 1 something failed, 2 wrong usage, 130 stopped with Ctrl-C or
        SIGTERM, 141 the reader of a pipe left.
    """
    _open_streams()
    # File names need not be UTF-8: their bytes are read and printed as they are. Letters that a
    # terminal cannot show are printed as numbers.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            utf8 = stream is sys.stdin or stream.encoding.lower() == "utf-8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    tokens = with_stdout(sys.argv[1:] if argv is None else argv)
    try:
        with handle_signals(signal.default_int_handler):
            code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except (CycloptsError, UsageError) as error:
        print_error(str(error))
        return 2
    except (BrokenPipeError, SystemExit):
        # Rich turns a broken pipe into SystemExit. Without this, Python reports the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print_line(Console(stderr=True), "interrupted")
        return 130
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print_error(str(error) or "this machine has too little memory")
        return 1
    return int(code or 0)


def _open_streams() -> None:
    """Open the standard streams that the program was started without, to nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def with_stdout(tokens: Sequence[str]) -> list[str]:
    """The arguments with the value `-`, standard output, for a bare `--json` or `--csv`.

    It is bare at the end of the line and before another option, an image or a video. Any other
    `-`, the list on standard input, moves to the end, as it looks like an option.
    """
    explicit: list[str] = []
    listed, previous = False, ""
    for token, following in pairwise([*tokens, "--"]):
        option = following.startswith("-") and following != STDOUT
        bare = option or Path(following).suffix.lower() in SUFFIXES | VIDEO_SUFFIXES
        if token == LIST and previous not in {"--json", "--csv"}:
            listed = True
        else:
            explicit.append(f"{token}={STDOUT}" if token in {"--json", "--csv"} and bare else token)
        previous = token
    if listed:
        explicit += [LIST] if "--" in explicit else ["--", LIST]
    return explicit
