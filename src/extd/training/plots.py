"""Pictures of training: a run over its steps, and variants beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.measure.figures import import_figure, look_of, save, tidy
from extd.training.journal import LOG, VALIDATION, VALIDATION_COLUMNS, read_columns

SMOOTHING = 0.02
"""Share of the run over which the drawn loss is averaged."""


def plot_run(out: Path) -> Path | None:
    """Draw `curves.png` from the logs in the run folder `out`; None where nothing is logged.

    Raises:
        ImportError: Matplotlib is missing.
    """
    log = {name: np.array(values) for name, values in read_columns(out / LOG).items()}
    if not log:
        return None
    measured = read_columns(out / VALIDATION)
    figure = import_figure()(figsize=(9, 8 if measured else 6), layout="constrained")
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
        tidy(axis)
    target = out / "curves.png"
    save(figure, target)
    return target


def plot_variants(variants: Mapping[str, Mapping[str, float | None]], path: Path) -> None:
    """Draw the AP of variants, a row for each, in their order.

    Args:
        variants: by name, AP of 0 to 1 by difficulty or size of faces; None is not drawn.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(9, 1.4 + 0.28 * len(variants)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(variants))
    for index, kind in enumerate(next(iter(variants.values()))):
        color, marker = look_of(index)
        ap = np.array([values[kind] for values in variants.values()], np.float64)
        axes.plot(ap, rows, marker, color=color, label=kind, clip_on=False)
    axes.set(xlabel="AP", xlim=(0, None), yticks=rows, yticklabels=variants)
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    tidy(axes)
    save(figure, path)


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and those just before it."""
    width = max(1, round(SMOOTHING * len(values)))
    total = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(1, len(values) + 1) - width, 0)
    last = np.arange(1, len(values) + 1)
    averaged: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return averaged
