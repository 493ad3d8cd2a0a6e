"""What a run reports: its origin, CSV logs, TensorBoard events, curves, AP while training."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TextIO

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.profiler import profile, schedule
from torch.utils.tensorboard.writer import SummaryWriter

import extd
from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.detector import Detector
from extd.evaluation.comparison import Detected, run_detector
from extd.evaluation.labeled import SIZES
from extd.evaluation.protocols import single
from extd.files import atomic_write
from extd.images import read_image
from extd.models.export import export_onnx
from extd.models.network import TorchNetwork
from extd.training.checkpoint import TrainState
from extd.training.recipe import Recipe, dump_recipe


class StepMetrics(NamedTuple):
    """What a step did, over all processes."""

    loss: float  # the sum of the next three
    classes: float
    boxes: float
    landmarks: float
    positives: float  # how many anchors were positive
    gradient: float  # norm before clipping


LOG = "log.csv"
VALIDATION = "validation.csv"
LOG_COLUMNS = ("step", "lr", *StepMetrics._fields, "seconds", "waited")
"""`seconds` and `waited`, for data, count from the process's first step."""
VALIDATION_COLUMNS = ("step", *SIZES)
SMOOTHING = 0.02
"""Share of the run over which the drawn loss is averaged."""


@dataclass(frozen=True, slots=True)
class RunLog:
    """Open CSV files of a run, and its TensorBoard events."""

    steps: TextIO
    validation: TextIO
    events: SummaryWriter

    def add(
        self,
        step: int,
        lr: float,
        metrics: StepMetrics,
        seconds: float,
        waited: float,
        flush: bool = False,
    ) -> None:
        """Log one step; `flush` writes to disk, and to TensorBoard."""
        values = (lr, *metrics, seconds, waited)
        _write_row(self.steps, step, values)
        if flush:
            self.steps.flush()
            for name, value in zip(LOG_COLUMNS[1:], values, strict=True):
                self.events.add_scalar(f"training/{name}", value, step)

    def add_validation(self, step: int, ap: dict[str, float]) -> bool:
        """Log AP by the size of faces; tell whether it is the best of the run so far."""
        _write_row(self.validation, step, ap.values())
        self.validation.flush()
        logged = read_columns(Path(self.validation.name))["all"]
        for size, value in ap.items():
            self.events.add_scalar(f"AP/{size}", value, step)
        return logged[-1] == max(logged)


@contextmanager
def open_log(folder: Path, step: int) -> Iterator[RunLog]:
    """The log of the run in `folder`, without the rows after `step`: those are made again.

    Raises:
        ValueError: a file has other columns.
    """
    with (
        _open_csv(folder / LOG, LOG_COLUMNS, step) as steps,
        _open_csv(folder / VALIDATION, VALIDATION_COLUMNS, step) as validation,
        SummaryWriter(str(folder / "events"), purge_step=step + 1) as events,
    ):
        yield RunLog(steps, validation, events)


def _open_csv(path: Path, columns: Sequence[str], step: int) -> TextIO:
    rows: list[list[str]] = []
    if step and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            header, *found = list(csv.reader(file)) or [list(columns)]
        if header != list(columns):
            raise ValueError(f"{path} has the columns {header}, not {list(columns)}; move it away")
        # A killed run can leave half a row.
        rows = [row for row in found if len(row) == len(columns) and int(row[0]) <= step]
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path.open("a", newline="", encoding="utf-8")


def _write_row(file: TextIO, step: int, values: Iterable[float]) -> None:
    csv.writer(file).writerow([step, *(f"{value:.6g}" for value in values)])


def read_columns(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file of a run; empty where there is none or it has no rows."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def progress_bar(console: Console) -> Progress:
    """A bar with steps, time left, loss, crops a second and the share of time without data."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, {task.fields[speed]}"),
        console=console,
    )


def profile_steps(out: Path, steps: int) -> profile:
    """A profiler that records `steps` steps, after one of warmup, in `out/profile.json`."""
    return profile(
        schedule=schedule(wait=0, warmup=1, active=steps, repeat=1),
        on_trace_ready=lambda trace: trace.export_chrome_trace(str(out / "profile.json")),
    )


def open_validation(path: str) -> list[Sample]:
    """The images to measure on, read once before hours of training depend on them."""
    if not path:
        return []
    samples = read_dataset(Path(path))
    if not any(len(sample.boxes) for sample in samples):
        raise ValueError(f"validation.path: no image of {path} has a labeled face")
    for sample in samples:
        read_image(sample.path)
    return samples


def detect_exported(network: TorchNetwork, samples: Sequence[Sample]) -> Detected:
    """What the network finds as people run it, exported to ONNX; with torch's number of threads."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path)
        return run_detector(
            partial(single, Detector(path, threads=torch.get_num_threads())), samples
        )


def plot_run(out: Path) -> Path | None:
    """Draw `curves.png` from the logs in the run folder `out`; None where nothing is logged."""
    log = {name: np.array(values) for name, values in read_columns(out / LOG).items()}
    if not log:
        return None
    validation = read_columns(out / VALIDATION)
    figure = Figure(figsize=(9, 8 if validation else 6), layout="constrained")
    axes = figure.subplots(3 if validation else 2, sharex=True)
    for name in ("loss", "classes", "boxes", "landmarks"):
        if log[name].any():
            axes[0].plot(log["step"], smooth(log[name]), label=name, linewidth=1.2)
    axes[0].set(ylabel="loss", ylim=(0, 1.3 * np.quantile(smooth(log["loss"]), 0.95)))
    axes[0].legend(frameon=False, ncols=4)
    axes[1].plot(log["step"], log["lr"], color="tab:gray")
    axes[1].set(ylabel="learning rate", ylim=(0, None))
    if validation:
        for name in VALIDATION_COLUMNS[1:]:
            axes[2].plot(validation["step"], validation[name], marker=".", label=name)
        axes[2].set(ylabel="AP at IoU 0.5", ylim=(0, 1))
        axes[2].legend(frameon=False, ncols=4, title="faces, by size", loc="lower right")
    axes[-1].set_xlabel("step")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    target = out / "curves.png"
    with atomic_write(target) as unfinished:
        figure.savefig(unfinished, dpi=130)
    return target


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and those just before it."""
    width = max(1, round(SMOOTHING * len(values)))
    total = np.concatenate([np.zeros(width), np.cumsum(values)])
    counts = np.minimum(np.arange(1, len(values) + 1), width)
    averaged: NDArray[np.float64] = (total[width:] - total[:-width]) / counts
    return averaged


def write_run_info(
    recipe: Recipe, out: Path, state: TrainState, images: int, device: torch.device
) -> None:
    """Write `recipe.yaml` and `origin.json`, to which a resumed run adds machine and command."""
    with atomic_write(out / "recipe.yaml") as partial:
        partial.write_text(dump_recipe(recipe, out.absolute()), encoding="utf-8")
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
    processes = [*earlier.get("processes", []), process]
    content = {"images": images, "data": state.data, "processes": processes}
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def git_revision() -> str | None:
    """The commit of this program's checkout, with `+` if files differ; None outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(extd.__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed copy may lie inside the checkout of another project.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+")
    except (OSError, subprocess.CalledProcessError):
        return None
