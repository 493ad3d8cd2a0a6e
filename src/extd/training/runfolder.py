"""What a run leaves on disk beside its weights, and what a person sees of it."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from extd.training.recipe import Recipe

LOG_COLUMNS = ("step", "rate", "loss", "classes", "boxes", "positives", "gradient", "seconds")


def default_cache() -> Path:
    """Where decoded pictures are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "extd"


def write_recipe(recipe: Recipe, out: Path) -> None:
    """Keep the recipe, with every default written out, in the run folder.

    `extd train OUT/recipe.yaml` reads it again: the label file is named relative to `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    labels = os.path.relpath(recipe.data.labels, out)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, labels=labels))
    content = yaml.safe_dump(_plain(dataclasses.asdict(recipe)), sort_keys=False)
    partial = out / "recipe.yaml.partial"
    partial.write_text(content, encoding="utf-8")
    partial.replace(out / "recipe.yaml")


def _plain(value: Any) -> Any:
    """Tuples as lists, which is how YAML writes sequences."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def open_log(path: Path, step: int) -> None:
    """Begin `log.csv`, or drop its rows after `step`, which a resumed run makes again."""
    rows: list[list[str]] = []
    if step and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            whole = [row for row in list(csv.reader(file))[1:] if len(row) == len(LOG_COLUMNS)]
        rows = [row for row in whole if int(row[0]) <= step]
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([LOG_COLUMNS, *rows])
    partial.replace(path)


def append_log(path: Path, rows: Sequence[Sequence[float]]) -> None:
    """Add rows of `LOG_COLUMNS`."""
    with path.open("a", newline="", encoding="utf-8") as file:
        for step, *values in rows:
            csv.writer(file).writerow([int(step), *(f"{value:.6g}" for value in values)])


def progress_bar(console: Console) -> Progress:
    """A bar with steps, time left and the loss."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        console=console,
    )


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the loop ends between two steps."""
    event = threading.Event()

    def set_event(number: int, frame: FrameType | None) -> None:
        event.set()

    before = {s: signal.signal(s, set_event) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
