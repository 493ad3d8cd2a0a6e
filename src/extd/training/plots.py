"""Variants of a recipe beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from extd.measure.figures import import_figure, look_of, save, tidy


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
