"""`extd train`: from a recipe to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from extd.cli.terminal import Folder, print_line, train_extra


def train(
    recipe: Annotated[Path, Parameter(metavar="RECIPE.yaml")],
    /,
    *,
    out: Folder,
    labels: Annotated[Path | None, Parameter(show_default="as the recipe says")] = None,
    resume: Annotated[bool, Parameter(show_default=False)] = False,
    device: Annotated[str | None, Parameter(show_default="cuda if there is one, else cpu")] = None,
    threads: Annotated[int | None, Parameter(show_default="one a core")] = None,
    cache: Annotated[Folder | None, Parameter(show_default="in the user's cache folder")] = None,
) -> int:
    """Train a detector.

    Ctrl-C saves and stops; the same command with --resume goes on exactly there. Needs
    PyTorch, which the first of these commands installs.

        pip install "extd[train]"
        extd train recipes/cpu.yaml --labels faces/labels.jsonl --out runs/first

    Args:
        recipe: A YAML file: model, data, augmentation, loss, schedule. See the folder recipes.
        out: Folder for checkpoint, weights and log.csv; made if need be.
        labels: The pictures to learn from, a labels.jsonl; docs/training.md tells what is in it.
        resume: Go on where the run in that folder stopped.
        device: What computes, as cpu, cuda or cuda:1.
        threads: How many threads of the processor compute.
        cache: Folder for the decoded pictures, 3 bytes a pixel.
    """
    with train_extra("extd train"):
        from extd.training import trainer
        from extd.training.recipe import load_recipe

        weights = trainer.train(
            load_recipe(recipe, labels),
            out,
            resume=resume,
            device=device,
            threads=threads,
            cache=cache,
        )
    console = Console()
    print_line(console, f"written: {weights}")
    print_line(console, f"to detect with it: extd export {weights} {weights.with_suffix('.onnx')}")
    return 0
