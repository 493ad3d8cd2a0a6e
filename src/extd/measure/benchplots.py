"""Pictures of what `bench` measures: latency against resolution, AP against latency."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from extd.measure.bench import Latency, Scored, Spread
from extd.measure.figures import import_figure, look_of, plain_ticks, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_SIZE = 8.5
"""Of names beside points."""
MARKER = 6
"""Half the side of the square that a point covers, in pixels."""


def plot_latency(latencies: Sequence[Latency], caption: str, path: Path) -> None:
    """Draw the network's time, and that of post-processing, against the size of the picture.

    Bars are quartiles. A detector that shows no stages is drawn by its whole time, dashed. One
    whose network always takes the same size is drawn at that size alone.

    Args:
        latencies: of several detectors and sizes.
        caption: what was measured, and how.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(1, 2)
    names = list(dict.fromkeys(latency.name for latency in latencies))
    for index, name in enumerate(names):
        rows = sorted(
            (row for row in latencies if row.name == name), key=lambda row: row.width * row.height
        )
        sizes = [row.size for row in rows]
        inputs = {row.network_input for row in rows} - {None}
        if len(inputs) == 1 < len(rows):
            rows, sizes = rows[:1], [size for size in inputs if size]
        style = look_of(index)
        pixels = np.array([width * height / 1e6 for width, height in sizes])
        dashed = rows[0].network is None
        compared = [row.compared for row in rows]
        _curve(axes[0], pixels, compared, rows[0].label, style, dashed=dashed)
        after = [row.postprocessing for row in rows if row.postprocessing is not None]
        if after:
            _curve(axes[1], pixels, after, None, style, dashed=False)
    for axis, title in zip(axes, ("network", "post-processing"), strict=True):
        axis.set(title=title, xlabel="picture", ylabel="milliseconds", xscale="log", yscale="log")
        tidy(axis)
        _tick_sizes(axis, sorted({row.size for row in latencies}))
        plain_ticks(axis.yaxis)
    figure.legend(loc="outside lower center", frameon=False, ncols=4, fontsize=9)
    figure.suptitle(caption, fontsize=9, color="0.35")
    save(figure, path)


def plot_ap(results: Sequence[Scored], caption: str, path: Path) -> None:
    """Draw AP on easy and hard faces against latency, each detector's name beside its point.

    Args:
        results: of several detectors, their latencies at one size; bars are quartiles.
        caption: what was measured, and how.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(11, 5.4), layout="constrained")
    figure.suptitle(caption, fontsize=9, color="0.35")
    width, height = results[0].latency.size
    axes = dict(zip(("hard", "easy"), figure.subplots(1, 2), strict=True))
    for difficulty, axis in axes.items():
        for index, result in enumerate(results):
            time, ap = result.latency.compared, result.ap[difficulty]
            bars = [[time.median - time.lower], [time.upper - time.median]]
            color, marker = look_of(index)
            axis.errorbar(time.median, ap, xerr=bars, color=color, marker=marker, capsize=2)
        axis.set(title=f"{difficulty} faces", ylabel="AP", xscale="log")
        axis.set_xlabel(f"milliseconds of the network at {width}x{height}")
        axis.margins(x=0.2, y=0.15)
        tidy(axis)
        plain_ticks(axis.xaxis)
    # Names are placed last: only now is it settled where the points are.
    figure.draw_without_rendering()
    for difficulty, axis in axes.items():
        points = np.array([[one.latency.compared.median, one.ap[difficulty]] for one in results])
        times = [result.latency.compared for result in results]
        quartiles = np.array([[time.lower, time.upper] for time in times])
        label_points(axis, points, quartiles, [result.latency.label for result in results])
    save(figure, path)


def label_points(
    axis: Axes, points: NDArray[np.float64], bars: NDArray[np.float64], names: Sequence[str]
) -> None:
    """Write names beside points, each where it covers other names, points and bars least.

    Args:
        axis: with its final limits.
        points: [N, 2] in the units of the axis.
        bars: [N, 2], from where to where on x each point's bar goes, in the same units.
        names: of the N points.
    """
    pixels = axis.transData.transform(points)
    frame = np.array(axis.get_window_extent().extents)
    starts, ends = (axis.transData.transform(np.column_stack([x, points[:, 1]])) for x in bars.T)
    taken = list(np.concatenate([starts - MARKER, ends + MARKER], axis=1))
    for point, pixel, name in zip(points, pixels, names, strict=True):
        probe = axis.text(0, 0, name, fontsize=FONT_SIZE)
        size = np.array(probe.get_window_extent().size)
        probe.remove()
        places: list[tuple[float, int, tuple[int, int], NDArray[np.float64]]] = []
        for distance, (right, up) in product((8, 18, 30, 44), _DIRECTIONS):
            direction = np.array([right, up])
            # The text is held by the corner or side that is nearest to the point.
            hold = size * (1 - direction) / 2
            corner = pixel + distance * direction * axis.figure.dpi / 72 - hold
            box = np.concatenate([corner, corner + size])
            outside = np.maximum([*(frame - box)[:2], *(box - frame)[2:]], 0).sum()
            covered = sum(_shared_area(box, other) for other in taken)
            places.append((covered + 100 * outside, distance, (right, up), box))
        _, distance, (right, up), box = min(places, key=lambda place: place[:2])
        axis.annotate(
            name,
            (point[0], point[1]),
            xytext=(distance * right, distance * up),
            textcoords="offset points",
            ha=("right", "center", "left")[right + 1],
            va=("top", "center", "bottom")[up + 1],
            fontsize=FONT_SIZE,
            # A line from the point shows whose name it is.
            arrowprops={"arrowstyle": "-", "color": "0.7", "lw": 0.6, "shrinkA": 0},
        ).set_in_layout(False)
        taken.append(box)


_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def _shared_area(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Area that two boxes x1, y1, x2, y2 share."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(np.maximum(sides, 0).prod())


def _curve(
    axis: Axes,
    pixels: NDArray[np.float64],
    spreads: Sequence[Spread],
    label: str | None,
    style: tuple[str, str],
    *,
    dashed: bool,
) -> None:
    """Medians, with bars from the lower to the upper quartile."""
    median, lower, upper = (
        np.array([getattr(spread, field) for spread in spreads])
        for field in ("median", "lower", "upper")
    )
    axis.errorbar(
        pixels,
        median,
        yerr=[median - lower, upper - median],
        label=label,
        color=style[0],
        marker=style[1],
        markersize=5,
        linewidth=1.3,
        linestyle="--" if dashed else "-",
        capsize=2,
    )


def _tick_sizes(axis: Axes, sizes: Sequence[tuple[int, int]]) -> None:
    """Tick the axis of megapixels at the sizes of pictures that were measured."""
    from matplotlib.ticker import NullLocator

    axis.set_xticks([width * height / 1e6 for width, height in sizes])
    axis.set_xticklabels([f"{width}x{height}" for width, height in sizes], rotation=20, fontsize=8)
    axis.xaxis.set_minor_locator(NullLocator())
