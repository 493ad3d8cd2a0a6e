"""A run drawn over its steps: losses, learning rate and average precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from extd.files import atomic_write
from extd.training.journal import LOG, VALIDATION, VALIDATION_COLUMNS, read_columns

SMOOTHING = 0.02
"""Share of the run over which the drawn loss is averaged."""


def plot_run(out: Path) -> Path | None:
    """Draw `curves.png` from the logs in the run folder `out`; None where nothing is logged."""
    log = {name: np.array(values) for name, values in read_columns(out / LOG).items()}
    if not log:
        return None
    measured = read_columns(out / VALIDATION)
    figure = Figure(figsize=(9, 8 if measured else 6), layout="constrained")
    axes = figure.subplots(3 if measured else 2, sharex=True)
    step = log["step"]
    parts = ("loss", "classes", "boxes", "first_shot", "teacher")
    for name in (part for part in parts if log[part].any()):
        axes[0].plot(step, smooth(log[name]), label=name, linewidth=1.2)
    axes[0].set(ylabel="loss", ylim=(0, 1.3 * np.quantile(smooth(log["loss"]), 0.95)))
    axes[0].legend(frameon=False, ncols=len(parts))
    axes[1].plot(step, log["rate"], color="tab:gray")
    axes[1].set(ylabel="learning rate", ylim=(0, None))
    if measured:
        for name in VALIDATION_COLUMNS[1:]:
            axes[2].plot(measured["step"], measured[name], marker=".", label=name)
        axes[2].set(ylabel="AP at IoU 0.5", ylim=(0, 1))
        axes[2].legend(frameon=False, ncols=4, title="faces, by size", loc="lower right")
    axes[-1].set_xlabel("step")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    target = out / "curves.png"
    with atomic_write(target) as partial:
        figure.savefig(partial, dpi=130)
    return target


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and those just before it."""
    width = max(1, round(SMOOTHING * len(values)))
    total = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(1, len(values) + 1) - width, 0)
    last = np.arange(1, len(values) + 1)
    averaged: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return averaged
