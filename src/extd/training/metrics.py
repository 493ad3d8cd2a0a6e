"""The numbers of a run: CSV files, TensorBoard events, curves, and AP on validation images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.profiler import profile, schedule
from torch.utils.tensorboard.writer import SummaryWriter

from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.detector import Detector
from extd.evaluation.labeled import SIZES, evaluate_labeled
from extd.evaluation.protocols import single
from extd.files import atomic_write
from extd.images import read_image
from extd.models.export import export_onnx
from extd.models.network import TorchNetwork


class StepMetrics(NamedTuple):
    """What a step did, over all processes.

    Attributes:
        loss: what was minimized, the sum of the next three.
        classes, boxes: the two parts of equation 3.
        landmarks: the landmark loss.
        positives: how many anchors were positive.
        gradient: norm of the gradient before clipping.
    """

    loss: float
    classes: float
    boxes: float
    landmarks: float
    positives: float
    gradient: float


LOG = "log.csv"
VALIDATION = "validation.csv"
LOG_COLUMNS = ("step", "lr", *StepMetrics._fields, "seconds", "waited")
"""`seconds` and `waited`, for data, count from the process's first step."""
VALIDATION_COLUMNS = ("step", *SIZES)
SMOOTHING = 0.02
"""Share of the run over which the drawn loss is averaged."""


@dataclass(frozen=True, slots=True)
class RunLog:
    """The log of the run in `folder`; rows of `LOG_COLUMNS` are kept until `flush`."""

    folder: Path
    events: SummaryWriter
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def add(
        self, step: int, lr: float, metrics: StepMetrics, seconds: float, waited: float
    ) -> None:
        """Note one step."""
        self.rows.append((step, lr, *metrics, seconds, waited))

    def add_validation(self, step: int, ap: dict[str, float]) -> None:
        """Note AP by the size of faces."""
        _append(self.folder / VALIDATION, [(step, *ap.values())])
        for size, value in ap.items():
            self.events.add_scalar(f"AP/{size}", value, step)

    def flush(self) -> None:
        """Write what was noted."""
        _append(self.folder / LOG, self.rows)
        for step, *values in self.rows[-1:]:
            for name, value in zip(LOG_COLUMNS[1:], values, strict=True):
                self.events.add_scalar(f"training/{name}", value, int(step))
        self.rows.clear()


@contextmanager
def open_log(folder: Path, step: int) -> Iterator[RunLog]:
    """The log of the run in `folder`, without the rows after `step`: those are made again.

    Raises:
        ValueError: a file has other columns.
    """
    _begin(folder / LOG, LOG_COLUMNS, step)
    _begin(folder / VALIDATION, VALIDATION_COLUMNS, step)
    with SummaryWriter(str(folder / "events"), purge_step=step + 1) as events:
        log = RunLog(folder, events)
        try:
            yield log
        finally:
            log.flush()


def _begin(path: Path, columns: Sequence[str], step: int) -> None:
    rows: list[list[str]] = []
    if step and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            header, *found = list(csv.reader(file)) or [list(columns)]
        if header != list(columns):
            raise ValueError(f"{path} has the columns {header}, not {list(columns)}; move it away")
        # A killed run can leave half a row.
        rows = [row for row in found if len(row) == len(columns) and int(row[0]) <= step]
    with (
        atomic_write(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([columns, *rows])


def _append(path: Path, rows: Sequence[Sequence[float]]) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        for step, *values in rows:
            csv.writer(file).writerow([int(step), *(f"{value:.6g}" for value in values)])


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


@contextmanager
def profile_steps(out: Path, steps: int) -> Iterator[Callable[[], None]]:
    """Records the first `steps` steps after one of warmup, in `out/profile.json`.

    Yields what is to be called after every step.
    """
    if not steps:
        yield lambda: None
        return
    with profile(
        schedule=schedule(wait=0, warmup=1, active=steps, repeat=1),
        on_trace_ready=lambda trace: trace.export_chrome_trace(str(out / "profile.json")),
    ) as trace:
        yield trace.step


def open_validation(path: str) -> list[Sample]:
    """The images to measure on, each read once before hours of training depend on it.

    Raises:
        FileNotFoundError: the labels or an image are missing.
        ValueError: an image is broken, or none has a face.
    """
    samples = read_dataset(Path(path))
    if not any(len(sample.boxes) for sample in samples):
        raise ValueError(f"validation.path: no image of {path} has a labeled face")
    for sample in samples:
        read_image(sample.path)
    return samples


def average_precision(
    network: TorchNetwork, samples: Sequence[Sample], threads: int
) -> dict[str, float]:
    """AP by the size of faces (`extd.evaluation.labeled.SIZES`), by the detector that people run.

    Args:
        network: in evaluation mode, on any device; it is left as it is.
        samples: labeled, with a face among them.
        threads: of ONNX Runtime.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path)
        detector = Detector(path, threads=threads)
        return evaluate_labeled(partial(single, detector), samples).ap


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
    total = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - width, 0)
    averaged: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return averaged
