"""`extd eval`: a detector measured on WIDER FACE or on your own labeled images."""

from __future__ import annotations

import sys
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from extd.catalog import DEFAULT_MODEL, Precision
from extd.cli.terminal import (
    MACHINE,
    STDOUT,
    Folder,
    Model,
    Provider,
    Target,
    Threads,
    UsageError,
    open_results,
    print_line,
    progress_bar,
    usage_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from extd.evaluation.predictions import Prediction
    from extd.images import Image

Protocol = Literal["single", "paper", "multiscale"]


def wider(
    *,
    images: Folder,
    ground_truth: Folder,
    predictions: Folder | None = None,
    protocol: Annotated[Protocol | None, Parameter(show_default="single")] = None,
    save_predictions: Folder | None = None,
    json: Target = None,
    model: Annotated[Model | None, Parameter(show_default=DEFAULT_MODEL)] = None,
    threads: Threads = 0,
    provider: Provider = None,
    precision: Annotated[Precision, Parameter(group=MACHINE)] = "auto",
) -> int:
    """Measure average precision on WIDER FACE, as its official evaluation does.

    Any part of the validation set will do: the ground truth is restricted to the images there
    are, and the result says how many. AP is 0 to 1, for easy, medium and hard faces.

        extd eval wider --images WIDER_val/images --ground-truth ground_truth

    Args:
        images: Folder of EVENT/IMAGE.jpg, as WIDER_val/images.
        ground_truth: Folder of the official wider_face_val.mat and wider_easy_val.mat,
            wider_medium_val.mat, wider_hard_val.mat.
        predictions: Measure the files EVENT/IMAGE.txt of this folder, in WIDER's format,
            instead of a model.
        protocol: single runs once on each image at its own size; paper is the authors' test
            at several scales with box voting; multiscale is that with a corrected vote.
        save_predictions: Save the detections in this folder, in WIDER's format.
        json: Write the result as JSON to a file; with - or nothing to standard output.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads to use.
        provider: Execution provider of ONNX Runtime; `extd doctor` lists those that work here.
        precision: Weights of the model, int8 or float; by default the faster one on this machine.
    """
    from extd.evaluation.predictions import write_predictions
    from extd.evaluation.wider import (
        evaluate,
        evaluate_detector,
        load_ground_truth,
        load_predictions,
    )

    if predictions is not None and (model is not None or protocol is not None):
        raise UsageError("--predictions measures files: leave out --model and --protocol")
    if predictions is not None:
        measured, how = str(predictions), "predictions"
        truth = load_ground_truth(ground_truth)
        found = load_predictions(predictions, images, truth)
        result = evaluate(found, truth)
        if save_predictions is not None:
            write_predictions(save_predictions, found)
    else:
        measured, how = model or DEFAULT_MODEL, protocol or "single"
        detect = load_protocol(measured, how, threads, provider, precision)
        truth = load_ground_truth(ground_truth)
        with measuring_bar(json) as bar:
            result = evaluate_detector(
                detect, images, truth, partial(bar.track, description="measuring"), save_predictions
            )

    table = Console(quiet=json == STDOUT)
    print_line(table, f"{measured}, {how}")
    print_line(table, f"AP on {result.images:,} of the {len(truth):,} images:")
    for difficulty, ap in result.ap.items():
        print_line(table, f"  {difficulty:7} {ap:.4f}")
    write_json(json, {"images": result.images, "model": measured, "protocol": how}, result.ap)
    return 0


def labels(
    samples: Annotated[Path, Parameter(metavar="PATH")],
    /,
    *,
    protocol: Protocol = "single",
    json: Target = None,
    model: Model = DEFAULT_MODEL,
    threads: Threads = 0,
    provider: Provider = None,
    precision: Annotated[Precision, Parameter(group=MACHINE)] = "auto",
) -> int:
    """Measure average precision on your own labeled images.

    AP at IoU 0.5 is 0 to 1, for all faces and by size: small ones have less than 32 px (square
    root of the area), large ones 96 and more. The metric is that of `extd eval wider`, except
    that false positives in images without any face count.

        extd eval labels faces/labels.jsonl

    Args:
        samples: Labeled images in any format that `extd data check` reads.
        protocol: As for `extd eval wider`.
        json: Write the result as JSON to a file; with - or nothing to standard output.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads to use.
        provider: Execution provider of ONNX Runtime; `extd doctor` lists those that work here.
        precision: Weights of the model, int8 or float; by default the faster one on this machine.
    """
    from extd.data.datasets import read_dataset
    from extd.evaluation.labeled import evaluate_labeled

    detect = load_protocol(model, protocol, threads, provider, precision)
    with measuring_bar(json) as bar:
        result = evaluate_labeled(
            detect, read_dataset(samples), partial(bar.track, description="measuring")
        )
    table = Console(quiet=json == STDOUT)
    print_line(table, f"{model}, {protocol}, {result.images:,} images")
    for size, ap in result.ap.items():
        print_line(table, f"  AP {size:7} {ap:.4f}   {result.faces[size]:6,} faces")
    summary = {"images": result.images, "model": model, "protocol": protocol}
    write_json(json, summary | {"faces": result.faces}, result.ap)
    return 0


def measuring_bar(json: str | None) -> Progress:
    """A bar that stays away from JSON in the terminal."""
    return progress_bar(hidden=json == STDOUT and sys.stdout.isatty())


def write_json(target: str | None, summary: dict[str, object], ap: dict[str, float]) -> None:
    """Write a result to where `--json` says, if it does; AP is null where no face counts."""
    from extd.evaluation.wider import rounded

    if target is not None:
        with open_results(target) as stream:
            stream.write(dumps(summary | {"ap": rounded(ap)}) + "\n")


def load_protocol(
    model: str, protocol: str, threads: int, provider: str | None, precision: Precision
) -> Callable[[Image], Prediction]:
    """A protocol with its detector.

    Raises:
        UsageError: there is no such model or provider.
    """
    from extd.detector import Detector
    from extd.evaluation.protocols import PROTOCOLS

    with usage_errors():
        providers = None if provider is None else [provider]
        detector = Detector(model, threads=threads, providers=providers, precision=precision)
        return partial(PROTOCOLS[protocol], detector)
