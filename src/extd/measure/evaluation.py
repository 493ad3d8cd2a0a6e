"""A detector measured on a folder of WIDER FACE pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from extd.images import Image, read_image
from extd.measure.predictions import Prediction, read_predictions, write_predictions
from extd.measure.wider import Evaluation, Picture, evaluate, rounded


def evaluate_folder(
    detect: Callable[[Image], Prediction],
    folder: Path,
    ground_truth: Sequence[Picture],
    progress: Callable[[Sequence[Picture]], Iterable[Picture]] = iter,
    save_in: Path | None = None,
) -> tuple[Evaluation, dict[str, Prediction]]:
    """Detect in every picture of `folder` and score the result.

    Args:
        detect: a protocol with its detector, as in `partial(single, Detector())`.
        folder: EVENT/PICTURE.jpg, or a folder `images` that holds them; a part of the
            validation set will do.
        ground_truth: of the whole validation set; it is restricted to the pictures in `folder`.
        progress: wraps the pictures as they are worked through, to show a bar.
        save_in: folder for prediction files, each written as soon as it is found.

    Returns:
        The evaluation, and the predictions by `event/name`.

    Raises:
        FileNotFoundError: `folder` has no picture of the ground truth.
        ValueError: a picture is broken or unknown to the ground truth; the message gives its path.
    """
    paths = find_pictures(folder, ground_truth)
    pictures = [picture for picture in ground_truth if picture.key in paths]
    predictions = {}
    for picture in progress(pictures):
        predictions[picture.key] = detect(read_image(paths[picture.key]))
        if save_in is not None:
            write_predictions(save_in, {picture.key: predictions[picture.key]})
    return evaluate(predictions, pictures), predictions


def evaluate_saved(
    predictions: Path, folder: Path, ground_truth: Sequence[Picture]
) -> tuple[Evaluation, dict[str, Prediction]]:
    """Score prediction files of any detector on the pictures of `folder`.

    Args:
        predictions: folder of EVENT/PICTURE.txt; files of other pictures are left out.
        folder: as for `evaluate_folder`.
        ground_truth: likewise.

    Returns:
        The evaluation, and the predictions that it used by `event/name`.

    Raises:
        FileNotFoundError: either folder has no such files.
        ValueError: a picture has no predictions, a file is not in WIDER's format, or a picture is
            unknown to the ground truth; the message gives the path.
    """
    paths = find_pictures(folder, ground_truth)
    saved = read_predictions(predictions)
    missing = sorted(paths.keys() - saved.keys())
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(paths)} pictures in {folder} have no predictions; the first "
            f"would be {predictions / missing[0]}.txt (with the count 0 where nothing was found)"
        )
    used = {key: saved[key] for key in paths}
    return evaluate(used, ground_truth), used


def find_pictures(folder: Path, ground_truth: Sequence[Picture]) -> dict[str, Path]:
    """The pictures `folder`/[images/]EVENT/PICTURE.jpg, keyed `event/name`.

    Raises:
        FileNotFoundError: there are none.
        ValueError: one is unknown to the ground truth.
    """
    root = folder / "images" if (folder / "images").is_dir() else folder
    paths = {f"{path.parent.name}/{path.stem}": path for path in sorted(root.glob("*/*.jpg"))}
    if not paths:
        raise FileNotFoundError(
            f"there are no pictures in {root}; they are expected as {root}/EVENT/PICTURE.jpg"
        )
    unknown = sorted(paths.keys() - {picture.key for picture in ground_truth})
    if unknown:
        raise ValueError(
            f"{paths[unknown[0]]} is not in the ground truth; leave in {root} only pictures of "
            "WIDER FACE's validation set"
        )
    return paths


def report(evaluation: Evaluation, model: str, protocol: str) -> dict[str, object]:
    """The evaluation for JSON: images, model, protocol and AP by difficulty, null where undefined.

    AP is rounded to five decimals, 0 to 1.
    """
    images, ap = evaluation.images, rounded(evaluation.ap)
    return {"images": images, "model": model, "protocol": protocol, "ap": ap}
