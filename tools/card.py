"""Write the card of a model whose weights ship: docs/models/NAME.md, its curve and its log.

    python tools/card.py RUN
    python tools/card.py RUN --before CARD.md

RUN is the run folder that the weights in the package come from, CARD.md the card of the weights
that it began with (`init`): what it says of their training goes below. Put the weights into the
package first (tools/catalog.py).
"""

from __future__ import annotations

import argparse
import csv
import shutil
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import yaml

from extd.catalog import ModelInfo, find_model, load_catalog
from extd.files import atomic_write
from extd.training.augmentation import crop_size
from extd.training.metrics import LOG, plot_run, read_columns
from extd.training.recipe import load_recipe

CARDS = Path(__file__).resolve().parents[1] / "docs" / "models"
LOG_ROWS = 500
"""Of a run; each is the mean of as many steps."""

SOURCES = {
    "wider_train": "WIDER FACE, training set",
    "wider_train_nvidia960": "WIDER FACE, training set, medium and large faces",
    "mafa_aizoo": "MAFA, occluded faces",
    "ilc2021": "people in streets and trains, many with masks",
    "fddb_nvidia960": "FDDB",
    "mask853_kaggle": "people with and without medical masks",
}

CARD = """# {name}

{parameters:,} parameters, {macs:,.0f} million multiply-adds at 640x480, a file of {bytes:,} bytes.

| AP | easy | medium | hard |
|---|---|---|---|
| {images} pictures of WIDER FACE's validation set, protocol `single` | {easy:.3f} | {medium:.3f} \
| {hard:.3f} |

```sh
extd eval wider --images WIDER_val/images --ground-truth ground_truth --model {name}
```

The pictures are a random ninth of the validation set, over 59 of its 61 events: not to be compared
with published numbers for the whole set. [Which faces can it see?](../faces.md)

## Training

{runs}

![Loss and learning rate]({name}.png)

Its log, each row the mean of many steps: [{name}.csv]({name}.csv). The recipe with every default:

```yaml
{recipe}```

## Limits

- Trained on about a third of WIDER FACE's training set, mostly from 14 of its 61 events, and some
  other collections. What these show rarely, as faces upside down, it finds rarely.
- It was not measured for groups of people, by age, skin or sex. Measure on your own pictures.
- It gives boxes and scores: no landmarks, no identity, no age or mood.

## Licence

The weights are MIT as far as it is ours to give. The photographs were collected from the web and
released for research; whether that allows your use is for you to judge.
"""

RUN = """- {steps:,.0f} steps of {batch} crops of {sides} px, {hours:.1f} hours on {device}, from
  {begin}. Pictures drawn from: {sources}."""


def hours_of(seconds: list[float]) -> float:
    """What all processes of a run took; the clock of each begins at 0."""
    ends = [a for a, b in pairwise(seconds) if b < a]
    return sum([*ends, seconds[-1]]) / 3600


def described(run: Path, device: str) -> str:
    """A run as a line of the card."""
    recipe, log = load_recipe(run / "recipe.yaml"), read_columns(run / LOG)
    sources = [name for dataset in recipe.data.sets for name in dataset.sources]
    sides = sorted({crop_size(recipe, step) for step in range(int(log["step"][-1]))})
    begin = "scratch"
    if recipe.init:
        begin = f"`{recipe.init}`" if not Path(recipe.init).suffix else "the run below"
    return RUN.format(
        steps=log["step"][-1],
        batch=recipe.batch,
        sides=" to ".join(str(side) for side in dict.fromkeys((sides[0], sides[-1]))),
        hours=hours_of(log["seconds"]),
        device=device,
        begin=begin,
        sources="; ".join(SOURCES.get(name, name) for name in sources) or "one's own set",
    )


def thinned(columns: dict[str, list[float]]) -> list[list[str]]:
    """At most `LOG_ROWS` rows, each the mean of as many steps; its step is the last of them."""
    length = len(columns["step"])
    width = -(-length // LOG_ROWS)
    kept = [name for name in columns if name not in ("seconds", "waited")]
    rows = [kept]
    for first in range(0, length, width):
        parts = {name: columns[name][first : first + width] for name in kept}
        step = parts.pop("step")[-1]
        rows.append([f"{step:.0f}", *(f"{sum(part) / len(part):.5g}" for part in parts.values())])
    return rows


def runs_of(card: Path) -> str:
    """The runs that a card tells of, a line each, newest first."""
    _, _, rest = card.read_text(encoding="utf-8").partition("\n## Training\n\n")
    runs, mark, _ = rest.partition("\n\n![")
    if not mark or not runs.startswith("- "):
        raise SystemExit(f"{card} is no card: it does not tell of training")
    return runs


def write_card(model: ModelInfo, run: Path, before: str, device: str) -> Path:
    """Write the card of `model`, trained in `run` on `device` after the runs `before`."""
    weights = model.weights
    if weights is None or weights.ap is None:
        raise SystemExit(f"{model.name} has no weights in the package; run tools/catalog.py first")
    CARDS.mkdir(exist_ok=True)
    plot_run(run)
    shutil.copyfile(run / "curves.png", CARDS / f"{model.name}.png")
    with (
        atomic_write(CARDS / f"{model.name}.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(thinned(read_columns(run / LOG)))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    for dataset in recipe["data"]["sets"]:
        dataset["path"] = "WIDER/labels.jsonl"
    if before:
        recipe["init"] = "EARLIER_RUN/weights.safetensors"
    card = CARD.format(
        name=model.name,
        parameters=model.parameters,
        macs=model.macs / 1e6,
        bytes=weights.bytes,
        images=weights.images,
        recipe=yaml.safe_dump(recipe, sort_keys=False),
        runs="\n".join(filter(None, (described(run, device), before))),
        **asdict(weights.ap),
    )
    path = CARDS / f"{model.name}.md"
    with atomic_write(path) as partial:
        partial.write_text(card, encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--before", type=Path, help="the card of the weights that it began with")
    parser.add_argument("--device", default="CPU cores", help="as: two cores of an AMD EPYC")
    arguments = parser.parse_args()
    name = load_recipe(arguments.run / "recipe.yaml").config.name
    before = runs_of(arguments.before) if arguments.before else ""
    model = find_model(name, load_catalog())
    print(write_card(model, arguments.run, before, arguments.device))


if __name__ == "__main__":
    main()
