"""`extd plot tradeoff`: AP against cost, ours and published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from extd.cli.terminal import Folder, print_line, usage


def tradeoff(
    *,
    out: Folder,
    bench: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    difficulty: Literal["easy", "medium", "hard"] = "hard",
) -> int:
    """Draw AP against multiply-adds, time and parameters: our models and published ones.

    AP on some of WIDER FACE's validation pictures, measured here at one scale, and AP on all of
    them, published by each one's authors, are drawn apart. tradeoff.csv names every source.

        extd plot tradeoff --out plots
        extd plot tradeoff --bench results/bench/ap.csv --out plots

    Args:
        out: Folder for tradeoff.png and tradeoff.csv.
        bench: The ap.csv of `extd bench` with pictures and YuNet-n among the peers: its AP and
            times are taken in place of those in the package.
        difficulty: Which faces of WIDER FACE.
    """
    from extd.catalog import load_catalog
    from extd.measure.benchtables import write_csv
    from extd.measure.tradeoff import (
        benched_points,
        catalog_points,
        load_published,
        plot_tradeoff,
        tradeoff_row,
    )

    points = [*catalog_points(load_catalog()), *load_published()]
    if bench is not None:
        with usage():
            points = benched_points(bench, points)
    plot_tradeoff(points, difficulty, out / "tradeoff.png")
    write_csv(out / "tradeoff.csv", [tradeoff_row(point) for point in points if point.ap])
    print_line(Console(), f"written: {out / 'tradeoff.png'} and tradeoff.csv")
    return 0
