"""Draw AP against multiply-adds, time and parameters: our models and published ones.

    python paper/tradeoff.py --out results/tradeoff
    python paper/tradeoff.py --accuracy results/bench/ap.csv --out results/tradeoff

AP measured here on a part of WIDER FACE's validation set at one scale and AP that authors published
for all of it, each by its own protocol, cannot be compared and are drawn apart. tradeoff.csv names
every source.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from adjustText import adjust_text
from figures import STYLE, save_figure

from extd.catalog import load_catalog
from extd.files import atomic_write
from extd.models.config import LITE_CONFIGS, PAPER_CONFIGS

HERE = Path(__file__).parent
ALL_IMAGES = 3226
"""Of WIDER FACE's validation set."""
TIME_UNIT = "yunet_n_dynamic"
"""The detector whose time is 1."""
COSTS = {
    "macs": "multiply-adds at 640x480",
    "time": "network at 640x480, one thread, YuNet-n = 1",
    "parameters": "parameters",
}
COLUMNS = ["name", "images", "easy", "medium", "hard", *COSTS, "source"]


def known_detectors() -> pd.DataFrame:
    """The models of the paper's tables whose weights ship, then the points of published.csv."""
    names = {*LITE_CONFIGS, *(config.name for config in PAPER_CONFIGS)}
    ours = [
        {
            "name": model.name,
            "detector": model.name,
            "images": model.weights.images,
            "easy": model.weights.float32.ap.easy,
            "medium": model.weights.float32.ap.medium,
            "hard": model.weights.float32.ap.hard,
            "parameters": model.parameters,
            "macs": model.macs,
            "source": "weights in the package, extd eval wider",
        }
        for model in load_catalog()
        if model.name in names and model.weights and model.weights.float32.ap
    ]
    return pd.concat([pd.DataFrame(ours), pd.read_csv(HERE / "published.csv")], ignore_index=True)


def with_measured(known: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`known` with the AP and times of `path` in place of those of the same images.

    Args:
        known: tells names, parameters and multiply-adds, by detector.
        path: the ap.csv of benchmarks/accuracy.py, with YuNet-n in it.

    Raises:
        ValueError: the file has no YuNet-n, whose time is the unit.
    """
    measured = pd.read_csv(path)
    times = measured["network_ms"].fillna(measured["whole_ms"])
    unit = times[measured["detector"] == TIME_UNIT]
    if unit.empty:
        raise ValueError(f"{path} has no {TIME_UNIT}, whose time is the unit; measure it too")
    costs = known.dropna(subset="detector").drop_duplicates("detector")
    measured = measured[["detector", "images", "easy", "medium", "hard"]].merge(
        costs[["detector", "name", "parameters", "macs"]], "left", "detector"
    )
    measured["name"] = measured["name"].fillna(measured["detector"])
    measured["time"] = times / unit.iloc[0]
    measured["source"] = "benchmarks/accuracy.py"
    both = pd.concat([measured, known], ignore_index=True)
    # Rows without a detector are checkpoints measured once, all different.
    replaced = both.duplicated(["detector", "images"]) & both["detector"].notna()
    return both[~replaced]


def plot(points: pd.DataFrame, difficulty: str, path: Path) -> None:
    """Draw AP on faces of one difficulty against every cost."""
    figure, axes = plt.subplots(1, len(COSTS), figsize=(15.6, 5.2), sharey=True)
    for axis, (cost, label) in zip(axes, COSTS.items(), strict=True):
        drawn = points.dropna(subset=[cost, difficulty])
        for point in drawn.itertuples():
            published = point.images == ALL_IMAGES
            axis.plot(
                getattr(point, cost),
                getattr(point, difficulty),
                "s" if published else "o",
                color="C3" if str(point.name).lower().startswith("extd") else "C0",
                markerfacecolor="none" if published else None,
            )
        axis.set(xscale="log", xlabel=label)
        places = zip(drawn[cost], drawn[difficulty], drawn["name"], strict=True)
        texts = [axis.text(*place, fontsize=8) for place in places]
        adjust_text(texts, ax=axis, arrowprops={"arrowstyle": "-", "color": "0.7"})
    axes[0].set_ylabel(f"AP, {difficulty} faces")
    part = ", ".join(f"{n:,}" for n in sorted(points["images"].unique()) if n != ALL_IMAGES)
    figure.suptitle(
        f"Filled: {part} images of WIDER FACE's validation set, measured by extd at one scale. "
        f"Hollow: all {ALL_IMAGES:,}, published, each by its own protocol."
    )
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accuracy", type=Path, help="ap.csv of benchmarks/accuracy.py")
    parser.add_argument("--difficulty", choices=["easy", "medium", "hard"], default="hard")
    parser.add_argument("--out", type=Path, required=True, help="folder for figure and table")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    points = known_detectors()
    if options.accuracy:
        points = with_measured(points, options.accuracy)
    points = points.dropna(subset=options.difficulty)
    plot(points, options.difficulty, options.out / "tradeoff.png")
    # The names that docs/results has always had.
    columns = {"macs": "macs_640x480", "time": "time_yunet_n_1"}
    with atomic_write(options.out / "tradeoff.csv") as partial:
        points[COLUMNS].rename(columns=columns).to_csv(partial, index=False)


if __name__ == "__main__":
    main()
