"""Show which level of a network finds faces of which size.

    python tools/levels.py OUT MODEL ... --images WIDER_val/images --ground-truth ground_truth

Each annotated face of WIDER FACE counts for the level whose box of an IoU above 0.5 is surest, if
its score is above 0.2. Writes OUT/levels.csv and OUT/levels.png. See docs/lite.md for what it told.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from extd.boxes import iou
from extd.files import atomic_write
from extd.images import read_image
from extd.measure.evaluation import find_pictures
from extd.measure.figures import import_figure, save, tidy
from extd.measure.wider import load_ground_truth
from extd.runtime import OnnxModel

EDGES = (8, 16, 32, 64, 128, 256, 512)
"""Where groups of sizes begin, px of the longer side; smaller faces are left out."""
SURE = 0.2


def levels_of(network: OnnxModel) -> list[int]:
    """The strides of the network's levels."""
    strides: list[int] = json.loads(network.metadata["anchors"])["strides"]
    return strides


def strides_of(network: OnnxModel, height: int, width: int) -> NDArray[np.int64]:
    """The stride of each of the network's boxes in a picture of that size."""
    strides = levels_of(network)
    return np.repeat(strides, [-(-height // stride) * -(-width // stride) for stride in strides])


def count(network: OnnxModel, path: Path, faces: NDArray[np.float32]) -> list[tuple[int, int]]:
    """For each face found, the index of its size in `EDGES`, and the stride of its box."""
    image = read_image(path)
    boxes, scores = (values[0] for values in network.run(image[None]))
    strides = strides_of(network, *image.shape[:2])
    sure = scores > SURE
    boxes, scores, strides = boxes[sure], scores[sure], strides[sure]
    found = []
    for face in faces if len(boxes) else ():
        size = int(np.searchsorted(EDGES, max(face[2:] - face[:2]), "right")) - 1
        hits = np.where(iou(face[None], boxes)[0] > 0.5, scores, 0)
        if size >= 0 and hits.max() > 0:
            found.append((size, int(strides[hits.argmax()])))
    return found


def draw(tables: dict[str, dict[int, list[int]]], path: Path) -> None:
    """For each network, bars of the share of each stride by the size of faces."""
    figure = import_figure()(figsize=(3 * len(tables) + 1, 3.4), layout="constrained")
    names = [f"{edge}-{2 * edge}" for edge in EDGES[:-1]] + [f">= {EDGES[-1]}"]
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    strides = sorted({stride for table in tables.values() for stride in table})
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        shares = np.array(list(table.values()), float)
        shares /= np.maximum(shares.sum(0), 1)
        for stride, share, below in zip(table, shares, shares.cumsum(0) - shares, strict=True):
            axis.bar(names, share, bottom=below, color=f"C{strides.index(stride)}")
        axis.set(title=name, xlabel="longer side of the face, px")
        axis.tick_params(axis="x", labelrotation=45)
        tidy(axis)
    axes[0].set_ylabel("share of the faces found")
    for index, stride in enumerate(strides):
        axes[-1].bar(names[0], 0, color=f"C{index}", label=f"stride {stride}")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the table and the picture")
    parser.add_argument("models", nargs="+", help="names of models, or .onnx files")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--ground-truth", type=Path, required=True)
    given = parser.parse_args(arguments)
    if len({Path(model).stem for model in given.models}) < len(given.models):
        parser.error("two models have one name; rename a file, for the table tells them by it")
    truth = load_ground_truth(given.ground_truth)
    paths = find_pictures(given.images, truth)
    pictures = [picture for picture in truth if picture.key in paths]
    tables: dict[str, dict[int, list[int]]] = {}
    for model in given.models:
        network = OnnxModel(model)
        table = tables[Path(model).stem] = {
            stride: [0] * len(EDGES) for stride in levels_of(network)
        }
        for picture in track(pictures, description=model):
            corner = picture.boxes[:, :2]
            faces = np.hstack([corner, corner + picture.boxes[:, 2:]]).astype(np.float32)
            for size, stride in count(network, paths[picture.key], faces):
                table[stride][size] += 1
    given.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(given.out / "levels.csv") as partial, partial.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", "stride", *(f"from_{edge}_px" for edge in EDGES)])
        for model, table in tables.items():
            writer.writerows([model, stride, *counts] for stride, counts in table.items())
    draw(tables, given.out / "levels.png")


if __name__ == "__main__":
    main()
