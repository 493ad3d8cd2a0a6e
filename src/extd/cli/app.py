"""The command `extd`: its subcommands, and what becomes of errors and exit codes."""

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
from extd.cli.convert import convert
from extd.cli.crop import crop
from extd.cli.data import check, convert_data, pack, unpack
from extd.cli.detect import detect
from extd.cli.doctor import doctor
from extd.cli.eval import labels, wider
from extd.cli.export import export
from extd.cli.models import models
from extd.cli.terminal import STDOUT, UsageError, print_error, print_line
from extd.cli.train import train
from extd.cli.widerface import widerface
from extd.media.sources import LIST, SUFFIXES, VIDEO_SUFFIXES
from extd.signals import caught

DETECTION = Group("Find faces", sort_key=0)
TRAINING = Group("Measure and train", sort_key=1)

app = App(
    name="extd",
    help="Find faces in pictures, tiny ones too.\n\n    extd detect photo.jpg --out boxed",
    version=f"extd {__version__}",
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = (Group("This program", sort_key=2),)
app.command(detect, group=DETECTION, sort_key=0, usage="Usage: extd detect [OPTIONS] PICTURES...")
app.command(blur, group=DETECTION, sort_key=1, usage="Usage: extd blur [OPTIONS] PICTURES...")
app.command(crop, group=DETECTION, sort_key=2, usage="Usage: extd crop [OPTIONS] PICTURES...")
app.command(models, group=DETECTION, sort_key=3)
app.command(doctor, group=DETECTION, sort_key=4)
evaluation = App(name="eval", help="Measure a detector.", group=TRAINING, sort_key=0)
evaluation.command(wider)
evaluation.command(labels)
app.command(evaluation)
datasets = App(
    name="data", help="Check, convert, pack and fetch pictures.", group=TRAINING, sort_key=7
)
datasets.command(check, sort_key=0)
datasets.command(convert_data, name="convert", sort_key=1)
datasets.command(pack, sort_key=2)
datasets.command(unpack, sort_key=3)
datasets.command(widerface, sort_key=4)
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
    # File names need not be UTF-8; their bytes are read and printed as they are. Where not every
    # letter can be printed, its number is.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            utf8 = stream is sys.stdin or stream.encoding.lower() == "utf-8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    tokens = with_stdout(sys.argv[1:] if argv is None else argv)
    try:
        with caught(signal.default_int_handler):
            code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except (CycloptsError, UsageError) as error:
        print_error(str(error))
        return 2
    except (BrokenPipeError, SystemExit):
        # Rich makes a SystemExit of it. Without this, Python complains of the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print_line(Console(stderr=True), "interrupted")
        return 130
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print_error(str(error) or "the memory of this machine is too small")
        return 1
    return int(code or 0)


def _open_streams() -> None:
    """Standard streams that lead nowhere, where the program was started without."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def with_stdout(tokens: Sequence[str]) -> list[str]:
    """The arguments with the value `-`, standard output, for a bare `--json` or `--csv`.

    Bare is one that ends the line or comes before another option or a picture. Any other `-`, the
    list on standard input, goes to the end, behind the options, one of which it would pass for.
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
