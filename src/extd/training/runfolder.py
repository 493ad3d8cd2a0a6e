"""What a run leaves on disk beside its weights, and what a person sees of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import extd
from extd.files import atomic_write
from extd.signals import handle_signals
from extd.training.recipe import Recipe
from extd.training.recipefile import dump_recipe
from extd.training.state import State


def default_cache() -> Path:
    """Where decoded pictures are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "extd"


def write_recipe(recipe: Recipe, out: Path) -> None:
    """Keep the recipe, with every default written out, in the run folder.

    `extd train OUT/recipe.yaml` reads it again: paths in it are relative to `out`.
    """
    with atomic_write(out / "recipe.yaml") as partial:
        partial.write_text(dump_recipe(recipe, out.absolute()), encoding="utf-8")


def write_origin(out: Path, state: State, pictures: int, device: torch.device) -> None:
    """Keep in `origin.json` what the weights came from: data, program, machine, command.

    A run that goes on adds its program, machine and command to those from before.

    Args:
        out: run folder.
        state: of the run, before its next step.
        pictures: how many there are.
        device: where the run computes.
    """
    path = out / "origin.json"
    earlier = json.loads(path.read_text("utf-8")) if state.step and path.exists() else {}
    process = {
        "from_step": state.step,
        "extd": extd.__version__,
        "git": git_revision(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "precision": state.precision,
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.argv),
    }
    content = {
        "pictures": pictures,
        "data": state.data,
        "processes": [*earlier.get("processes", []), process],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def git_revision() -> str | None:
    """The commit of this program's checkout, with `+` if files differ; None outside of one."""
    folder = Path(extd.__file__).parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    # An installed copy may lie inside the checkout of another project.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = git("rev-parse", "HEAD")
    return revision and revision + ("+" if git("status", "--porcelain", ".") else "")


def progress_bar(console: Console) -> Progress:
    """A bar with steps, time left, loss, crops a second and the share of time without data."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, {task.fields[speed]}"),
        console=console,
    )


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the loop ends between two steps."""
    event = threading.Event()
    with handle_signals(lambda number, frame: event.set()):
        yield event
