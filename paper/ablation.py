"""Train the paper's networks alike and compare their AP on WIDER FACE: neck x width x activation.

    python paper/ablation.py --data WIDER/labels.jsonl --images WIDER_val/images \
        --ground-truth ground_truth --threads 1 --out runs/ablation

ablation.yaml names the recipe and what each variant changes in it. Every variant is trained in a
folder of its own. Ctrl-C saves and stops; the same command continues there. Several commands may
share the folder, each with other variants in --only. Writes results.csv, results.md, results.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from figures import STYLE, save_figure

from extd.detector import Detector
from extd.evaluation.protocols import single
from extd.evaluation.wider import (
    DIFFICULTIES,
    GroundTruth,
    evaluate_detector,
    find_images,
    load_ground_truth,
)
from extd.files import atomic_write
from extd.models.export import export_onnx
from extd.models.network import count_macs, count_parameters, load_network
from extd.training.recipe import Recipe, load_recipe
from extd.training.trainer import train

HERE = Path(__file__).parent
RESULT = "result.json"


def load_variants(path: Path, data: Sequence[Path] = ()) -> dict[str, Recipe]:
    """The recipe of each variant in a file like ablation.yaml, trained on `data`.

    Raises:
        FileNotFoundError, ValueError: as `load_recipe`; the message names the variant.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipes = {}
    for name, changes in content["variants"].items():
        try:
            recipes[name] = load_recipe(
                path.parent / content["recipe"], data, changes=content["changes"] | changes
            )
        except ValueError as error:
            raise ValueError(f"{path}, variant {name}: {error}") from error
    return recipes


def train_variant(
    name: str, recipe: Recipe, folder: Path, device: str | None, threads: int | None
) -> dict[str, object]:
    """Train a variant in its folder or continue there, and export it as network.onnx.

    Returns:
        Its row of results.csv, but for AP.
    """
    weights = train(recipe, folder, resume=True, device=device, threads=threads)
    network, notes = load_network(weights)
    export_onnx(network, folder / "network.onnx", notes)
    return {
        "variant": name,
        "parameters": count_parameters(network),
        "macs": count_macs(network),
        "steps": recipe.iterations,
        "crops": recipe.iterations * recipe.batch,
    }


def measure(
    model: Path, images: Path, truth: Sequence[GroundTruth], threads: int | None
) -> dict[str, float]:
    """Number of images and AP by difficulty of an ONNX file."""
    detector = Detector(model, threads=threads or 0)
    result = evaluate_detector(partial(single, detector), images, truth)
    return {"images": result.images, **result.ap}


def readable(results: pd.DataFrame) -> str:
    """The table in Markdown, each AP with the margin to the best, as the paper gives it."""
    table = pd.DataFrame(
        {
            "variant": results["variant"],
            "parameters": results["parameters"].map("{:,}".format),
            "M multiply-adds": (results["macs"] / 1e6).map("{:,.0f}".format),
            "crops": results["crops"].map("{:,}".format),
        }
    )
    for difficulty in DIFFICULTIES:
        ap = results[difficulty]
        table[difficulty] = [
            f"{one:.3f} (best)" if one == ap.max() else f"{one:.3f} ({one - ap.max():+.3f})"
            for one in ap
        ]
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def plot(results: pd.DataFrame, path: Path) -> None:
    """Draw the AP of every variant, a row each."""
    figure, axis = plt.subplots(figsize=(9, 1.4 + 0.28 * len(results)))
    for difficulty in DIFFICULTIES:
        axis.plot(results[difficulty], results["variant"], "o", label=difficulty)
    axis.invert_yaxis()
    axis.set(xlabel="AP", xlim=(0, None))
    figure.legend(loc="outside upper center", ncols=3)
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, default=HERE / "ablation.yaml")
    parser.add_argument("--data", type=Path, action="append", default=[], help="labeled images")
    parser.add_argument("--images", type=Path, required=True, help="folder of EVENT/IMAGE.jpg")
    parser.add_argument("--ground-truth", type=Path, required=True, help="official .mat files")
    parser.add_argument("--only", action="append", metavar="VARIANT", help="may be repeated")
    parser.add_argument("--device", help="as cpu or cuda; cuda if there is one")
    parser.add_argument("--threads", type=int, help="of the CPU; one per core")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    recipes = load_variants(options.grid, options.data)
    if unknown := set(options.only or ()) - recipes.keys():
        parser.error(f"there is no variant {unknown.pop()!r}; choose from {', '.join(recipes)}")
    # Before hours of training: a missing folder is found out now.
    truth = load_ground_truth(options.ground_truth)
    find_images(options.images, truth)
    for name in options.only or recipes:
        folder = options.out / name
        if (folder / RESULT).is_file():
            continue
        print(f"variant {name}", flush=True)
        row = train_variant(name, recipes[name], folder, options.device, options.threads)
        row |= measure(folder / "network.onnx", options.images, truth, options.threads)
        with atomic_write(folder / RESULT) as partial_file:
            partial_file.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    paths = [options.out / name / RESULT for name in recipes]
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    results = pd.DataFrame(rows)
    text = readable(results)
    print(text)
    with atomic_write(options.out / "results.csv") as partial_file:
        results.round(5).to_csv(partial_file, index=False)
    with atomic_write(options.out / "results.md") as partial_file:
        partial_file.write_text(text, encoding="utf-8")
    plot(results, options.out / "results.png")


if __name__ == "__main__":
    main()
