"""Variants of one recipe, trained alike and compared: a grid, its runs, its table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from extd.files import atomic_write
from extd.models.checkpoint import load_network
from extd.models.export import export_onnx
from extd.models.profile import count_macs, count_parameters
from extd.training.image_cache import fingerprint, read_mixture
from extd.training.metrics import LOG, read_columns
from extd.training.plots import plot_variants
from extd.training.recipe import Recipe, dump_recipe, load_recipe, load_yaml
from extd.training.trainer import train

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Grid:
    """What is compared.

    Attributes:
        recipe: file of the recipe that all share.
        changes: keys of it, as `loss.regression`, with the values that all variants have.
        variants: by name, keys and values that one variant has beside those.
    """

    recipe: Path
    changes: dict[str, object]
    variants: dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Result:
    """A trained variant.

    Attributes:
        variant: its name.
        parameters: of its network.
        macs: multiply-adds of its network at 640 x 480.
        steps: how many were made.
        crops: how many crops it learned from.
        images: how many pictures it was measured on.
        test: fingerprint of those.
        data: fingerprint of the pictures that it learned from; older results have none.
        loss: mean over the last third of the steps, less noisy than `ap`: to be compared only among
            variants of the same losses, matching and crops.
        ap: average precision, 0 to 1, by difficulty or size of faces.
    """

    variant: str
    parameters: int
    macs: int
    steps: int
    crops: int
    images: int
    test: str
    data: str
    loss: float
    ap: dict[str, float | None]


def load_grid(path: Path) -> Grid:
    """Read a grid; see the files in `grids/`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no grid; the message says what is wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no grid {path}")
    content = load_yaml(path)
    known = {"recipe", "changes", "variants"}
    if not isinstance(content, dict) or not {"recipe", "variants"} <= set(content) <= known:
        raise ValueError(f"{path} must have the keys recipe and variants, and may have changes")
    changes = content.get("changes") or {}
    variants = content["variants"]
    if not isinstance(variants, dict) or not variants:
        raise ValueError(f"{path}: variants must be names with keys of the recipe and values")
    for name, change in {"changes": changes, **variants}.items():
        if not isinstance(change or {}, dict):
            raise ValueError(f"{path}: {name} must be keys of the recipe and values, not {change}")
        if not all(isinstance(key, str) for key in change or {}):
            raise ValueError(
                f"{path}: {name} has a key that is no text in {change}; put it in quotes"
            )
        if Path(str(name)).name != str(name) or str(name) in {"", ".."} or "\0" in str(name):
            raise ValueError(f"{path}: the variant {name!r} would be no folder; leave out slashes")
    if len({str(name) for name in variants}) < len(variants):
        raise ValueError(f"{path}: two variants have one name among {list(variants)}")
    recipe = Path(os.path.normpath(path.parent.absolute() / str(content["recipe"])))
    each = {str(name): _dotted(change or {}) for name, change in variants.items()}
    return Grid(recipe, _dotted(changes), each)


def _dotted(changes: Mapping[str, object], parent: str = "") -> dict[str, object]:
    """A mapping in a mapping, as in a recipe, as keys with dots: what it does not name stays."""
    keys: dict[str, object] = {}
    for key, value in changes.items():
        inner = _dotted(value, f"{parent}{key}.") if isinstance(value, dict) else None
        keys |= {f"{parent}{key}": value} if inner is None else inner
    return keys


def variant_recipe(grid: Grid, name: str, data: Sequence[Path] = ()) -> Recipe:
    """The recipe of a variant; `data` as for `load_recipe`.

    Raises:
        FileNotFoundError, ValueError: as `load_recipe`; or there is no such variant.
    """
    if name not in grid.variants:
        raise ValueError(f"there is no variant {name!r}; the grid has {', '.join(grid.variants)}")
    try:
        return load_recipe(grid.recipe, data, changes=grid.changes | grid.variants[name])
    except ValueError as error:
        raise ValueError(f"variant {name}: {error}") from error


