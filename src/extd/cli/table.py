"""`extd table`: the paper's tables, counted and measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from extd.cli.terminal import Folder, print_line, progress_bar, train_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extd.measure.modeltable import TableRow
    from extd.models.config import NetworkConfig


WIDTH = 104
"""Characters of the table."""


def models(*, out: Folder | None = None) -> int:
    """Table 1 of the paper: what each network costs beside S3FD, and how good its weights are.

    Multiply-adds are counted as operators run. Peak maps are the most bytes of pictures and maps
    at once. Weights are counted in float32; the file is the one in the package, where it ships.

        extd table models --out results/models

    Args:
        out: Folder for models.csv, models.md and models.png.
    """
    from extd.models.config import BASELINE_CONFIGS, LITE_CONFIGS, PAPER_CONFIGS

    with train_extra("extd table models"):
        rows = count_networks([*BASELINE_CONFIGS, *PAPER_CONFIGS, *LITE_CONFIGS.values()])
    from extd.measure.benchtables import write_csv
    from extd.measure.modeltable import model_table, plot_costs, table_markdown, table_record

    # A terminal has room for the half of it.
    _, cells = model_table(rows)
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("parameters", "fewer", "M multiply-adds", "fewer", "peak MB", "AP"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in cells:
        name, parameters, fewer, *_, macs, fewer_macs, _, peak, easy, medium, hard = line
        table.add_row(
            name, parameters, fewer, macs, fewer_macs, peak, f"{easy} {medium} {hard}".strip("- ")
        )
    console = Console()
    # Beyond the width of the terminal a line goes on in the next; a file has it whole.
    Console(width=WIDTH).print(table)
    print_line(
        console, "fewer: how many times fewer than S3FD has, in brackets as the paper claims"
    )
    print_line(console, "multiply-adds at 640x640; peak MB of pictures and maps at 640x480")
    if out is not None:
        # An activation without weights of its own changes nothing that is drawn.
        drawn = {row.cost.name: row.cost for row in rows}
        names = {
            name.removesuffix("-prelu"): cost
            for name, cost in drawn.items()
            if not name.endswith("relu") or name.endswith("-prelu")
        }
        plot_costs(names, out / "models.png")
        write_csv(out / "models.csv", [table_record(row, rows) for row in rows])
        write_text(out / "models.md", table_markdown(rows))
        print_line(console, f"written: {out / 'models.csv'}, models.md and models.png")
    return 0


def count_networks(configs: Sequence[NetworkConfig]) -> list[TableRow]:
    """What networks cost, with what the catalog knows of them and the paper claims.

    Raises:
        ModuleNotFoundError: torch is missing.
    """
    import torch

    from extd.catalog import load_catalog
    from extd.measure.modeltable import NetworkCost, TableRow
    from extd.measure.tradeoff import load_published
    from extd.models.network import build_network
    from extd.models.profile import (
        count_hooked_macs,
        count_macs,
        count_parameters,
        peak_activations,
    )

    catalog = {model.name: model for model in load_catalog()}
    paper = {point.detector: point for point in load_published() if point.s3fd_macs}
    rows = []
    with progress_bar("counting", hidden=not sys.stderr.isatty()) as bar:
        for config in bar.track(configs):
            with torch.device("meta"):
                network = build_network(config).eval()
            cost = NetworkCost(
                config.name,
                count_parameters(network),
                count_macs(network),
                count_macs(network, 640, 640),
                count_hooked_macs(network, 640, 640),
                peak_activations(network),
            )
            model, claim = catalog.get(config.name), paper.get(config.name)
            weights = model.weights if model else None
            rows.append(
                TableRow(
                    cost,
                    weights.bytes if weights else None,
                    weights.ap if weights else None,
                    weights.images if weights else None,
                    claim.s3fd_macs if claim else None,
                    claim.s3fd_parameters if claim else None,
                )
            )
    return rows


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from extd.files import atomic_write

    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
