from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from extd.images import read_image
from extd.measure.bench import Latency, Scored, Spread
from extd.measure.benchplots import label_points, plot_ap, plot_latency

SIZES = ((320, 240), (640, 480), (1920, 1080))


def latency(name: str, milliseconds: float, size: tuple[int, int], *, staged: bool) -> Latency:
    time = Spread(milliseconds, 0.9 * milliseconds, 1.2 * milliseconds)
    stages = (size, time, time) if staged else (None, None, None)
    return Latency(name, *size, *stages, time)


def test_latencies_become_a_picture(tmp_path: Path) -> None:
    rows = [
        latency(name, factor * width * height / 1e5, (width, height), staged=name != "whole")
        for width, height in SIZES
        for name, factor in (("a", 1), ("b", 3), ("whole", 2))
    ]
    rows += [latency("fixed", 9, size, staged=False) for size in SIZES[:1]]
    path = tmp_path / "new" / "latency.png"
    plot_latency(rows, "1 thread", path)
    image = read_image(path)
    assert image.std() > 5
    plot_latency(rows[:1], "1 thread", path)
    assert not np.array_equal(read_image(path), image)


def test_ap_becomes_a_picture_though_points_coincide(tmp_path: Path) -> None:
    ap = {"easy": 0.8, "medium": 0.7, "hard": 0.6}
    results = [
        Scored(latency(name, 5, (640, 480), staged=True), "NMS 0.3", 363, ap)
        for name in ("extd-lite", "extd-lite-nano", "yunet")
    ]
    plot_ap(results, "1 thread", tmp_path / "ap.png")
    assert read_image(tmp_path / "ap.png").std() > 5


@pytest.mark.parametrize("seed", range(3))
def test_names_cover_neither_each_other_nor_points_nor_leave_the_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.column_stack([10 ** rng.uniform(0, 0.5, 8), rng.uniform(0.7, 0.9, 8)])
    points[1] = points[0] * (1.01, 1.001)
    figure = Figure(figsize=(6, 5))
    axis = figure.subplots()
    axis.plot(*points.T, "o")
    axis.set_xscale("log")
    axis.margins(0.25)
    figure.draw_without_rendering()
    bars = points[:, :1] * (0.98, 1.05)
    label_points(axis, points, bars, [f"detector-{index}" for index in range(8)])
    assert [name.get_text() for name in axis.texts] == [f"detector-{index}" for index in range(8)]
    figure.draw_without_rendering()
    # The lines that lead to the points are part of the annotations, not of their text.
    boxes = [Text.get_window_extent(name) for name in axis.texts]
    frame = axis.get_window_extent()
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        for x in (points[:, 0], *bars.T):
            pixels = axis.transData.transform(np.column_stack([x, points[:, 1]]))
            assert not any(box.contains(*pixel) for pixel in pixels)
