from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from extd.models.checkpoint import load_network, save_network
from extd.models.config import LITE_CONFIGS
from extd.models.extd import Extd

TOOL = Path(__file__).resolve().parents[2] / "tools" / "graft.py"
RECIPE = """
model: extd-lite-nano
network: {activation: prelu}
iterations: 1
data: {sets: [{path: labels.jsonl}]}
"""


def older() -> Extd:
    """A network with four blocks in F, and none before its five heads."""
    config = LITE_CONFIGS["extd-lite-nano"]
    return Extd(replace(config, tower=0, expansions=(1, 1, 1, 1), shared_head=False))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_block_of_the_backbone_begins_the_tower(tmp_path: Path) -> None:
    old = older()
    save_network(old, tmp_path / "old.safetensors", {"training": "long", "ap": {"easy": 0.9}})
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    files = [tmp_path / "old.safetensors", tmp_path / "recipe.yaml", tmp_path / "new.safetensors"]
    done = run(*files, "--move", "backbone.blocks.3", "tower.0")
    assert done.returncode == 0, done.stderr
    assert "conv.2.weight" in done.stdout  # the slopes are fresh
    new, notes = load_network(files[2])
    assert notes == {"training": "long"}
    state, before = new.state_dict(), old.state_dict()
    for block in ("backbone.blocks.0", "backbone.blocks.2"):
        assert torch.equal(state[f"{block}.conv.0.weight"], before[f"{block}.conv.0.weight"])
    assert torch.equal(state["tower.0.conv.0.weight"], before["backbone.blocks.3.conv.0.weight"])
    assert state["tower.0.conv.2.weight"].item() == 0.25


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    save_network(older(), tmp_path / "old.safetensors")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    files = [tmp_path / "old.safetensors", tmp_path / "recipe.yaml", tmp_path / "new.safetensors"]
    for move, wanted in ((("nose", "tower.0"), "'nose'"), (("heads", "tower.0"), "does not fit")):
        refused = run(*files, "--move", *move)
        assert refused.returncode == 2
        assert wanted in refused.stderr
    assert not files[2].exists()
