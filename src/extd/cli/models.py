"""`extd models`: the models that `--model` takes."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from extd.catalog import ModelInfo, load_catalog
from extd.cli.terminal import Target, print_line, write_json


def models(*, json: Target = None) -> int:
    """List the models: EXTD-Lite and those of the paper.

    Multiply-adds are those of the convolutions at 640 x 480 pixels. AP is the average precision
    on WIDER FACE's validation set at one scale, for its easy, medium and hard faces. A model
    without weights in the package can be trained, or converted from a checkpoint of the paper's
    authors with `extd convert` and `extd export`.

    Args:
        json: Write a JSON list to a file; with - or nothing to standard output.
    """
    catalog = load_catalog()
    if json is not None:
        write_json(json, [asdict(model) for model in catalog], indent=1)
        return 0
    Console().print(model_table(catalog))
    covered = {model.weights.images for model in catalog if model.weights}
    for images in sorted(filter(None, covered)):
        print_line(f"AP on {images:,} of WIDER FACE's 3,226 validation images")
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
