"""`extd eval`: a detector measured on WIDER FACE, other test sets, or any labelled pictures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from extd.catalog import DEFAULT_MODEL
from extd.cli.terminal import (
    STDOUT,
    WHOLE_NUMBER,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.progress import Progress

    from extd.images import Image
    from extd.measure.predictions import Prediction

Protocol = Literal["single", "paper", "multiscale"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Measured:
    """The options of what is measured, and where the result goes.

    Attributes:
        protocol: How the detector looks at a picture; see `extd eval wider`.
        json: Write the result as JSON to a file; with - or nothing to the standard output.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """

    protocol: Protocol = "single"
    json: Target = None
    model: Model = DEFAULT_MODEL
    threads: Threads = 0
    provider: Provider = None


MEASURED = Measured()


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
    from extd.measure.evaluation import evaluate_folder, evaluate_saved, report
    from extd.measure.predictions import write_predictions
    from extd.measure.wider import load_ground_truth

    if predictions is not None and (model is not None or protocol is not None):
        raise UsageError("--predictions measures files: leave out --model and --protocol")
    if predictions is not None:
        truth = load_ground_truth(ground_truth)
        result, found = evaluate_saved(predictions, images, truth)
        if save_predictions is not None:
            write_predictions(save_predictions, found)
        summary = report(result, str(predictions), "predictions")
    else:
        model, protocol = model or DEFAULT_MODEL, protocol or "single"
        detect = load_protocol(model, protocol, threads, provider)
        truth = load_ground_truth(ground_truth)
        with measuring_bar(json) as bar:
            result, _ = evaluate_folder(detect, images, truth, bar.track, save_predictions)
        summary = report(result, model, protocol)

    table = Console(quiet=json == STDOUT)
    print_line(table, f"{summary['model']}, {summary['protocol']}")
    print_line(table, f"AP on {result.images:,} of the {len(truth):,} pictures:")
    for difficulty, ap in result.ap.items():
        print_line(table, f"  {difficulty:7} {ap:.4f}")
    write_json(json, summary)
    return 0


def labels(
    pictures: Annotated[Path, Parameter(metavar="PATH")],
    /,
    *,
    measured: Measured = MEASURED,
) -> int:
    """Measure average precision on your own labelled pictures.

    AP at IoU 0.5 is 0 to 1, for all faces and by size: small ones have less than 32 px (square
    root of the area), large ones 96 and more. The metric is that of `extd eval wider`, except
    that false alarms in pictures without any face count.

        extd eval labels faces/labels.jsonl

    Args:
        pictures: Labelled pictures in any format that `extd data check` reads.
        measured: What is measured, and how.
    """
    from extd.data.datasets import read_dataset
    from extd.measure.labelled import evaluate_labelled, report

    detect = load_measured(measured)
    with measuring_bar(measured.json) as bar:
        result = evaluate_labelled(detect, read_dataset(pictures), bar.track)
    table = Console(quiet=measured.json == STDOUT)
    print_line(table, f"{measured.model}, {measured.protocol}, {result.images:,} pictures")
    for size, ap in result.ap.items():
        print_line(table, f"  AP {size:7} {ap:.4f}   {result.faces[size]:6,} faces")
    write_json(measured.json, report(result, measured.model, measured.protocol))
    return 0


def fddb(
    *,
    images: Folder,
    annotations: Folder,
    out: Folder | None = None,
    measured: Measured = MEASURED,
) -> int:
    """Measure true positives against false positives on FDDB, all its folds together.

    As in FDDB's own evaluation, faces are ellipses, matched one to one with what was found. The
    discrete rate counts matches of an IoU above 0.5, the continuous one each match by its IoU.
    Boxes stay boxes: they are compared with the ellipses as they are.

        extd eval fddb --images originalPics --annotations FDDB-folds --out results/fddb

    Args:
        images: Folder of the pictures, as 2002/07/19/big/img_130.jpg in it.
        annotations: Folder of FDDB-fold-01-ellipseList.txt and so on; some of the folds will do.
        out: Folder for the curve: roc.csv and roc.png.
        measured: What is measured, and how.
    """
    from extd.measure.benchtables import write_csv
    from extd.measure.fddb import (
        STATED,
        evaluate_fddb,
        plot_roc,
        read_annotations,
        report,
        roc_rows,
    )

    detect = load_measured(measured)
    pictures = read_annotations(annotations)
    with measuring_bar(measured.json) as bar:
        roc = evaluate_fddb(detect, images, pictures, bar.track)
    looked = f"{measured.model}, {measured.protocol}"
    table = Console(quiet=measured.json == STDOUT)
    print_line(table, looked)
    print_line(table, f"{roc.images:,} pictures of FDDB, {roc.faces:,} faces:")
    for number in STATED:
        discrete, continuous = roc.rates(number)
        print_line(
            table,
            f"  at {number:5,} false positives   discrete {discrete:.4f}   "
            f"continuous {continuous:.4f}",
        )
    write_json(measured.json, report(roc, measured.model, measured.protocol))
    if out is not None:
        write_csv(out / "roc.csv", roc_rows(roc))
        plot_roc(roc, f"{looked}: FDDB, {roc.images:,} pictures", out / "roc.png")
        print_line(table, f"written: {out / 'roc.csv'} and roc.png")
    return 0


def voc(
    *,
    images: Folder,
    annotations: Annotated[Path, Parameter(metavar="PATH")],
    out: Folder | None = None,
    smallest: Annotated[int, WHOLE_NUMBER] = 30,
    measured: Measured = MEASURED,
) -> int:
    """Measure average precision as PASCAL VOC does: for AFW and PASCAL faces.

    IoU 0.5, area under the curve. As in the toolbox that these sets are measured with, smaller
    faces are ignored; unlike it, boxes are not fitted to the style of the annotations first.

        extd eval voc --images testimages --annotations new_annotations_AFW.mat

    Args:
        images: Folder of the pictures.
        annotations: The toolbox's .mat file, or a folder of VOC's XML files.
        out: Folder for the curve: precision_recall.csv and precision_recall.png.
        smallest: Faces with a side of fewer pixels are ignored.
        measured: What is measured, and how.
    """
    from extd.measure.benchtables import write_csv
    from extd.measure.pascal import curve_rows, evaluate_voc, plot_curve, read_faces, report

    if smallest < 1:
        raise UsageError(f"--smallest is {smallest}; give 1 or more")
    detect = load_measured(measured)
    pictures = read_faces(annotations, images)
    with measuring_bar(measured.json) as bar:
        result = evaluate_voc(detect, pictures, smallest, bar.track)
    looked = f"{measured.model}, {measured.protocol}"
    table = Console(quiet=measured.json == STDOUT)
    print_line(table, looked)
    print_line(
        table, f"{result.images:,} pictures, {result.faces:,} faces: AP {result.curve.ap:.4f}"
    )
    write_json(measured.json, report(result, measured.model, measured.protocol))
    if out is not None:
        write_csv(out / "precision_recall.csv", curve_rows(result))
        caption = f"{looked}: {annotations.name}, {result.images:,} pictures"
        plot_curve(result, caption, out / "precision_recall.png")
        print_line(table, f"written: {out / 'precision_recall.csv'} and precision_recall.png")
    return 0


def measuring_bar(json: str | None) -> Progress:
    """A bar that stays away from JSON in the terminal."""
    return progress_bar("measuring", hidden=json == STDOUT and sys.stdout.isatty())


def write_json(target: str | None, summary: Mapping[str, object]) -> None:
    """Write a result to where `--json` says, if it does."""
    if target is not None:
        with open_results(target) as stream:
            stream.write(dumps(summary) + "\n")


def load_measured(measured: Measured) -> Callable[[Image], Prediction]:
    """As `load_protocol`."""
    return load_protocol(measured.model, measured.protocol, measured.threads, measured.provider)


def load_protocol(
    model: str, protocol: str, threads: int, provider: str | None
) -> Callable[[Image], Prediction]:
    """What the detector finds in a picture by a protocol.

    Raises:
        UsageError: there is no such model or provider.
    """
    from extd.detector import Detector
    from extd.measure.protocols import PROTOCOLS

    with usage():
        providers = None if provider is None else [provider]
        return partial(PROTOCOLS[protocol], Detector(model, threads=threads, providers=providers))
