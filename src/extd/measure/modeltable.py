"""Table 1 of the paper: what each network costs, and how good its weights are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extd.catalog import AveragePrecision
from extd.measure.benchplots import label_points
from extd.measure.benchtables import markdown
from extd.measure.figures import import_figure, plain_ticks, save, tidy

S3FD = "s3fd-vgg16"
"""The network that the paper compares with."""


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """What a network costs.

    Attributes:
        name: of the model.
        parameters: trainable ones; bytes of the weights in float32 are four times as many.
        macs: multiply-adds of the convolutions at 640 x 480, operator by operator.
        macs_square: the same at 640 x 640.
        hooked_macs_square: the same by a counter that sees a shared module once.
        peak_activations: bytes of pictures and maps at 640 x 480, at most.
    """

    name: str
    parameters: int
    macs: int
    macs_square: int
    hooked_macs_square: int
    peak_activations: int


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of the table.

    Attributes:
        cost: of the network.
        onnx_bytes: of the model's ONNX file; None where no weights ship.
        ap: of its weights on `images` validation pictures at one scale, or None.
        images: None without AP.
        paper_macs: how many times fewer multiply-adds than S3FD the paper counts, or None.
        paper_parameters: how many times fewer parameters, or None.
    """

    cost: NetworkCost
    onnx_bytes: int | None = None
    ap: AveragePrecision | None = None
    images: int | None = None
    paper_macs: float | None = None
    paper_parameters: float | None = None


def model_table(rows: Sequence[TableRow]) -> tuple[list[str], list[list[str]]]:
    """The table's heading and cells, to read.

    "times fewer" is than S3FD, with the paper's claim in brackets.

    Raises:
        ValueError: S3FD is not among `rows`.
    """
    s3fd = _s3fd(rows)
    heading = ["model", "parameters", "times fewer", "weights, kB", "ONNX file, kB"]
    heading += ["M multiply-adds, 640x480", "640x640", "times fewer", "hooked, 640x640"]
    heading += ["peak maps, MB", "AP easy", "medium", "hard"]
    cells = []
    for row in rows:
        cost, ap = row.cost, row.ap
        cells.append(
            [
                cost.name,
                f"{cost.parameters:,}",
                _ratio(s3fd.parameters / cost.parameters, row.paper_parameters),
                f"{4 * cost.parameters / 1e3:,.0f}",
                "-" if row.onnx_bytes is None else f"{row.onnx_bytes / 1e3:,.0f}",
                f"{cost.macs / 1e6:,.0f}",
                f"{cost.macs_square / 1e6:,.0f}",
                _ratio(s3fd.macs_square / cost.macs_square, row.paper_macs),
                f"{cost.hooked_macs_square / 1e6:,.0f}",
                f"{cost.peak_activations / 1e6:.1f}",
                *([f"{x:.3f}" for x in (ap.easy, ap.medium, ap.hard)] if ap else ["-"] * 3),
            ]
        )
    return heading, cells


def table_markdown(rows: Sequence[TableRow]) -> str:
    """The table in Markdown, with what its columns mean."""
    heading, cells = model_table(rows)
    covered = sorted({row.images for row in rows if row.images is not None})
    pictures = ", ".join(f"{images:,}" for images in covered) or "no"
    return markdown(heading, cells, texts=1) + NOTES.format(pictures=pictures)


NOTES = """
- times fewer: than S3FD (`s3fd-vgg16`); in brackets what the paper claims.
- weights: the parameters in float32, 4 bytes each. The ONNX file holds the graph too.
- multiply-adds: of the convolutions, counted as operators run. A counter that hooks modules and
  keeps one figure for each, as "hooked" does, sees of the six passes through F only the last.
- peak maps: most bytes of pictures and maps at once at 640x480; every operator writes a new tensor,
  which lives until its last reader has run. Runtimes that join operators need less.
- AP: WIDER FACE's validation set, {pictures} pictures, one scale (protocol `single`).
"""


def table_record(row: TableRow, rows: Sequence[TableRow]) -> dict[str, object]:
    """A row for a CSV file; None is an empty cell."""
    s3fd, cost, ap = _s3fd(rows), row.cost, row.ap
    return {
        "model": cost.name,
        "parameters": cost.parameters,
        "float32_bytes": 4 * cost.parameters,
        "onnx_bytes": row.onnx_bytes,
        "macs_640x480": cost.macs,
        "macs_640x640": cost.macs_square,
        "hooked_macs_640x640": cost.hooked_macs_square,
        "s3fd_parameters_ratio": round(s3fd.parameters / cost.parameters, 2),
        "s3fd_parameters_ratio_paper": row.paper_parameters,
        "s3fd_macs_ratio": round(s3fd.macs_square / cost.macs_square, 2),
        "s3fd_macs_ratio_paper": row.paper_macs,
        "peak_activation_bytes_640x480": cost.peak_activations,
        "images": row.images,
        "easy": ap.easy if ap else None,
        "medium": ap.medium if ap else None,
        "hard": ap.hard if ap else None,
    }


def plot_costs(names: Mapping[str, NetworkCost], path: Path) -> None:
    """Draw multiply-adds and peak memory of maps against parameters.

    Args:
        names: what is written beside the point of each network.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(1, 2)
    costs = list(names.values())
    parameters = np.array([cost.parameters / 1e6 for cost in costs])
    values = (
        ("billion multiply-adds at 640x640", [cost.macs_square / 1e9 for cost in costs]),
        ("peak MB of maps at 640x480", [cost.peak_activations / 1e6 for cost in costs]),
    )
    for axis, (label, heights) in zip(axes, values, strict=True):
        colors = ["C3" if name.startswith("extd") else "C0" for name in names]
        axis.scatter(parameters, heights, c=colors, s=30)
        axis.set(xscale="log", yscale="log", xlabel="million parameters", ylabel=label)
        axis.margins(x=0.2, y=0.12)
        tidy(axis)
        plain_ticks(axis.xaxis)
        plain_ticks(axis.yaxis)
    figure.draw_without_rendering()
    for axis, (_, heights) in zip(axes, values, strict=True):
        label_points(
            axis,
            np.column_stack([parameters, heights]),
            np.column_stack([parameters, parameters]),
            list(names),
        )
    save(figure, path)


def _s3fd(rows: Sequence[TableRow]) -> NetworkCost:
    for row in rows:
        if row.cost.name == S3FD:
            return row.cost
    raise ValueError(f"{S3FD}, which the others are compared with, is not among the networks")


def _ratio(ours: float, paper: float | None) -> str:
    number = f"{ours:.1f}" if ours < 100 else f"{ours:.0f}"
    return number if paper is None else f"{number} ({paper:g})"
