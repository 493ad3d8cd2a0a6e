"""The command `extd`: its subcommands, error messages and exit codes."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from rich.console import Console

from extd import __version__
from extd.cli.terminal import STDOUT, UsageError, print_error, print_line
from extd.files import SUFFIXES
from extd.media.sources import LIST, VIDEO_SUFFIXES
from extd.signals import INTERRUPTED, handle_signals

COMMANDS = {
    "Detect faces": {
        "detect": ("extd.cli.detect:detect", "Detect the faces in images and videos."),
        "blur": (
            "extd.cli.blur:blur",
            "Cover the faces in images and videos, so that nobody is recognized.",
        ),
        "crop": ("extd.cli.crop:crop", "Crop the faces of images, one file for each."),
        "serve": ("extd.cli.serve:serve", "Detect, blur and crop faces over HTTP."),
        "web": (
            "extd.cli.web:web",
            "Serve the page that covers faces in images and videos, until Ctrl-C.",
        ),
        "models": ("extd.cli.models:models", "List the models that can be run."),
        "doctor": ("extd.cli.doctor:doctor", "Check that detection works on this machine."),
    },
    "Evaluate and train": {
        "eval": ("extd.cli.eval:app", "Evaluate a detector."),
        "finetune": ("extd.cli.finetune:finetune", "Adapt a detector to your own images."),
        "train": ("extd.cli.train:train", "Train a detector."),
        "convert": ("extd.cli.weights:convert", "Convert a checkpoint of the paper's authors."),
        "export": (
            "extd.cli.weights:export",
            "Export weights to ONNX, or store a threshold in an ONNX file.",
        ),
        "data": ("extd.cli.data:app", "Check and convert datasets."),
    },
}
"""By group and name: where each command is, and its line in the help of `extd`."""


def build_app(tokens: Sequence[str]) -> App:
    """The command line, with the commands loaded that `tokens` name: `extd --help` needs none."""
    app = App(
        name="extd",
        help="Detect faces in images, tiny ones too.\n\n    extd detect photo.jpg --out boxed",
        version=f"extd {__version__}",
        help_format="markdown",
        default_parameter=Parameter(negative=(), show_default=_shown),
        suppress_keyboard_interrupt=False,
    )
    for place, (title, commands) in enumerate(COMMANDS.items()):
        group = Group(title, sort_key=place)
        for key, (name, (path, summary)) in enumerate(commands.items()):
            if name in tokens:
                # Now, for cyclopts would hide why an import fails.
                resolve_name(path)
            # The summary would replace the docstring of a command that is used.
            line = None if name in tokens else summary
            app.command(path, name=name, help=line, group=group, sort_key=key)
    app["--help"].group = app["--version"].group = (Group("This program", sort_key=2),)
    return app


def _shown(default: object) -> str | None:
    """A default as the help shows it; that of a flag goes without saying."""
    return None if default is None or default is False else str(default)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of the process without it.

    Returns:
        The exit code: 0 all well, 1 something failed, 2 wrong usage, 130 stopped with Ctrl-C or
        SIGTERM, 141 the reader of a pipe left.
    """
    _prepare_streams()
    tokens = with_stdout(sys.argv[1:] if argv is None else argv)
    try:
        with handle_signals(signal.default_int_handler):
            app = build_app(tokens)
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
        print_line("interrupted", Console(stderr=True))
        return INTERRUPTED
    except ModuleNotFoundError as error:
        # The other extras have messages of their own.
        wanted = error.name if error.name == "onnxruntime" else '"extd[train]"'
        print_error(f"extd {tokens[0]} needs the package {error.name}; run: pip install {wanted}")
        return 1
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print_error(str(error) or "this machine has too little memory")
        return 1
    return int(code or 0)


def run() -> NoReturn:
    """The program `extd`: the command line, and the end of the process."""
    code = main()
    # At exit Python collects garbage, which after a long training once took minutes.
    gc.freeze()
    if code == INTERRUPTED:
        # Python would also wait for threads.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _prepare_streams() -> None:
    """Open the standard streams that the program was started without; let all take any text."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        # File names need not be UTF-8: their bytes are read and printed as they are. Letters that
        # a terminal cannot show are printed as numbers.
        if isinstance(stream, TextIOWrapper):
            utf8 = name == "stdin" or stream.encoding.lower() == "utf-8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def with_stdout(tokens: Sequence[str]) -> list[str]:
    """The arguments with the value `-`, standard output, for a bare `--json` or `--csv`.

    It is bare at the end of the line and before another option, an image or a video. Any other
    `-`, the list on standard input, moves to the end, as it looks like an option.
    """
    explicit: list[str] = []
    listed = False
    for token, following in pairwise([*tokens, "--"]):
        option = following.startswith("-") and following != STDOUT
        bare = option or Path(following).suffix.lower() in SUFFIXES | VIDEO_SUFFIXES
        if token in {"--json", "--csv"} and bare:
            explicit.append(f"{token}={STDOUT}")
        elif token == LIST and explicit[-1:] not in (["--json"], ["--csv"]):
            listed = True
        else:
            explicit.append(token)
    if listed:
        explicit += [LIST] if "--" in explicit else ["--", LIST]
    return explicit
