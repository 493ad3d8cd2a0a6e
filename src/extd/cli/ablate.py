"""`extd ablate`: variants of one recipe, trained alike and compared."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from extd.cli.terminal import WHOLE_NUMBER, Folder, UsageError, print_line, train_extra, usage


def ablate(
    grid: Annotated[Path, Parameter(metavar="GRID.yaml")],
    /,
    *,
    out: Folder,
    images: Folder | None = None,
    ground_truth: Folder | None = None,
    labels: Annotated[Path | None, Parameter(metavar="PATH")] = None,
    data: Annotated[
        list[Path] | None, Parameter(metavar="PATH", show_default="as the recipe says")
    ] = None,
    only: Annotated[list[str] | None, Parameter(metavar="NAME", show_default="all")] = None,
    device: Annotated[str | None, Parameter(show_default="cuda if there is one, else cpu")] = None,
    threads: Annotated[int | None, WHOLE_NUMBER, Parameter(show_default="one a core")] = None,
    cache: Annotated[Folder | None, Parameter(show_default="in the user's cache folder")] = None,
) -> int:
    """Train variants of a recipe alike and compare their average precision.

    Ctrl-C saves and stops; the same command goes on there. Several commands may share the
    folder, each with other variants in --only.

        extd ablate grids/training.yaml --out runs/ablation --data WIDER/labels.jsonl
            --images WIDER_val --ground-truth ground_truth

    Args:
        grid: A YAML file: a recipe, and what each variant changes in it. See the folder grids.
        out: Folder for a run of each variant, results.md, results.csv and results.png.
        images: Measure on WIDER FACE's pictures, as `extd eval wider`.
        ground_truth: Folder of its official wider_face_val.mat and lists.
        labels: Or measure on labelled pictures, as `extd eval labels`.
        data: The pictures to learn from, as for `extd train`.
        only: Train this variant; may be repeated.
        device: What computes, as cpu, cuda or cuda:1.
        threads: How many threads of the processor compute.
        cache: Folder for the decoded pictures.
    """
    from extd.data.datasets import read_dataset
    from extd.detector import Detector
    from extd.measure.evaluation import evaluate_folder, find_pictures
    from extd.measure.labelled import evaluate_labelled
    from extd.measure.protocols import single
    from extd.measure.wider import load_ground_truth, rounded

    if (images is None) != (ground_truth is None) or (images is None) == (labels is None):
        raise UsageError("give --images and --ground-truth, or --labels, to measure on")

    with train_extra("extd ablate"):
        from extd.training.ablation import (
            finished,
            load_grid,
            run_variant,
            variant_recipe,
            write_tables,
        )
        from extd.training.image_cache import fingerprint

        with usage():
            chosen = load_grid(grid)
            names = only or list(chosen.variants)
            recipes = {name: variant_recipe(chosen, name, data or ()) for name in names}
            pictures = read_dataset(labels) if labels is not None else []
            truth = load_ground_truth(ground_truth) if ground_truth is not None else []
            test = fingerprint(pictures)
            if images is not None:
                names = sorted(find_pictures(images, truth))
                test = sha256("\n".join(names).encode()).hexdigest()[:16]

        def evaluate(path: Path) -> tuple[int, dict[str, float | None]]:
            detect = partial(single, Detector(path, threads=threads or 0))
            if images is not None:
                official, _ = evaluate_folder(detect, images, truth)
                return official.images, rounded(official.ap)
            own = evaluate_labelled(detect, pictures)
            return own.images, rounded(own.ap)

        console, progress = Console(), Console(stderr=True)
        for name, recipe in recipes.items():
            print_line(progress, f"variant {name}")
            run_variant(
                name, recipe, out, evaluate, test, device=device, threads=threads, cache=cache
            )
            text = write_tables(finished(chosen, out, test), out)
    print_line(console, text.rstrip())
    print_line(console, f"written: {out / 'results.md'}, results.csv and results.png")
    return 0
