from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import recipe_schema

from extd.catalog import RECIPES, shipped_recipes
from extd.models.config import PAPER_CONFIGS, ExtdConfig, LiteConfig
from extd.training.recipe import Recipe, dump_recipe, load_recipe

DATA = "data: {sets: [{path: a}]}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text("model: extd-ssd-32-relu\niterations: 5\n" + text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "summary"), shipped_recipes().items())
def test_shipped_recipes_train_on_any_data_and_tell_what_they_are(name: str, summary: str) -> None:
    recipe = load_recipe(Path(name), [Path("a"), Path("b")])
    for stage in recipe.stage_recipes:
        assert [dataset.path for dataset in stage.data.sets] == [
            str(Path.cwd() / "a"),
            str(Path.cwd() / "b"),
        ]
    with pytest.raises(ValueError, match=f"{name}: the key data.* is missing; give --data LABELS"):
        load_recipe(Path(name))
    assert summary.endswith(".")
    head = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[:10]
    for part in ("# yaml-language-server:", "# Cost:", f"extd train {name} --data"):
        assert any(part in line for line in head), part


def test_a_file_comes_before_a_shipped_recipe(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("finetune").mkdir()
    assert load_recipe(Path("finetune"), [Path("a")]).model == "extd-lite"
    written(tmp_path, DATA).rename(tmp_path / "paper")
    assert load_recipe(Path("paper")).iterations == 5


def test_the_schema_is_current() -> None:
    """Else run `python tools/recipe_schema.py`."""
    assert recipe_schema.TARGET.read_text(encoding="utf-8") == recipe_schema.recipe_schema()


@pytest.mark.parametrize("model", [config.name for config in PAPER_CONFIGS])
def test_the_papers_recipe_is_appendix_a(model: str) -> None:
    recipe = load_recipe(Path("paper"), [Path("a")], model=model)
    assert (recipe.model, recipe.iterations, recipe.batch) == (model, 480_000, 16)
    assert recipe.augmentation.crop_sizes == (640,)
    optimizer = recipe.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.momentum) == ("sgd", 1e-3, 0.9)
    assert (optimizer.weight_decay, optimizer.schedule) == (5e-4, "step")
    assert optimizer.milestones == (240_000, 360_000)
    assert (optimizer.warmup, recipe.ema) == (0, 0.0)
    loss = recipe.loss
    assert (loss.assigner, loss.classification, loss.regression, loss.normalizer) == (
        *("s3fd", "cross_entropy"),
        *("smooth_l1", "paper"),
    )
    assert (loss.box_weight, loss.negatives) == (4.0, 3)


def test_values_are_read_with_their_types(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "data: {sets: [{path: a/labels.jsonl, sources: {wider: 2}}, {path: /b, weight: 3}]}\n"
        "augmentation: {square_range: [0.5, 1], crop_sizes: [256, 320]}\n"
        "init: w.safetensors\n"
        "optimizer: {lr: 1e-3, milestones: [2, 4]}\n",
    )
    recipe = load_recipe(path)
    first, second = recipe.data.sets
    assert first.path == str(tmp_path / "a" / "labels.jsonl")
    assert (first.weight, first.sources) == (1.0, {"wider": 2.0})
    assert (second.path, second.weight) == ("/b", 3.0)
    assert recipe.init == str(tmp_path / "w.safetensors")
    assert recipe.validation.path == ""
    assert recipe.augmentation.square_range == (0.5, 1.0)
    assert recipe.augmentation.crop_sizes == (256, 320)
    assert recipe.optimizer.lr == 1e-3
    assert recipe.optimizer.milestones == (2, 4)


@pytest.mark.parametrize(
    ("network", "config"),
    [
        ("{}", ExtdConfig("ssd", 32, "relu")),
        ("{width: 48, norm_per_pass: true}", ExtdConfig("ssd", 48, "relu", norm_per_pass=True)),
    ],
)
def test_a_network_is_described_by_how_it_differs_from_a_model(
    tmp_path: Path, network: str, config: ExtdConfig
) -> None:
    recipe = load_recipe(written(tmp_path, f"{DATA}network: {network}\n"))
    assert recipe.config == config
    assert load_recipe(written(tmp_path, DATA), model="extd-lite-nano").config == LiteConfig(
        width=32, stem_width=16
    )
    with pytest.raises(ValueError, match="its network is not that of extd-fpn"):
        load_recipe(written(tmp_path, f"{DATA}network: {{width: 48}}\n"), model="extd-fpn-32-relu")


def test_another_model_begins_with_its_own_weights(tmp_path: Path) -> None:
    recipe = load_recipe(Path("finetune"), [Path("a")], model="extd-fpn-32-prelu")
    assert (recipe.model, recipe.init) == ("extd-fpn-32-prelu", "extd-fpn-32-prelu")
    own = load_recipe(written(tmp_path, f"{DATA}init: w.safetensors\n"), model="extd-ssd-48-relu")
    assert own.init == str(tmp_path / "w.safetensors")


