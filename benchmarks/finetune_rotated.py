r"""What `extd finetune` brings on images that the detector is bad at: faces lying on their side.

    python benchmarks/finetune_rotated.py WIDER/labels.jsonl --out rotated --minutes 20 \
        --images WIDER_val/images --ground-truth ground_truth

Turns images of a labeled set by 90 degrees, 200 to learn from and 100 to measure on, and writes
their labels without landmarks, as a tool to label with would. Other images of the set are for
`--keep`. Prints AP on the turned images and on WIDER FACE, before and after.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from extd.boxes import Boxes
from extd.cli.app import main as extd
from extd.data.datasets import read_dataset
from extd.data.labels import write_jsonl
from extd.data.near_duplicates import find_near_duplicates
from extd.data.sample import Sample
from extd.detector import Detector
from extd.evaluation.labeled import evaluate_labeled
from extd.evaluation.protocols import single
from extd.images import read_image

LEARNED, MEASURED = 200, 100


def turn(sample: Sample, folder: Path) -> Sample:
    """The sample turned counterclockwise by 90 degrees, as a new JPEG."""
    path = folder / f"{sample.path.stem}.jpg"
    image = np.ascontiguousarray(np.rot90(read_image(sample.path)))
    Image.fromarray(image).save(path, quality=95)
    height, width = image.shape[:2]
    boxes, ignore = (turn_boxes(own, sample.width) for own in (sample.boxes, sample.ignore))
    return Sample(path, width, height, boxes, ignore)


def turn_boxes(boxes: Boxes, width: int) -> Boxes:
    """Boxes of an image that was `width` px wide, turned with it."""
    x1, y1, x2, y2 = boxes.T
    return np.stack([y1, width - x2, y2, width - x1], axis=1)


def write_sets(samples: Sequence[Sample], out: Path) -> None:
    """Turned images to learn from and to measure on, and the rest, without landmarks."""
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    shuffled = [replace(samples[index], landmarks=None) for index in order]
    used = LEARNED + MEASURED
    # Two shots of one scene would be in both sets, which `extd finetune` refuses.
    paths = [sample.path for sample in shuffled[:used]]
    repeated = {pair.second for pair in find_near_duplicates(paths)}
    shuffled = [sample for sample in shuffled if sample.path not in repeated]
    (folder := out / "images").mkdir(parents=True)
    turned = [turn(sample, folder) for sample in shuffled[:used]]
    write_jsonl(turned[:LEARNED], out / "train.jsonl")
    write_jsonl(turned[LEARNED:], out / "test.jsonl")
    write_jsonl(shuffled[used:], out / "keep.jsonl")


def measure(model: str | Path, out: Path, wider: Sequence[str]) -> None:
    """Print AP on the turned images, and on WIDER FACE if its folders are given."""
    test = read_dataset(out / "test.jsonl")
    ap = evaluate_labeled(partial(single, Detector(model)), test).ap
    print(f"{model}: {json.dumps({size: round(value, 4) for size, value in ap.items()})}")
    if wider:
        extd(["eval", "wider", *wider, "--model", str(model), "--protocol", "single"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("--source", default="", help="take images of this collection alone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", default="20")
    parser.add_argument("--no-keep", action="store_true")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--ground-truth", type=Path)
    options = parser.parse_args(arguments)
    sets: Path = options.out / "sets"
    if not sets.exists():
        samples = [s for s in read_dataset(options.labels) if len(s.boxes)]
        write_sets([s for s in samples if options.source in {"", s.source}], sets)
    wider = []
    if options.images and options.ground_truth:
        wider = ["--images", str(options.images), "--ground-truth", str(options.ground_truth)]
    command = ["finetune", str(sets / "train.jsonl"), "--test", str(sets / "test.jsonl")]
    command += [] if options.no_keep else ["--keep", str(sets / "keep.jsonl")]
    tuned = options.out / "tuned"
    assert extd([*command, "--out", str(tuned), "--minutes", options.minutes]) == 0
    measure("extd-lite", sets, wider)
    for model in sorted(tuned.glob("*.onnx")):
        measure(model, sets, wider)


if __name__ == "__main__":
    main()
