"""`extd models`: the models that can be run, or trained."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from extd.catalog import ModelInfo, load_catalog
from extd.cli.terminal import Target, count, print_line, write_json


def models(*, all_: Annotated[bool, Parameter(name="--all")] = False, json: Target = None) -> int:
    """List the models that can be run.

    Multiply-adds are those of the convolutions at 640 x 480 pixels. AP is the average precision
    on WIDER FACE's validation set at one scale, for its easy, medium and hard faces.

    Args:
        all_: List the models without weights in the package, too. They can be trained, or made
            from a checkpoint of the paper's authors with `extd convert` and `extd export`.
        json: Write a JSON list to a file; with - or nothing to standard output.
    """
    catalog = load_catalog()
    shown = tuple(model for model in catalog if all_ or model.weights)
    if json is not None:
        write_json(json, [asdict(model) for model in shown], indent=1)
        return 0
    Console().print(model_table(shown))
    covered = {model.weights.images for model in catalog if model.weights}
    for images in sorted(filter(None, covered)):
        print_line(f"AP on {images:,} of WIDER FACE's 3,226 validation images")
    if rest := len(catalog) - len(shown):
        print_line(f"{count(rest, 'more model')} without weights: extd models --all")
    return 0


def model_table(catalog: tuple[ModelInfo, ...]) -> Table:
    """The models, a row each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("parameters", "multiply-adds", "weights", "AP easy medium hard"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in catalog:
        weights = model.weights
        ap = weights.float32.ap if weights else None
        table.add_row(
            model.name,
            f"{model.parameters:,}",
            f"{model.macs / 1e6:,.0f} M",
            f"{weights.float32.bytes / 1e3:,.0f} kB" if weights else "-",
            f"{ap.easy:.3f} {ap.medium:.3f} {ap.hard:.3f}" if ap else "-",
        )
    return table