def test_what_is_written_reads_back_the_same(recipe: Recipe, tmp_path: Path) -> None:
    assert recipe == recipe.model_copy()
    recipe = recipe.model_copy(update={"stages": ({}, {"iterations": 2}), "init": "extd-lite"})
    path = tmp_path / "deep" / "recipe.yaml"
    path.parent.mkdir()
    path.write_text(dump_recipe(recipe, path.parent), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_paths_of_data_are_replaced_in_their_order(tmp_path: Path) -> None:
    stage = "stages: [{}, {data: {sets: [{path: a, weight: 5}, {path: b}]}}]\n"
    path = written(tmp_path, "data: {sets: [{path: a, weight: 2}, {path: b}]}\n" + stage)
    recipe = load_recipe(path, [Path("x"), Path("/y")])
    for one, weight in zip(recipe.stage_recipes, (2.0, 5.0), strict=True):
        assert [dataset.path for dataset in one.data.sets] == [str(Path.cwd() / "x"), "/y"]
        assert one.data.sets[0].weight == weight
    with pytest.raises(ValueError, match="mixes 2 datasets; give as many, not 1"):
        load_recipe(path, [Path("x")])


def test_a_recipe_without_data_takes_what_is_given(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    with pytest.raises(ValueError, match="the key data is missing"):
        load_recipe(path)
    recipe = load_recipe(path, [Path("/a"), Path("/b")])
    assert [dataset.path for dataset in recipe.data.sets] == ["/a", "/b"]


def test_stages_change_what_they_name(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"{DATA}optimizer: {{lr: 2.0, warmup: 3}}\n"
        "stages: [{}, {iterations: 7, optimizer: {lr: 1.0}}, {validation: {path: v}}]\n",
    )
    recipe = load_recipe(path)
    assert [stage.iterations for stage in recipe.stage_recipes] == [5, 7, 5]
    assert [stage.optimizer.lr for stage in recipe.stage_recipes] == [2.0, 1.0, 2.0]
    assert all(stage.optimizer.warmup == 3 for stage in recipe.stage_recipes)
    assert recipe.stage_recipes[2].validation.path == str(tmp_path / "v")
    single = load_recipe(path, changes={"stages": [], "optimizer.lr": 0.5})
    assert single.stage_recipes == (single,)
    assert (single.optimizer.lr, single.optimizer.warmup) == (0.5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {set: a}", r"r.yaml: data: there is no key set; did you mean 'sets'\?"),
        ("data: {sets: [{paht: a}]}", r"data.sets.0: there is no key paht; did you mean 'path'\?"),
        (f"{DATA}bach: 3", r"no key bach; did you mean 'batch'\?"),
        ("data: {xyz: 1}", r"data: there is no key xyz; there are sets, sources, face_count_power"),
        ("data: {}", r"the key data.sets is missing"),
        ("data: {sets: []}", r"data.sets is \[\]"),
        ("data: 3", r"data is 3; "),
        ("data: [", r"r.yaml is not YAML"),
        (f"{DATA}batch: many", r"batch is 'many'; input should be a valid integer"),
        (f"{DATA}batch: true", r"batch is True"),
        (f"{DATA}batch: 0", r"batch is 0; input should be greater than or equal to 1"),
        (f"{DATA}batch: 3\nbatch: 4", r"the key batch is there twice"),
        (f"{DATA}ema: 1.0", r"ema is 1.0; input should be less than 1"),
        ("data: {sets: [{path: a}], max_unreadable: 2}", r"data.max_unreadable is 2"),
        ("data: {sets: [{path: a, weight: 0}]}", r"data.sets.0.weight is 0"),
        ("data: {sets: [{path: a, sources: {b: -1}}]}", r"sources.b is -1"),
        (f"{DATA}compute: {{precision: fp8}}", r"is 'fp8'; input should be 'auto', 'fp32'"),
        (f"{DATA}compute: {{accumulate: 3}}", r"accumulate does not divide the batch of 16"),
        (f"{DATA}augmentation: {{square_range: [1]}}", r"augmentation.square_range"),
        (f"{DATA}augmentation: {{square_range: [0.5, 0.2]}}", r"give the smaller share first"),
        (f"{DATA}augmentation: {{crop_sizes: [256, 64]}}", r"augmentation.crop_sizes.1 is 64"),
        (f"{DATA}augmentation: {{zoom_out_prob: 0.6}}", r"add up to 1.1, above 1"),
        (f"{DATA}augmentation: {{face_sizes: [500, 0.5]}}", r"face_sizes is \(500.0, 0.5\)"),
        (f"{DATA}loss: {{size_ratio: 1.2}}", r"size_ratio below 1.5"),
        (f"{DATA}loss: {{match_iou: 1}}", r"loss.match_iou is 1"),
        (f"{DATA}optimizer: {{lr: .inf}}", r"optimizer.lr is inf"),
        (f"{DATA}optimizer: {{name: muon}}\ncompute: {{precision: fp16}}", r"take bf16 or fp32"),
        (f"{DATA}network: {{widht: 3}}", r"network: there is no key widht; did you mean 'width'\?"),
        (f"{DATA}network: {{width: 3}}", r"width is 3; choose one of"),
        (f"{DATA}network: {{width: wide}}", r"width is 'wide'; input should be"),
        (f"{DATA}network: 3", r"network is 3; "),
        (f"{DATA}stages: [{{bach: 1}}]", r"stage 1: there is no key bach; did you mean 'batch'\?"),
        (f"{DATA}stages: [{{stages: []}}]", r"a stage has stages of its own"),
        (f"{DATA}stages: [{{}}, {{init: a.safetensors}}]", r"init is for the first stage"),
        (f"{DATA}stages: [{{}}, {{model: extd-ssd-48-relu}}]", r"train different networks"),
        ("- a", r"model"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(written(tmp_path, text))
    if "YAML" not in str(caught.value):
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"iterations": 0}, {"nothing": 1}])
def test_recipes_made_in_python_are_checked_too(recipe: Recipe, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Recipe.model_validate(recipe.model_dump() | change)
    with pytest.raises(ValueError, match="frozen"):
        recipe.iterations = 3


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("recipes/none.yaml", "recipes/none.yaml; there are extd-fpn-32-prelu, extd-lite, "),
        ("recipes/paper.yaml", "recipes/paper.yaml; take paper"),
    ],
)
def test_a_missing_recipe_is_named(path: str, advice: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"there is no recipe {advice}"):
        load_recipe(Path(path))
