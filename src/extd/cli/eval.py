"""`extd eval`: average precision on WIDER FACE, or on any labelled pictures."""

from __future__ import annotations

import sys
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from extd.catalog import DEFAULT_MODEL
from extd.cli.terminal import (
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
    usage,
)


def wider(
    *,
    images: Folder,
    ground_truth: Folder,
    predictions: Folder | None = None,
    protocol: Annotated[
        Literal["single", "paper", "multiscale"] | None, Parameter(show_default="single")
    ] = None,
    save_predictions: Folder | None = None,
    json: Target = None,
    model: Annotated[Model | None, Parameter(show_default=DEFAULT_MODEL)] = None,
    threads: Threads = 0,
    provider: Provider = None,
) -> int:
    """Measure average precision on WIDER FACE, as its official evaluation does.

    Any part of the validation set will do: the ground truth is restricted to its pictures, and
    the result tells how many they are. AP is 0 to 1, for easy, medium and hard faces.

        extd eval wider --images WIDER_val/images --ground-truth ground_truth

    Args:
        images: Folder of EVENT/PICTURE.jpg, as WIDER_val/images.
        ground_truth: Folder of the official wider_face_val.mat and wider_easy_val.mat,
            wider_medium_val.mat, wider_hard_val.mat.
        predictions: Measure the files EVENT/PICTURE.txt of this folder, in WIDER's format,
            instead of a model.
        protocol: single looks once at each picture in its own size; paper is the authors' test
            at several scales with box voting; multiscale is that with a corrected vote.
        save_predictions: Save what is found in this folder, in WIDER's format.
        json: Write the result as JSON to a file; with - or nothing to the standard output.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """
    from extd.detector import Detector
    from extd.measure.evaluation import evaluate_folder, evaluate_saved, report
    from extd.measure.predictions import write_predictions
    from extd.measure.protocols import PROTOCOLS
    from extd.measure.wider import load_ground_truth

    if predictions is not None and (model is not None or protocol is not None):
        raise UsageError("--predictions measures files: leave out --model and --protocol")
    quiet = json == STDOUT
    if predictions is not None:
        truth = load_ground_truth(ground_truth)
        result, found = evaluate_saved(predictions, images, truth)
        if save_predictions is not None:
            write_predictions(save_predictions, found)
        summary = report(result, str(predictions), "predictions")
    else:
        model, protocol = model or DEFAULT_MODEL, protocol or "single"
        with usage():
            providers = None if provider is None else [provider]
            detector = Detector(model, threads=threads, providers=providers)
        truth = load_ground_truth(ground_truth)
        with progress_bar("measuring", hidden=quiet and sys.stdout.isatty()) as bar:
            detect = partial(PROTOCOLS[protocol], detector)
            result, _ = evaluate_folder(detect, images, truth, bar.track, save_predictions)
        summary = report(result, model, protocol)

    if json is not None:
        with open_results(json) as stream:
            stream.write(dumps(summary) + "\n")
    table = Console(quiet=quiet)
    print_line(table, f"{summary['model']}, {summary['protocol']}")
    print_line(table, f"AP on {result.images:,} of the {len(truth):,} pictures:")
    for difficulty, ap in result.ap.items():
        print_line(table, f"  {difficulty:7} {ap:.4f}")
    return 0


def labels(
    pictures: Annotated[Path, Parameter(metavar="PATH")],
    /,
    *,
    protocol: Literal["single", "paper", "multiscale"] = "single",
    json: Target = None,
    model: Model = DEFAULT_MODEL,
    threads: Threads = 0,
    provider: Provider = None,
) -> int:
    """Measure average precision on your own labelled pictures.

    AP at IoU 0.5 is 0 to 1, for all faces and by size: small ones have less than 32 px (square
    root of the area), large ones 96 and more. The metric is that of `extd eval wider`.

        extd eval labels faces/labels.jsonl

    Args:
        pictures: Labelled pictures in any format that `extd data check` reads.
        protocol: How the detector looks at a picture; see `extd eval wider`.
        json: Write the result as JSON to a file; with - or nothing to the standard output.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """
    from extd.data.datasets import read_dataset
    from extd.detector import Detector
    from extd.measure.labelled import evaluate_labelled, report
    from extd.measure.protocols import PROTOCOLS

    with usage():
        providers = None if provider is None else [provider]
        detector = Detector(model, threads=threads, providers=providers)
    quiet = json == STDOUT
    with progress_bar("measuring", hidden=quiet and sys.stdout.isatty()) as bar:
        detect = partial(PROTOCOLS[protocol], detector)
        result = evaluate_labelled(detect, read_dataset(pictures), bar.track)
    if json is not None:
        with open_results(json) as stream:
            stream.write(dumps(report(result, model, protocol)) + "\n")
    table = Console(quiet=quiet)
    print_line(table, f"{model}, {protocol}, {result.images:,} pictures")
    for size, ap in result.ap.items():
        print_line(table, f"  AP {size:7} {ap:.4f}   {result.faces[size]:6,} faces")
    return 0
