from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from extd.training.journal import LOG

from extd.images import read_image
from extd.training.ablation import (
    RESULT,
    Grid,
    Result,
    finished,
    late_loss,
    load_grid,
    run_variant,
    variant_recipe,
    write_tables,
)

GRIDS = sorted((Path(__file__).resolve().parents[2] / "grids").glob("*.yaml"))


@pytest.fixture
def grid(labels: Path) -> Grid:
    recipe = labels.with_name("recipe.yaml")
    content = {
        "model": "extd-ssd-32-relu",
        "data": {"sets": [{"path": str(labels)}]},
        "iterations": 9,
        "batch": 2,
        "augmentation": {"crops": [128]},
        "compute": {"precision": "fp32"},
    }
    recipe.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    path = labels.with_name("grid.yaml")
    variants = {"plain": None, "giou": {"loss.regression": "giou", "loss.box_weight": 2.0}}
    content = {"recipe": "recipe.yaml", "changes": {"iterations": 2}, "variants": variants}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_grid(path)


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_variant_of_the_grids_that_ship_is_a_recipe(path: Path) -> None:
    grid = load_grid(path)
    recipes = [variant_recipe(grid, name) for name in grid.variants]
    assert len({str(recipe) for recipe in recipes}) == len(recipes)
    assert len({r.seed for r in recipes}) == 1
    crops = [r.iterations * r.batch for r in recipes]
    sides = [np.square(r.augmentation.crops).mean() for r in recipes]
    pixels = np.multiply(crops, sides)
    assert max(pixels) < 1.02 * min(pixels)


def test_a_variant_changes_the_keys_it_names_and_no_others(grid: Grid) -> None:
    plain, giou = (variant_recipe(grid, name) for name in ("plain", "giou"))
    assert (plain.iterations, plain.loss.regression) == (2, "smooth_l1")
    assert (giou.iterations, giou.loss.regression, giou.loss.box_weight) == (2, "giou", 2.0)
    assert giou.augmentation == plain.augmentation


def test_sections_change_key_by_key_and_no_variant_changes_another(
    labels: Path, grid: Grid
) -> None:
    path = labels.with_name("grid.yaml")
    content = {
        "recipe": "recipe.yaml",
        "changes": {"loss": {"box_weight": 9.0}},
        "variants": {"giou": {"loss": {"regression": "giou"}}, "plain": {}},
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    grid = load_grid(path)
    giou, plain = (variant_recipe(grid, name).loss for name in grid.variants)
    assert (giou.box_weight, giou.regression) == (9.0, "giou")
    assert (plain.box_weight, plain.regression) == (9.0, "smooth_l1")


def test_a_result_of_other_pictures_is_refused(grid: Grid, labels: Path, tmp_path: Path) -> None:
    recipe = variant_recipe(grid, "plain")
    run_variant("plain", recipe, tmp_path, lambda _: (7, {"easy": 0.5}), "a")
    lines = labels.read_text(encoding="utf-8").splitlines(keepends=True)
    labels.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match="plain learned from other pictures"):
        run_variant("plain", recipe, tmp_path, lambda _: (7, {"easy": 0.5}), "a")


def test_variants_are_trained_once_measured_and_set_side_by_side(
    grid: Grid, tmp_path: Path
) -> None:
    asked = []

    def evaluate(path: Path) -> tuple[int, dict[str, float | None]]:
        asked.append(path)
        return 7, {"easy": 0.5 + len(asked) / 10, "hard": None}

    out = tmp_path / "out"
    for _ in range(2):
        for name in grid.variants:
            run_variant(name, variant_recipe(grid, name), out, evaluate, "a")
    assert asked == [out / "plain" / "network.onnx", out / "giou" / "network.onnx"]
    results = finished(grid, out, "a")
    assert [(r.variant, r.crops, r.images) for r in results] == [("plain", 4, 7), ("giou", 4, 7)]
    text = write_tables(results, out)
    assert "| 0.600 (-0.100) | - |" in text
    assert "| 0.700 (best) | - |" in text
    with (out / "results.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["variant"], row["easy"], row["hard"]) for row in rows] == [
        ("plain", "0.6", ""),
        ("giou", "0.7", ""),
    ]
    assert [float(row["loss"]) for row in rows] == [
        late_loss(out / name) for name in ("plain", "giou")
    ]
    assert read_image(out / "results.png").shape[1] > 1000
    other = variant_recipe(Grid(grid.recipe, {"iterations": 3}, grid.variants), "plain")
    with pytest.raises(ValueError, match="plain holds the result of another recipe"):
        run_variant("plain", other, out, evaluate, "a")


