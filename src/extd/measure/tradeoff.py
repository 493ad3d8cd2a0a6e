"""AP against multiply-adds, time and parameters: our models, and points that others published.

Two kinds of AP are drawn apart: on some of WIDER FACE's validation pictures, measured by extd at
one scale, and on all 3,226, by the authors' own protocols. They are not comparable.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from extd.catalog import ModelInfo
from extd.measure.benchplots import label_points
from extd.measure.figures import import_figure, plain_ticks, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Difficulty = Literal["easy", "medium", "hard"]
Cost = Literal["macs", "time", "parameters"]

PUBLISHED = Path(__file__).with_name("published.csv")
WHOLE = 3226
"""Pictures of WIDER FACE's validation set."""
UNIT = "yunet_n_dynamic"
"""The detector whose time is 1."""
TITLES: dict[Cost, str] = {
    "macs": "million multiply-adds at 640x480",
    "time": "network at 640x480, one thread, YuNet-n = 1",
    "parameters": "thousand parameters",
}
SCALES: dict[Cost, float] = {"macs": 1e-6, "time": 1.0, "parameters": 1e-3}


@dataclass(frozen=True, slots=True)
class Point:
    """A detector with its accuracy and cost.

    Attributes:
        name: to be shown.
        detector: its name in `extd models` or `extd bench`, or empty.
        images: how many validation pictures its AP covers.
        ap: by difficulty, 0 to 1; empty where none is known.
        parameters: or None.
        macs: multiply-adds at 640 x 480, or None.
        time: of the network at 640 x 480 on one thread, in those of YuNet-n, or None.
        s3fd_macs: how many times fewer multiply-adds than S3FD its authors count, or None.
        s3fd_parameters: likewise.
        source: where the numbers come from.
    """

    name: str
    detector: str
    images: int
    ap: dict[str, float]
    parameters: int | None
    macs: int | None
    time: float | None
    s3fd_macs: float | None
    s3fd_parameters: float | None
    source: str


def load_published(path: Path = PUBLISHED) -> list[Point]:
    """The points of a file like the one in the package, which names a source for each."""
    points = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ap = {kind: float(row[kind]) for kind in ("easy", "medium", "hard") if row[kind]}
            numbers = {
                kind: float(row[kind]) if row[kind] else None
                for kind in ("time", "s3fd_macs", "s3fd_parameters")
            }
            counts = {
                kind: int(row[kind]) if row[kind] else None for kind in ("parameters", "macs")
            }
            points.append(
                Point(
                    row["name"],
                    row["detector"],
                    int(row["images"]),
                    ap,
                    counts["parameters"],
                    counts["macs"],
                    numbers["time"],
                    numbers["s3fd_macs"],
                    numbers["s3fd_parameters"],
                    row["source"],
                )
            )
    return points


def catalog_points(catalog: Sequence[ModelInfo]) -> list[Point]:
    """The models whose weights ship and were measured."""
    points = []
    for model in catalog:
        weights = model.weights
        if weights is None or weights.ap is None or weights.images is None:
            continue
        ap = {"easy": weights.ap.easy, "medium": weights.ap.medium, "hard": weights.ap.hard}
        points.append(
            Point(
                model.name,
                model.name,
                weights.images,
                ap,
                model.parameters,
                model.macs,
                None,
                None,
                None,
                "weights in the package, extd eval wider",
            )
        )
    return points


