"""Precision-recall curves: the official ones read, all of them written as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from extd.files import atomic_write
from extd.measure.wider import DIFFICULTIES, Curve, load_mat

PATTERN = "wider_pr_info_*_{}_val.mat"
"""How WIDER FACE's eval_tools name the curve of a detector on one difficulty."""

Curves = Mapping[str, Mapping[str, Curve]]
"""By detector and difficulty."""


def load_official(folder: Path) -> dict[str, dict[str, Curve]]:
    """The curves in `folder`, and in the folders in it, by detector and difficulty.

    Raises:
        ImportError: SciPy is missing.
        FileNotFoundError: there is none.
        ValueError: a file is no such curve; the message gives its path.
    """
    found: dict[str, dict[str, Curve]] = {}
    for difficulty in DIFFICULTIES:
        for path in sorted(folder.rglob(PATTERN.format(difficulty))):
            # The tools spell it so.
            content = load_mat(path, "pr_cruve", "legend_name")
            points = np.asarray(content["pr_cruve"], np.float64)
            if points.ndim != 2 or points.shape[1] != 2:
                raise ValueError(f"{path}: pr_cruve has the shape {points.shape}, not (N, 2)")
            name = str(np.ravel(content["legend_name"])[0])
            found.setdefault(name, {})[difficulty] = Curve(points[:, 1], points[:, 0])
    if not found:
        raise FileNotFoundError(f"{folder} has no {PATTERN.format('*')}")
    return found


def write_curves(curves: Curves, path: Path) -> None:
    """Write a table of every tenth point: detector, difficulty, recall, precision."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["detector", "difficulty", "recall", "precision"])
        for name, by_difficulty in curves.items():
            for difficulty, curve in by_difficulty.items():
                points = zip(curve.recall[9::10], curve.precision[9::10], strict=True)
                rows = [(f"{recall:.4f}", f"{precision:.4f}") for recall, precision in points]
                table.writerows([name, difficulty, *row] for row in rows)
