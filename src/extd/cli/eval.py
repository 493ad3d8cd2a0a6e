"""`extd eval`: a detector measured on WIDER FACE or on your own labeled images."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from extd.cli.inference import THIS_MACHINE, Machine, load_model
from extd.cli.terminal import (
    STDOUT,
    Folder,
    Target,
    UsageError,
    print_line,
    progress_bar,
    write_json,
)
from extd.data.datasets import read_dataset
from extd.evaluation import wider as benchmark
from extd.evaluation.labeled import evaluate_labeled
from extd.evaluation.predictions import write_predictions
from extd.evaluation.protocols import PROTOCOLS

Protocol = Literal["single", "paper", "multiscale"]

app = App(name="eval", help="Evaluate a detector.")


@app.command
def wider(
    *,
    images: Folder,
    ground_truth: Folder,
    predictions: Folder | None = None,
    protocol: Annotated[Protocol | None, Parameter(show_default="single")] = None,
    save_predictions: Folder | None = None,
    json: Target = None,
    machine: Machine = THIS_MACHINE,
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
    """
    if predictions is not None:
        if machine != THIS_MACHINE or protocol is not None:
            raise UsageError("--predictions measures files: leave out --model and --protocol")
        measured, how = str(predictions), "predictions"
        truth = benchmark.load_ground_truth(ground_truth)
        found = benchmark.load_predictions(predictions, images, truth)
        result = benchmark.evaluate(found, truth)
        if save_predictions is not None:
            write_predictions(save_predictions, found)
    else:
        measured, how = machine.model, protocol or "single"
        detect = partial(PROTOCOLS[how], load_model(machine))
        truth = benchmark.load_ground_truth(ground_truth)
        with progress_bar(quiet=json == STDOUT) as bar:
            track = partial(bar.track, description="measuring")
            result = benchmark.evaluate_detector(detect, images, truth, track, save_predictions)
    lines = [f"{measured}, {how}", f"AP on {result.images:,} of the {len(truth):,} images:"]
    lines += [f"  {difficulty:7} {ap:.4f}" for difficulty, ap in result.ap.items()]
    summary = {"images": result.images, "model": measured, "protocol": how}
    print_result(json, lines, summary, result.ap)
    return 0


@app.command
def labels(
    samples: Annotated[Path, Parameter(metavar="PATH")],
    /,
    *,
    protocol: Protocol = "single",
    json: Target = None,
    machine: Machine = THIS_MACHINE,
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
    """
    detect = partial(PROTOCOLS[protocol], load_model(machine))
    with progress_bar(quiet=json == STDOUT) as bar:
        track = partial(bar.track, description="measuring")
        result = evaluate_labeled(detect, read_dataset(samples), track)
    lines = [f"{machine.model}, {protocol}, {result.images:,} images"]
    for size, ap in result.ap.items():
        lines.append(f"  AP {size:7} {ap:.4f}   {result.faces[size]:6,} faces")
    summary = {"images": result.images, "model": machine.model, "protocol": protocol}
    print_result(json, lines, summary | {"faces": result.faces}, result.ap)
    return 0


def print_result(
    target: str | None, lines: list[str], summary: dict[str, object], ap: dict[str, float]
) -> None:
    """Print lines, and write JSON to where `--json` says; its AP is null where no face counts."""
    if target != STDOUT:
        print_line("\n".join(lines))
    if target is not None:
        write_json(target, summary | {"ap": benchmark.rounded(ap)})