def run_variant(
    name: str,
    recipe: Recipe,
    out: Path,
    evaluate: Callable[[Path], tuple[int, Mapping[str, float | None]]],
    test: str,
    *,
    device: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
) -> Result:
    """Train and measure a variant in its folder, or go on with it, or read its result.

    A variant that was measured on other pictures is measured again, not trained again.

    Args:
        name: of the variant, and of the folder in `out`.
        recipe: of the variant.
        out: folder of all variants.
        evaluate: gives the number of pictures and the AP of an ONNX file.
        test: fingerprint of the pictures that it measures on.
        device: as for `train`.
        threads: likewise.
        cache: likewise.

    Raises:
        FileNotFoundError, ValueError: as `train`; or its folder holds the run of another recipe,
            or of other pictures.
    """
    folder = out / name
    data = fingerprint(read_mixture(recipe.data))
    if (folder / RESULT).is_file():
        if (folder / "recipe.yaml").read_text(encoding="utf-8") != dump_recipe(recipe, folder):
            raise ValueError(f"{folder} holds the result of another recipe; choose another --out")
        before = _read(folder)
        if before.data not in {"", data}:
            raise ValueError(f"{folder} learned from other pictures; choose another --out")
        if before.test == test:
            return before
    weights = train(recipe, folder, resume=True, device=device, threads=threads, cache=cache)
    network, notes = load_network(weights)
    export_onnx(network, folder / "network.onnx", notes)
    images, ap = evaluate(folder / "network.onnx")
    result = Result(
        name,
        count_parameters(network),
        count_macs(network),
        recipe.iterations,
        recipe.iterations * recipe.batch,
        images,
        test,
        data,
        late_loss(folder),
        dict(ap),
    )
    content = {field: getattr(result, field) for field in Result.__slots__}
    with atomic_write(folder / RESULT) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return result


def late_loss(folder: Path) -> float:
    """The mean loss of a run over the last third of its steps."""
    losses = read_columns(folder / LOG)["loss"]
    return fmean(losses[-max(len(losses) // 3, 1) :])


def _read(folder: Path) -> Result:
    path = folder / RESULT
    try:
        return Result(**{"data": "", **json.loads(path.read_text(encoding="utf-8"))})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a result of this version ({error}); remove it, and the variant is "
            "measured again"
        ) from error


def finished(grid: Grid, out: Path, test: str) -> list[Result]:
    """The results in `out` on the pictures of fingerprint `test`, in the order of the grid."""
    folders = [out / name for name in grid.variants]
    results = [_read(folder) for folder in folders if (folder / RESULT).is_file()]
    return [result for result in results if result.test == test]


def write_tables(results: Sequence[Result], out: Path) -> str:
    """Write `results.csv`, `results.md` and `results.png`; the text of the second.

    Beside each AP stands in parentheses how far it is below the best, as in the paper's tables.
    """
    kinds = list(results[0].ap)
    best = {kind: max(result.ap[kind] or 0.0 for result in results) for kind in kinds}
    header = ["variant", "parameters", "M multiply-adds", "crops", "loss", *kinds]
    rows = [
        [
            result.variant,
            f"{result.parameters:,}",
            f"{result.macs / 1e6:,.0f}",
            f"{result.crops:,}",
            f"{result.loss:.3f}",
            *(_margin(result.ap[kind], best[kind]) for kind in kinds),
        ]
        for result in results
    ]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    with atomic_write(out / "results.md") as partial:
        partial.write_text(text, encoding="utf-8")
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow([*Result.__slots__[:-1], *kinds])
    for result in results:
        *fields, ap = (getattr(result, field) for field in Result.__slots__)
        table.writerow([*fields, *ap.values()])
    plot_variants({result.variant: result.ap for result in results}, out / "results.png")
    with atomic_write(out / "results.csv") as partial:
        partial.write_text(stream.getvalue(), encoding="utf-8")
    return text


def _margin(ap: float | None, best: float) -> str:
    if ap is None:
        return "-"
    return f"{ap:.3f} (best)" if ap == best else f"{ap:.3f} ({ap - best:+.3f})"
