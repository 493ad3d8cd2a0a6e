"""`extd eval`: a detector measured on WIDER FACE or on your own labeled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from extd.cli.inference import THIS_MACHINE, Machine, load_model
from extd.cli.terminal import (
    STDOUT,
    Folder,
    Target,
    UsageError,
    count,
    print_line,
    print_note,
    progress_bar,
    write_json,
)
from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.evaluation import wider as benchmark
from extd.evaluation.labeled import coco_ap, detect_labeled, score
from extd.evaluation.predictions import Prediction, write_predictions
from extd.evaluation.protocols import PROTOCOLS
from extd.evaluation.thresholds import (
    GRID,
    OperatingPoint,
    ThresholdCurve,
    interval,
    threshold_curve,
    write_curve,
)

Protocol = Literal["single", "default", "paper", "multiscale"]
FEW = 100
"""Faces on which a threshold cannot be chosen well."""
SHARE = Number(gt=0, lte=1)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Requirements:
    """What the suggested thresholds must reach.

    Attributes:
        min_precision: Suggest the lowest threshold at which this share of the detections are
            faces, as 0.95.
        min_recall: Suggest the highest threshold at which this share of the faces are found.
    """

    min_precision: Annotated[float | None, Parameter(metavar="SHARE", validator=SHARE)] = None
    min_recall: Annotated[float | None, Parameter(metavar="SHARE", validator=SHARE)] = None

    def points(self, curve: ThresholdCurve) -> dict[str, OperatingPoint | None]:
        """The suggestions by what they must reach; None where no threshold does."""
        points = {}
        if self.min_precision is not None:
            name = f"precision of {self.min_precision:g}"
            points[name] = curve.at_precision(self.min_precision)
        if self.min_recall is not None:
            points[f"recall of {self.min_recall:g}"] = curve.at_recall(self.min_recall)
        return points


NONE = Requirements()

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
        protocol: single runs once on each image at its own size; default is what `extd detect`
            does; paper is the authors' test
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
    protocol: Protocol = "default",
    required: Requirements = NONE,
    out: Folder | None = None,
    json: Target = None,
    machine: Machine = THIS_MACHINE,
) -> int:
    """Measure a detector on your own labeled images, and choose its threshold.

    AP at IoU 0.5 is 0 to 1, for all faces and by size: small ones have less than 32 px (square
    root of the area), large ones 96 and more. It is that of `extd eval wider`, except that false
    positives in images without any face count. COCO's AP@[.5:.95] asks for tighter boxes; it needs
    the extra `eval`.

        extd eval labels faces/labels.jsonl
        extd eval labels faces/labels.jsonl --model mine.onnx --min-precision 0.95 --out curves

    Args:
        samples: Labeled images in any format that `extd data check` reads.
        protocol: As for `extd eval wider`.
        out: Write precision and recall against the threshold to this folder: thresholds.csv and
            thresholds.png.
        json: Write the result as JSON to a file; with - or nothing to standard output.
    """
    detector = load_model(machine)
    labeled = read_dataset(samples)
    with progress_bar(quiet=json == STDOUT) as bar:
        track = partial(bar.track, description="measuring")
        found = detect_labeled(partial(PROTOCOLS[protocol], detector), labeled, track)
    result, curve = score(labeled, found), threshold_curve(labeled, found)
    points = {"default": curve.at(detector.threshold()), **required.points(curve)}
    coco = measure_coco(labeled, found)
    lines = [f"{machine.model}, {protocol}, {result.images:,} images"]
    for size, ap in result.ap.items():
        lines.append(f"  AP {size:7} {ap:.4f}   {result.faces[size]:6,} faces")
    lines += [] if coco is None else [f"  COCO's AP@[.5:.95] {coco:.4f}"]
    lines += ["", *(describe_point(*one) for one in points.items())]
    if curve.faces < FEW:
        lines.append(f"all this rests on {count(curve.faces, 'face')}; label more to rely on it")
    summary = {"images": result.images, "model": machine.model, "protocol": protocol}
    summary |= {"faces": result.faces, "coco_ap": coco}
    summary |= {"thresholds": {name: point and point_json(point) for name, point in points.items()}}
    summary |= {"curve": [point_json(curve.at(threshold)) for threshold in GRID.tolist()]}
    print_result(json, lines, summary, result.ap)
    for path in [] if out is None else write_curve(out, curve, points):
        print_line(f"written: {path}", Console(stderr=True))
    return 0


def measure_coco(samples: Sequence[Sample], found: Sequence[Prediction]) -> float | None:
    """COCO's AP; None and a note where its package is missing."""
    try:
        return round(coco_ap(samples, found), 5)
    except ImportError as error:
        print_note(str(error), Console(stderr=True))
        return None


def describe_point(name: str, point: OperatingPoint | None) -> str:
    """Precision and recall at a threshold, each with its 95 % interval."""
    if point is None:
        return f"{name}: no threshold reaches it"
    words = [f"{name}: --threshold {point.threshold:g}"]
    for share, total in (("precision", point.detections), ("recall", point.faces)):
        low, high = interval(point.hits, total)
        value = f"{point.hits / total:.3f}" if total else "unknown"
        words.append(f"{share} {value} ({low:.3f} to {high:.3f})")
    return ", ".join(words)


def point_json(point: OperatingPoint) -> dict[str, float | None]:
    """Threshold, precision and recall; null where they are unknown."""
    return {"threshold": point.threshold} | benchmark.rounded(
        {"precision": point.precision, "recall": point.recall}
    )


def print_result(
    target: str | None, lines: list[str], summary: dict[str, object], ap: dict[str, float]
) -> None:
    """Print lines, and write JSON to where `--json` says; its AP is null where no face counts."""
    if target != STDOUT:
        print_line("\n".join(lines))
    if target is not None:
        write_json(target, summary | {"ap": benchmark.rounded(ap)})