def test_on_other_pictures_a_variant_is_measured_again_but_not_trained(
    grid: Grid, tmp_path: Path
) -> None:
    recipe = variant_recipe(grid, "plain")
    run_variant("plain", recipe, tmp_path, lambda _: (7, {"easy": 0.5}), "a")
    weights = tmp_path / "plain" / "weights.safetensors"
    trained = weights.stat().st_mtime_ns
    result = run_variant("plain", recipe, tmp_path, lambda _: (8, {"all": 0.25}), "b")
    assert (result.images, result.ap) == (8, {"all": 0.25})
    assert weights.stat().st_mtime_ns == trained
    assert finished(grid, tmp_path, "a") == []
    assert finished(grid, tmp_path, "b") == [result]


def test_the_table_keeps_the_order_of_the_grid_and_leaves_out_what_is_not_done(
    grid: Grid, tmp_path: Path
) -> None:
    assert finished(grid, tmp_path, "a") == []
    result = Result("giou", 1, 2, 3, 4, 5, "a", "b", 0.5, {"all": 0.25})
    (tmp_path / "giou").mkdir()
    fields = {name: getattr(result, name) for name in Result.__slots__}
    (tmp_path / "giou" / RESULT).write_text(json.dumps(fields), encoding="utf-8")
    assert finished(grid, tmp_path, "a") == [result]


def test_a_result_of_another_version_is_named(grid: Grid, tmp_path: Path) -> None:
    (tmp_path / "giou").mkdir()
    (tmp_path / "giou" / RESULT).write_text('{"variant": "giou"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"result\.json is not a result of this version"):
        finished(grid, tmp_path, "a")


def test_the_loss_of_a_run_is_that_of_its_last_third(tmp_path: Path) -> None:
    rows = "\n".join(f"{step},{loss}" for step, loss in enumerate([9, 9, 9, 9, 1, 3]))
    (tmp_path / LOG).write_text(f"step,loss\n{rows}\n", encoding="utf-8")
    assert late_loss(tmp_path) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: [", "grid.yaml is not YAML"),
        ("recipe: a.yaml", "must have the keys recipe and variants"),
        ("recipe: a.yaml\nvariants: {}", "variants must be names"),
        ("recipe: a.yaml\nvariants: {a: 3}", "a must be keys of the recipe and values, not 3"),
        ("recipe: a.yaml\nvariants: {a/b: {}}", "'a/b' would be no folder"),
        ("recipe: a.yaml\nvariants: {..: {}}", "'..' would be no folder"),
        ("recipe: a.yaml\nvariants: {1: {}, '1': {}}", "two variants have one name"),
        ("recipe: a.yaml\nvariants: {a: {}, a: {batch: 4}}", "the key a is there twice"),
        ("recipe: a.yaml\nvariants: {a: {1: 2}}", "a has a key that is no text"),
        ("recipe: a.yaml\nvariant: {a: {}}\nvariants: {a: {}}", "may have changes"),
    ],
)
def test_mistakes_in_a_grid_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_grid(path)


def test_mistakes_in_a_variant_are_named(grid: Grid) -> None:
    for change, message in (
        ({"loss.regresion": "giou"}, r"variant a: .*loss.regresion; did you mean loss.regression"),
        ({"batch.size": 3}, r"variant a: .*batch.size cannot be changed: batch holds no keys"),
    ):
        with pytest.raises(ValueError, match=message):
            variant_recipe(Grid(grid.recipe, {}, {"a": change}), "a")
    with pytest.raises(ValueError, match="no variant 'b'; the grid has plain, giou"):
        variant_recipe(grid, "b")
    with pytest.raises(FileNotFoundError, match="no grid"):
        load_grid(grid.recipe.with_name("none.yaml"))
