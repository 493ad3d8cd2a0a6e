"""`extd plot`: pictures of what detectors find, from saved detections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from extd.catalog import DEFAULT_MODEL
from extd.cli.pictures import Threshold
from extd.cli.terminal import (
    Folder,
    Model,
    Provider,
    Threads,
    UsageError,
    print_line,
    progress_bar,
    usage,
)

if TYPE_CHECKING:
    from extd.measure.predictions import Prediction
    from extd.measure.subsets import Found, Subsets

Predictions = Annotated[Path, Parameter(metavar="PREDICTIONS", required=True)]
Alarms = Annotated[float, Parameter(metavar="NUMBER")]


def pr(
    *predictions: Predictions, ground_truth: Folder, out: Folder, official: Folder | None = None
) -> int:
    """Draw precision-recall curves on WIDER FACE.

    PREDICTIONS are folders that `extd eval wider --save-predictions` wrote, or any others in
    WIDER's format, all of the same pictures; their names stand in the legend.

        extd eval wider --images WIDER_val/images --ground-truth ground_truth
            --save-predictions found/extd-lite --model extd-lite
        extd plot pr found/extd-lite --ground-truth ground_truth --out plots

    Args:
        predictions: The detections of each detector.
        ground_truth: Folder of the official wider_face_val.mat and lists.
        out: Folder for pr.png and pr.csv.
        official: Folder with curves of WIDER's eval_tools (wider_pr_info_*.mat), to be drawn
            beside them. They are of the whole validation set.
    """
    from extd.measure.curves import load_official, write_curves
    from extd.measure.faceplots import plot_curves
    from extd.measure.figures import import_figure
    from extd.measure.wider import evaluate, load_ground_truth

    import_figure()
    with usage():
        found = read_all(predictions)
        truth = load_ground_truth(ground_truth)
        others = {} if official is None else load_official(official)
        results = {name: evaluate(detections, truth) for name, detections in found.items()}
    curves = {
        name: {"easy": result.easy, "medium": result.medium, "hard": result.hard}
        for name, result in results.items()
    }
    images = next(iter(results.values())).images
    plot_curves(curves, others, f"WIDER FACE validation, {images:,} pictures", out / "pr.png")
    write_curves({**curves, **others}, out / "pr.csv")
    return told(out, "pr")


def recall(
    *predictions: Predictions, ground_truth: Folder, out: Folder, false_alarms: Alarms = 1.0
) -> int:
    """Draw which share of faces is found, by their size.

    Each detector is taken at the threshold at which it has so many false alarms a picture, so that
    scores need not mean the same. Faces are those of WIDER FACE's hard set.

        extd plot recall found/extd-lite found/other --ground-truth ground_truth --out plots

    Args:
        predictions: The detections of each detector, as for `extd plot pr`.
        ground_truth: Folder of the official wider_face_val.mat and lists.
        out: Folder for recall.png and recall.csv.
        false_alarms: How many detections of no face are allowed, a picture and on average.
    """
    from extd.measure.faceplots import plot_sizes
    from extd.measure.subsets import by_size
    from extd.measure.wider import load_ground_truth

    with usage():
        subsets = by_size(load_ground_truth(ground_truth))
    return draw_found("recall", plot_sizes, predictions, subsets, out, false_alarms)


def attributes(
    *predictions: Predictions, ground_truth: Folder, out: Folder, false_alarms: Alarms = 1.0
) -> int:
    """Draw recall and AP of faces by blur, occlusion, pose, illumination and expression.

    Recall is as of `extd plot recall`. For AP, faces of other values are ignored but all false
    alarms count: the fewer faces a value has, the lower its AP, so compare detectors, not values.

        extd plot attributes found/extd-lite --ground-truth ground_truth --out plots

    Args:
        predictions: The detections of each detector, as for `extd plot pr`.
        ground_truth: Folder of the official wider_face_val.mat, which has the attributes.
        out: Folder for attributes.png and attributes.csv.
        false_alarms: How many detections of no face are allowed, a picture and on average.
    """
    from extd.measure.faceplots import plot_attributes
    from extd.measure.subsets import by_attribute
    from extd.measure.wider import load_ground_truth

    with usage():
        subsets = by_attribute(load_ground_truth(ground_truth), ground_truth)
    return draw_found("attributes", plot_attributes, predictions, subsets, out, false_alarms)


def gallery(
    *,
    images: Folder,
    ground_truth: Folder,
    out: Annotated[Path, Parameter(metavar="FILE.png")],
    threshold: Threshold = 0.5,
    model: Model = DEFAULT_MODEL,
    threads: Threads = 0,
    provider: Provider = None,
) -> int:
    """Draw a page of WIDER FACE's pictures under hard conditions with the faces that are found.

    For each of tiny and large faces, blur, occlusion, pose and light it takes the picture with the
    most such faces among those of at most 40, so that nobody chooses by hand.

        extd plot gallery --images WIDER_val/images --ground-truth ground_truth --out page.png

    Args:
        images: Folder of EVENT/PICTURE.jpg, as for `extd eval wider`.
        ground_truth: Folder of the official wider_face_val.mat and lists.
        out: The picture to write.
        threshold: Least probability of a face.
        model: A model that `extd models` lists, or an .onnx file.
        threads: How many threads compute.
        provider: Execution provider of ONNX Runtime; `extd doctor` tells which work here.
    """
    from extd.detector import Detector, Options
    from extd.measure.evaluation import find_pictures
    from extd.measure.figures import import_figure
    from extd.measure.gallery import choose, draw_gallery
    from extd.measure.subsets import by_attribute, by_size
    from extd.measure.wider import load_ground_truth

    import_figure()
    with usage():
        truth = load_ground_truth(ground_truth)
        paths = find_pictures(images, truth)
        providers = None if provider is None else [provider]
        options = Options(threshold=threshold)
        detector = Detector(model, options=options, threads=threads, providers=providers)
        exhibits = choose(paths, [by_size(truth), by_attribute(truth, ground_truth)])
    name = Path(model).name
    caption = f"{name}, threshold {threshold:g}; found of the faces that count in the hard set"
    with progress_bar("detecting", hidden=False) as bar:
        draw_gallery(exhibits, detector.detect, caption, out, bar.track)
    print_line(Console(), f"written: {out}")
    return 0


def draw_found(
    name: str,
    draw: Callable[[Mapping[str, Found], Sequence[str], Sequence[int], str, Path], None],
    predictions: Sequence[Path],
    subsets: Subsets,
    out: Path,
    false_alarms: float,
) -> int:
    """Measure the detectors on each subset of faces and draw what they find."""
    from extd.measure.faceplots import write_found
    from extd.measure.figures import import_figure
    from extd.measure.subsets import find, restricted

    import_figure()
    if not false_alarms > 0:
        raise UsageError(f"--false-alarms is {false_alarms:g}; give a number above 0")
    with usage():
        found = read_all(predictions)
        some = restricted(subsets, next(iter(found.values())))
    results = {detector: find(every, some, false_alarms) for detector, every in found.items()}
    caption = (
        f"faces of WIDER FACE's hard set in {len(some.pictures):,} validation pictures; "
        f"recall where false alarms a picture are {false_alarms:g}"
    )
    draw(results, some.names, some.faces, caption, out / f"{name}.png")
    write_found(results, some.names, some.faces, out / f"{name}.csv")
    return told(out, name)


def read_all(folders: Sequence[Path]) -> dict[str, dict[str, Prediction]]:
    """The detections in each folder, by the folder's name and the picture's.

    Raises:
        FileNotFoundError: a folder has none.
        ValueError: a file is not in WIDER's format, two folders have one name, or a picture is
            missing from one of them.
    """
    from extd.measure.predictions import read_predictions

    found: dict[str, dict[str, Prediction]] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in found:
            raise ValueError(f"two folders are called {name}; rename one, for the legend")
        found[name] = dict(read_predictions(folder))
    first, *others = found
    for other in others:
        odd = sorted(found[first].keys() ^ found[other].keys())
        if odd:
            without = other if odd[0] in found[first] else first
            raise ValueError(
                f"{odd[0]} is missing from {without}; detectors are compared on the same pictures"
            )
    return found


def told(out: Path, name: str) -> int:
    """Say what was written; the exit code."""
    print_line(Console(), f"written: {out / name}.png and {name}.csv")
    return 0
