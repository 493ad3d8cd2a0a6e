from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from extd.models.config import PAPER_CONFIGS, ExtdConfig
from extd.training.recipe import Recipe
from extd.training.recipefile import dump_recipe, load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_ship_load(path: Path) -> None:
    recipe = load_recipe(path)
    assert all(Path(dataset.path).is_absolute() for dataset in recipe.data.sets)
    head = path.read_text(encoding="utf-8").splitlines()[:6]
    for part in ("# Result:", "# Cost:", "# Command:"):
        assert any(line.startswith(part) for line in head), part


@pytest.mark.parametrize(("name", "thousands"), [("paper-240k", 240), ("paper-480k", 480)])
@pytest.mark.parametrize("model", [config.name for config in PAPER_CONFIGS])
def test_the_papers_recipes_are_appendix_a(name: str, thousands: int, model: str) -> None:
    (path,) = (p for p in RECIPES if p.stem == name)
    recipe = load_recipe(path, model=model)
    assert recipe.model == model
    assert recipe.iterations == thousands * 1000
    assert (recipe.batch, recipe.augmentation.crops) == (16, (640,))
    optimizer = recipe.optimizer
    assert (optimizer.kind, optimizer.rate, optimizer.momentum) == ("sgd", 1e-3, 0.9)
    assert (optimizer.weight_decay, optimizer.schedule) == (5e-4, "step")
    assert optimizer.milestones == (thousands * 500, thousands * 750)
    assert (optimizer.warmup, recipe.ema) == (0, 0.0)
    loss = recipe.loss
    assert (loss.assignment, loss.classification, loss.regression) == (
        "s3fd",
        "cross_entropy",
        "smooth_l1",
    )
    assert (loss.normalizer, loss.box_weight, loss.negatives) == ("paper", 4.0, 3)


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text("model: extd-ssd-32-relu\niterations: 5\n" + text, encoding="utf-8")
    return path


def test_values_are_read_with_their_types(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "data: {sets: [{path: a/labels.jsonl, sources: {wider: 2}}, {path: /b, weight: 3}]}\n"
        "augmentation: {square: [0.5, 1], crops: [256, 320]}\n"
        "distillation: {teacher: t.safetensors}\n"
        "optimizer: {rate: 1e-3, milestones: [2, 4]}\n",
    )
    recipe = load_recipe(path)
    first, second = recipe.data.sets
    assert first.path == str(tmp_path / "a" / "labels.jsonl")
    assert (first.weight, first.sources) == (1.0, {"wider": 2.0})
    assert (second.path, second.weight) == ("/b", 3.0)
    assert recipe.distillation.teacher == str(tmp_path / "t.safetensors")
    assert recipe.validation.path == ""
    assert recipe.augmentation.square == (0.5, 1.0)
    assert recipe.augmentation.crops == (256, 320)
    assert recipe.optimizer.rate == 1e-3
    assert recipe.optimizer.milestones == (2, 4)


def test_a_network_is_told_by_how_it_differs_from_a_model(tmp_path: Path) -> None:
    path = written(
        tmp_path, "data: {sets: [{path: a}]}\nnetwork: {width: 24, expansions: [2, 3]}\n"
    )
    recipe = load_recipe(path)
    assert recipe.config == ExtdConfig("ssd", 24, "relu", expansions=(2, 3))
    plain = written(tmp_path, "data: {sets: [{path: a}]}\nnetwork: {}\n")
    assert load_recipe(plain).config.name == "extd-ssd-32-relu"


def test_a_network_of_its_own_reads_back_the_same(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, network=ExtdConfig("ssd", 24, "relu", expansions=(2, 3)))
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe, tmp_path), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_a_teacher_may_be_the_name_of_a_model(tmp_path: Path) -> None:
    path = written(
        tmp_path, "data: {sets: [{path: a}]}\ndistillation: {teacher: extd-fpn-32-prelu}"
    )
    assert load_recipe(path).distillation.teacher == "extd-fpn-32-prelu"


def test_sets_are_replaced_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, "data: {sets: [{path: a, weight: 2}, {path: b}]}\n")
    recipe = load_recipe(path, [Path("x"), Path("/y")])
    assert [dataset.path for dataset in recipe.data.sets] == [str(Path.cwd() / "x"), "/y"]
    assert recipe.data.sets[0].weight == 2.0
    with pytest.raises(ValueError, match="mixes 2 sets of pictures; give as many, not 1"):
        load_recipe(path, [Path("x")])


def test_a_recipe_without_pictures_takes_those_given(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: extd-lite-nano\niterations: 5\n")
    with pytest.raises(ValueError, match="data"):
        load_recipe(path)
    given = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    recipe = load_recipe(path, data=given)
    assert [dataset.path for dataset in recipe.data.sets] == [str(path) for path in given]
    path.write_text("model: extd-lite-nano\niterations: 5\ndata: {max_unreadable: 0.1}\n")
    recipe = load_recipe(path, data=given[:1])
    assert (len(recipe.data.sets), recipe.data.max_unreadable) == (1, 0.1)


def test_another_model_does_not_take_the_network_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "model: extd-lite\nnetwork: {width: 32}\ndata: {sets: [{path: a}]}", encoding="utf-8"
    )
    with pytest.raises(ValueError, match="differs from extd-lite, so it cannot train extd-fpn"):
        load_recipe(path, model="extd-fpn-32-prelu")


def test_what_is_written_reads_back_the_same(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "recipe.yaml"
    path.parent.mkdir()
    path.write_text(dump_recipe(recipe, path.parent), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert str(tmp_path) not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {set: a}", r"r.yaml: there is no key data.set; did you mean data.sets\?"),
        ("data: {sets: [{paht: a}]}", r"no key data.sets.0.paht; did you mean data.sets.0.path\?"),
        ("data: {sets: [{path: a}]}\nbach: 3", r"no key bach; did you mean batch\?"),
        ("data: {set: a, xyz: 1}", r"no key data.set"),
        ("data: {xyz: 1}", r"no key data.xyz; there are sets, max_unreadable"),
        ("data: {}", r"the key data.sets is missing"),
        ("data: {sets: [{path: a}]}\nbatch: many", r"batch is 'many'; it takes a whole number"),
        ("data: {sets: a}", r"data.sets is 'a'; it takes a list"),
        ("data: {sets: [{path: a}]}\ncompute: {precision: fp8}", r"is 'fp8'; choose one of auto"),
        ("data: {sets: [{path: a}]}\naugmentation: {square: [1]}", r"1 values; it takes 2"),
        ("data: {sets: [{path: a}]}\nbatch: 0", r"batch is 0; give 1 or more"),
        (
            "data: {sets: [{path: a}]}\nnetwork: {widht: 3}",
            r"no key network.widht; .*network.width",
        ),
        ("data: {sets: [{path: a}]}\nnetwork: {width: 3}", r"width is 3; choose one of"),
        ("data: {sets: [{path: a}]}\nnetwork: 3", r"network must be a mapping, not 3"),
        ("data: [", r"r.yaml is not YAML"),
        ("data: {sets: [{path: a}]}\nbatch: 3\nbatch: 4", r"the key batch is there twice"),
        ("data: {sets: [{path: a}]}\noptimizer: {rate: .inf}", r"optimizer.rate is inf; it takes"),
        ("data: 3", r"data must be a mapping, not 3"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(written(tmp_path, text))


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
