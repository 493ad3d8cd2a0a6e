from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from extd.models.checkpoint import load_network, save_network
from extd.models.config import parse_name
from extd.models.extd import Extd

TOOL = Path(__file__).resolve().parents[2] / "tools" / "graft.py"
RECIPE = """
model: extd-lite-nano
network: {tower: 1, expansions: [1, 1, 1], activation: prelu}
iterations: 1
data: {sets: [{path: labels.jsonl}]}
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_block_of_the_backbone_begins_the_tower(tmp_path: Path) -> None:
    old = Extd(parse_name("extd-lite-nano"))
    save_network(old, tmp_path / "old.safetensors", {"training": "long", "ap": {"easy": 0.9}})
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    files = [tmp_path / "old.safetensors", tmp_path / "recipe.yaml", tmp_path / "new.safetensors"]
    done = run(*files, "--move", "backbone.blocks.3", "tower.0")
    assert done.returncode == 0, done.stderr
    assert "conv.2.weight" in done.stdout  # the slopes are fresh
    new, notes = load_network(files[2])
    assert notes == {"training": "long"}
    state, before = new.state_dict(), old.state_dict()
    for index, tensor in enumerate(["backbone.blocks.0", "backbone.blocks.2", "heads.levels.4"]):
        name = f"{tensor}.conv.0.weight" if index < 2 else f"{tensor}.weight"
        assert torch.equal(state[name], before[name])
    assert torch.equal(state["tower.0.conv.0.weight"], before["backbone.blocks.3.conv.0.weight"])
    assert state["tower.0.conv.2.weight"].item() == 0.25


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    save_network(Extd(parse_name("extd-lite-nano")), tmp_path / "old.safetensors")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    files = [tmp_path / "old.safetensors", tmp_path / "recipe.yaml", tmp_path / "new.safetensors"]
    for move, wanted in ((("nose", "tower.0"), "'nose'"), (("heads", "tower.0"), "does not fit")):
        refused = run(*files, "--move", *move)
        assert refused.returncode == 2
        assert wanted in refused.stderr
    assert not files[2].exists()
