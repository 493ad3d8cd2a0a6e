"""Write src/extd/catalog.json: count every model, and put trained weights into the package.

    python tools/catalog.py
    python tools/catalog.py runs/extd-lite runs/extd-lite-nano --calibrate TRAIN/labels.jsonl \
        --images WIDER_val/images --ground-truth ground_truth

The first command only counts. The second also exports each run's weights as float and int8 files,
measures both with protocol `single`, and writes the numbers into the catalog and the model's card
in docs/models.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch

from extd.catalog import PACKAGE, ModelInfo, Weights, WeightsFile, load_catalog
from extd.cli.weights import calibration_images
from extd.detector import Detector
from extd.evaluation.protocols import single
from extd.evaluation.wider import evaluate_detector, load_ground_truth, rounded
from extd.files import atomic_write
from extd.models.config import LITE_CONFIGS, PAPER_CONFIGS, parse_name
from extd.models.export import export_onnx, save_onnx
from extd.models.lite import Lite
from extd.models.network import (
    build_network,
    count_macs,
    count_parameters,
    load_network,
    save_network,
)
from extd.models.quantize import export_int8

CATALOG = Path(str(PACKAGE), "catalog.json")
WEIGHTS = Path(str(PACKAGE), "weights")
CARDS = Path(__file__).parents[1] / "docs" / "models"
BEGIN, END = "<!-- written by tools/catalog.py -->", "<!-- end -->"
LICENSE = "MIT; trained on photographs released for research"


def count_model(name: str, weights: Weights | None) -> ModelInfo:
    """The catalog's entry of a model."""
    # Counts need shapes alone, so no weights are allocated.
    with torch.device("meta"):
        network = build_network(parse_name(name)).eval()
    return ModelInfo(name, count_parameters(network), count_macs(network), weights)


def package(source: Path, options: argparse.Namespace) -> tuple[str, Weights]:
    """Export the weights of a run into the package; the model's name and its weights."""
    network, notes = load_network(source / "weights.safetensors" if source.is_dir() else source)
    name = network.config.name
    notes |= {"license": LICENSE}
    path, int8_path = WEIGHTS / f"{name}.onnx", WEIGHTS / f"{name}-int8.onnx"
    save_network(network, path.with_suffix(".safetensors"), notes)
    export_onnx(network, path, notes)
    float32, images = describe(path, options)
    int8 = None
    if isinstance(network, Lite):
        export_int8(network, int8_path, calibration_images(options.calibrate), notes)
        int8, images = describe(int8_path, options)
    training = (str(notes[key]) for key in ("training_data", "training") if key in notes)
    return name, Weights(float32, int8, images, "; ".join(training), LICENSE)


def describe(path: Path, options: argparse.Namespace) -> tuple[WeightsFile, int | None]:
    """An ONNX file of the package, measured if there are images, and how many these are."""
    ap: Any = None
    images = None
    if options.images:
        truth = load_ground_truth(options.ground_truth)
        result = evaluate_detector(partial(single, Detector(path)), options.images, truth)
        ap, images = rounded(result.ap), result.images
        model = onnx.load(path)
        model.metadata_props.add(key="extd.ap", value=json.dumps(ap))
        save_onnx(model, path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return WeightsFile(path.name, digest, len(content), ap), images


def card_facts(model: ModelInfo) -> str:
    """The part of a model's card that follows from the catalog."""
    macs = f"{model.macs / 1e6:,.0f} million multiply-adds at 640x480"
    lines = [f"{model.parameters:,} parameters, {macs}."]
    if model.weights is None:
        return lines[0]
    lines += ["", "| weights | file, bytes | AP easy | medium | hard |", "|---|---:|---|---|---|"]
    for precision, file in (("float", model.weights.float32), ("int8", model.weights.int8)):
        if file is not None:
            ap = dataclasses.astuple(file.ap) if file.ap else ()
            cells = " | ".join(f"{value:.3f}" for value in ap) or "- | - | -"
            lines.append(f"| {precision} | {file.bytes:,} | {cells} |")
    if model.weights.images:
        lines += [
            "",
            f"AP on {model.weights.images} images of WIDER FACE's validation set, one scale.",
        ]
    return "\n".join([*lines, "", f"Trained on {model.weights.training_data}."])


def write_card(model: ModelInfo, folder: Path = CARDS) -> None:
    """Bring the facts in a model's card up to date; the rest of it is written by hand.

    Raises:
        FileNotFoundError: there is no card.
        ValueError: it does not have the two comments that enclose the facts.
    """
    path = folder / f"{model.name}.md"
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the facts; put {BEGIN} and {END} around it")
    with atomic_write(path) as partial_file:
        facts = f"{before}{BEGIN}\n\n{card_facts(model)}\n\n{END}{after}"
        partial_file.write_text(facts, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*", help="run folders or .safetensors files")
    parser.add_argument("--calibrate", type=Path, help="labels or images, for int8")
    parser.add_argument("--images", type=Path, help="WIDER FACE's validation images")
    parser.add_argument("--ground-truth", type=Path, help="folder of the official .mat files")
    options = parser.parse_args()
    if options.runs and not options.calibrate:
        parser.error("weights need --calibrate LABELS_OR_FOLDER")
    if (options.images is None) != (options.ground_truth is None):
        parser.error("--images and --ground-truth go together")
    weights = {model.name: model.weights for model in load_catalog()}
    packaged = dict(package(run, options) for run in options.runs)
    weights |= packaged
    names = dict.fromkeys([*LITE_CONFIGS, *(config.name for config in PAPER_CONFIGS), *weights])
    models = [count_model(name, weights.get(name)) for name in names]
    text = json.dumps([dataclasses.asdict(model) for model in models], indent=1)
    with atomic_write(CATALOG) as partial_file:
        partial_file.write_text(text + "\n", encoding="utf-8")
    for model in load_catalog():
        if model.name in packaged:
            write_card(model)


if __name__ == "__main__":
    main()
