from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from extd.catalog import shipped_recipes
from extd.cli.app import main
from extd.training.image_cache import CacheError

Captured = pytest.CaptureFixture[str]

SMALL = """
model: extd-fpn-32-relu
data: {sets: [{path: labels.jsonl}]}
iterations: 2
batch: 2
augmentation: {crop_sizes: [128]}
compute: {precision: fp32}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_the_printed_recipe_is_complete_and_makes_the_same_run(
    recipe: Path, capsys: Captured
) -> None:
    command = ["train", str(recipe), "--print-config", "--model", "EXTD-ssd-64-relu"]
    assert main([*command, "--data", "/data/faces.csv"]) == 0
    printed = capsys.readouterr().out
    content = yaml.safe_load(printed)
    assert content["model"] == "EXTD-ssd-64-relu"
    assert content["data"]["sets"][0]["path"] == "/data/faces.csv"
    assert content["optimizer"]["momentum"] == 0.9
    recipe.write_text(printed, encoding="utf-8")
    assert main(["train", str(recipe), "--print-config"]) == 0
    assert capsys.readouterr().out == printed


def test_a_run_folder_is_asked_for(recipe: Path, capsys: Captured) -> None:
    assert main(["train", str(recipe)]) == 2
    assert "give --out DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("iterations", "iteration"), "did you mean 'iterations'?"),
        (("extd-fpn-32-relu", "extd-fpn-32-rule"), "did you mean 'extd-fpn-32-relu'?"),
    ],
)
def test_a_wrong_recipe_is_explained_in_one_line(
    recipe: Path, capsys: Captured, change: tuple[str, str], message: str
) -> None:
    recipe.write_text(SMALL.replace(*change), encoding="utf-8")
    assert main(["train", str(recipe), "--out", "run"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_missing_images_are_named(recipe: Path, capsys: Captured) -> None:
    assert main(["train", str(recipe), "--out", str(recipe.parent / "run")]) == 1
    err = capsys.readouterr().err
    assert "labels.jsonl" in err
    assert "Traceback" not in err


def test_where_images_cannot_be_decoded_to_an_option_is_named(
    recipe: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CacheError("full has 5 bytes free")

    monkeypatch.setattr("extd.training.trainer.train", fail)
    assert main(["train", str(recipe), "--out", str(recipe.parent / "run")]) == 1
    assert "5 bytes free; choose another folder with --cache" in capsys.readouterr().err


def test_it_is_told_that_there_is_no_run_to_go_on_with(recipe: Path, capsys: Captured) -> None:
    folder = recipe.parent / "run"
    assert main(["train", str(recipe), "--out", str(folder), "--resume"]) == 1
    told = "".join(capsys.readouterr().out.split("\n"))
    assert f"{folder} holds no run to go on with: this one begins" in told


def test_a_run_does_not_replace_its_recipe(recipe: Path, capsys: Captured) -> None:
    assert main(["train", str(recipe), "--out", str(recipe.parent), "--resume"]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert recipe.read_text(encoding="utf-8") == SMALL


def test_a_missing_recipe_is_named(capsys: Captured) -> None:
    assert main(["train", "missing.yaml", "--out", "run"]) == 2
    assert "missing.yaml" in capsys.readouterr().err


def test_the_recipes_of_the_package_are_listed(capsys: Captured) -> None:
    assert main(["train", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [*shipped_recipes()]
    assert "gpu                Any model on one or more GPUs" in "\n".join(listed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe; extd train --list lists"),
        (["paper", "--out", "run"], "paper: the key data is missing; give --data LABELS"),
    ],
)
def test_what_is_missing_is_asked_for(capsys: Captured, arguments: list[str], message: str) -> None:
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err
