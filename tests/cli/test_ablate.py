from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from extd.cli.app import main

Captured = pytest.CaptureFixture[str]

RECIPE = """
model: extd-lite-nano
data: {sets: [{path: labels.jsonl}]}
iterations: 1
batch: 2
augmentation: {crops: [128]}
compute: {precision: fp32}
"""
GRID = """
recipe: recipe.yaml
variants:
  first: {}
  second: {seed: 1}
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    entry = {"image": "a.png", "width": 160, "height": 120, "boxes": [[40, 30, 90, 90]]}
    (tmp_path / "labels.jsonl").write_text(json.dumps({**entry, "ignore": [], "source": "a"}))
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "grid.yaml").write_text(GRID, encoding="utf-8")
    return tmp_path / "grid.yaml"


def test_variants_are_compared_in_a_table_and_shared_between_commands(
    grid: Path, tmp_path: Path, capsys: Captured
) -> None:
    out, labels = tmp_path / "out", str(tmp_path / "labels.jsonl")
    command = ["ablate", str(grid), "--out", str(out), "--labels", labels, "--cache", str(tmp_path)]
    assert main([*command, "--only", "second"]) == 0
    assert "| first |" not in (out / "results.md").read_text(encoding="utf-8")
    assert main(command) == 0
    table = (out / "results.md").read_text(encoding="utf-8")
    assert "| first | 50,229 | 375 | 2 |" in table
    assert "| second |" in table
    assert table.strip() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --images and --ground-truth, or --labels"),
        (["--labels", "a", "--images", "b", "--ground-truth", "c"], "or --labels"),
        (["--images", "b"], "give --images and --ground-truth"),
        (["--labels", "none.jsonl", "--only", "third"], "no variant 'third'"),
        (["--labels", "none.jsonl"], "none.jsonl"),
    ],
)
def test_wrong_use_is_explained_before_anything_is_trained(
    grid: Path, tmp_path: Path, capsys: Captured, options: list[str], message: str
) -> None:
    assert main(["ablate", str(grid), "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
