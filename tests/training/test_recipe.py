from __future__ import annotations

from pathlib import Path

import pytest

from extd.training.recipe import load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_ship_load(path: Path) -> None:
    recipe = load_recipe(path)
    assert Path(recipe.data.labels).is_absolute()
    assert path.read_text(encoding="utf-8").startswith("#")


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text("model: extd-ssd-32-relu\niterations: 5\n" + text, encoding="utf-8")
    return path


def test_values_are_read_with_their_types(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "data: {labels: a/labels.jsonl, sources: {wider: 2}}\n"
        "augmentation: {square: [0.5, 1], crop: 256}\n"
        "optimizer: {rate: 1e-3, milestones: [2, 4]}\n",
    )
    recipe = load_recipe(path)
    assert recipe.data.labels == str(tmp_path / "a" / "labels.jsonl")
    assert load_recipe(path, Path("b.jsonl")).data.labels == str(Path.cwd() / "b.jsonl")
    assert recipe.data.sources == {"wider": 2.0}
    assert recipe.augmentation.square == (0.5, 1.0)
    assert recipe.optimizer.rate == 1e-3
    assert recipe.optimizer.milestones == (2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {label: a}", r"r.yaml: there is no key data.label; did you mean data.labels\?"),
        ("data: {labels: a}\nbach: 3", r"no key bach; did you mean batch\?"),
        ("data: {}", r"the key data.labels is missing"),
        ("data: {labels: a}\nbatch: many", r"batch is 'many', which is not a int"),
        ("data: {labels: a}\nprecision: fp8", r"precision is 'fp8'; choose one of auto, fp32"),
        ("data: {labels: a}\naugmentation: {square: [1]}", r"square has 1 values; it takes 2"),
        ("data: {labels: a}\nbatch: 0", r"must be 1 or more, not 5, 0"),
        ("data: [", r"r.yaml is not YAML"),
        ("data: 3", r"data must be a mapping, not 3"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(written(tmp_path, text))


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
