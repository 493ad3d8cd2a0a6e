"""Draw precision over recall on WIDER FACE, a panel for each difficulty.

    extd eval wider --images WIDER_val/images --ground-truth ground_truth --save-predictions found/a
    python paper/precision_recall.py found/a --ground-truth ground_truth --out results/pr

Writes pr.png, and pr.csv with every tenth point.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import STYLE, save_figure
from recall import read_all

from extd.data.wider import read_mat
from extd.evaluation.wider import DIFFICULTIES, Curve, evaluate, load_ground_truth
from extd.files import atomic_write


def load_official(folder: Path) -> dict[str, dict[str, Curve]]:
    """The curves of other detectors in WIDER's eval_tools, by name and difficulty.

    Raises:
        FileNotFoundError: `folder` holds no wider_pr_info_*_val.mat.
        ValueError: a file is no such curve; the message gives its path.
    """
    curves: dict[str, dict[str, Curve]] = {}
    for difficulty in DIFFICULTIES:
        for path in sorted(folder.rglob(f"wider_pr_info_*_{difficulty}_val.mat")):
            # The tools spell it so.
            content = read_mat(path, "pr_cruve", "legend_name")
            points = np.asarray(content["pr_cruve"], np.float64)
            if points.ndim != 2 or points.shape[1] != 2:
                raise ValueError(f"{path}: pr_cruve has the shape {points.shape}, not (N, 2)")
            name = str(np.ravel(content["legend_name"])[0])
            curves.setdefault(name, {})[difficulty] = Curve(points[:, 1], points[:, 0])
    if not curves:
        raise FileNotFoundError(f"there is no wider_pr_info_*_val.mat in {folder}")
    return curves


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("predictions", type=Path, nargs="+", help="folders in WIDER's format")
    parser.add_argument("--ground-truth", type=Path, required=True, help="official .mat files")
    parser.add_argument("--official", type=Path, help="other detectors: wider_pr_info_*.mat")
    parser.add_argument("--out", type=Path, required=True, help="folder for pr.png and pr.csv")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    truth = load_ground_truth(options.ground_truth)
    found = read_all(options.predictions, truth)
    curves = {name: evaluate(predictions, truth).curves for name, predictions in found.items()}
    measured = len(curves)
    if options.official:
        curves |= load_official(options.official)

    figure, axes = plt.subplots(1, 3, figsize=(12, 5), sharey=True)
    images = len(next(iter(found.values())))
    figure.suptitle(f"WIDER FACE validation, {images:,} images")
    for axis, difficulty in zip(axes, DIFFICULTIES, strict=True):
        for index, (name, by_difficulty) in enumerate(curves.items()):
            if curve := by_difficulty.get(difficulty):
                # Published curves are of the whole validation set: dashed.
                line = "-" if index < measured else "--"
                label = f"{curve.ap:.3f} {name}"
                axis.plot(curve.recall, curve.precision, line, color=f"C{index}", label=label)
        axis.set(title=difficulty, xlabel="recall", xlim=(0, 1), ylim=(0, 1.01))
        axis.legend(loc="lower left", title="AP")
    axes[0].set_ylabel("precision")
    save_figure(figure, options.out / "pr.png")
    points = [
        {"detector": name, "difficulty": difficulty, "recall": recall, "precision": precision}
        for name, by_difficulty in curves.items()
        for difficulty, curve in by_difficulty.items()
        for recall, precision in zip(curve.recall[9::10], curve.precision[9::10], strict=True)
    ]
    with atomic_write(options.out / "pr.csv") as partial:
        pd.DataFrame(points).to_csv(partial, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