def benched_points(path: Path, points: Sequence[Point]) -> list[Point]:
    """`points` with what a run of `extd bench` measured in place of what was known.

    Args:
        path: the ap.csv that `extd bench --images DIR --ground-truth DIR` wrote.
        points: tell parameters and multiply-adds; those of the same detector on as many pictures
            are replaced.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or YuNet-n, the unit of time, was not measured.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}; extd bench --images DIR --ground-truth DIR writes an ap.csv"
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        times = {row["detector"]: float(row["network_ms"] or row["whole_ms"]) for row in rows}
        if UNIT not in times:
            raise ValueError(f"{path} has no {UNIT}, whose time is the unit; give its file too")
        measured = []
        for row in rows:
            name = row["detector"]
            known = next((point for point in points if point.detector == name), None)
            measured.append(
                Point(
                    known.name if known else name,
                    name,
                    int(row["images"]),
                    {kind: float(row[kind]) for kind in ("easy", "medium", "hard")},
                    known.parameters if known else None,
                    known.macs if known else None,
                    times[name] / times[UNIT],
                    None,
                    None,
                    "extd bench",
                )
            )
    except KeyError as error:
        raise ValueError(f"{path} is no ap.csv of extd bench: it has no column {error}") from error
    replaced = {(point.detector, point.images) for point in measured}
    kept = [point for point in points if (point.detector, point.images) not in replaced]
    return [*measured, *kept]


def plot_tradeoff(points: Sequence[Point], difficulty: Difficulty, path: Path) -> None:
    """Draw AP on faces of one difficulty against multiply-adds, time and parameters.

    A cost that no point has gets no panel; a point without it, or without AP, is not in the panel.

    Args:
        points: detectors; the EXTD family is red, others are blue.
        difficulty: easy, medium or hard.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
        ValueError: no point has AP and a cost.
    """
    panels = {cost: _with(points, cost, difficulty) for cost in TITLES}
    panels = {cost: chosen for cost, chosen in panels.items() if chosen}
    if not panels:
        raise ValueError(f"no detector has AP on {difficulty} faces and a cost to set against it")
    figure = import_figure()(figsize=(5.2 * len(panels), 5.2), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    axes = dict(zip(panels, grid[0], strict=True))
    for cost, axis in axes.items():
        for point in panels[cost]:
            _draw(axis, point, cost, difficulty)
        axis.set(xscale="log", xlabel=TITLES[cost])
        axis.margins(x=0.25, y=0.08)
        tidy(axis)
        plain_ticks(axis.xaxis)
    grid[0, 0].set_ylabel(f"AP, {difficulty} faces")
    partial = sorted({point.images for point in points if point.ap and point.images != WHOLE})
    some = ", ".join(f"{images:,}" for images in partial)
    figure.suptitle(
        f"Filled: {some} pictures of WIDER FACE's validation set, measured by extd at one scale. "
        f"Hollow: all {WHOLE:,}, published, each by its own protocol.",
        fontsize=9,
        color="0.35",
    )
    figure.draw_without_rendering()
    for cost, axis in axes.items():
        places = np.array([_place(point, cost, difficulty) for point in panels[cost]])
        names = [point.name for point in panels[cost]]
        label_points(axis, places, places[:, [0, 0]], names)
    save(figure, path)


def _with(points: Sequence[Point], cost: Cost, difficulty: Difficulty) -> list[Point]:
    return [
        point for point in points if difficulty in point.ap and getattr(point, cost) is not None
    ]


def _place(point: Point, cost: Cost, difficulty: Difficulty) -> tuple[float, float]:
    return getattr(point, cost) * SCALES[cost], point.ap[difficulty]


def _draw(axis: Axes, point: Point, cost: Cost, difficulty: Difficulty) -> None:
    x, y = _place(point, cost, difficulty)
    color = "C3" if point.name.lower().startswith("extd") else "C0"
    whole = point.images == WHOLE
    axis.plot(
        x, y, "s" if whole else "o", color=color, markerfacecolor="none" if whole else color, ms=6
    )


def tradeoff_row(point: Point) -> dict[str, object]:
    """A point for a CSV file."""
    return {
        "name": point.name,
        "images": point.images,
        **{kind: point.ap.get(kind) for kind in ("easy", "medium", "hard")},
        "parameters": point.parameters,
        "macs_640x480": point.macs,
        "time_yunet_n_1": None if point.time is None else round(point.time, 3),
        "source": point.source,
    }
