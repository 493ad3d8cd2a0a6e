from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from extd.models.checkpoint import load_network, save_network
from extd.models.config import parse_name
from extd.models.extd import Extd

TOOL = Path(__file__).resolve().parents[2] / "tools" / "average.py"


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False
    )


def test_weights_are_averaged_number_by_number_and_other_networks_refused(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("a", "b", "other", "mean")]
    networks = [Extd(parse_name("extd-lite-nano")) for _ in range(2)]
    for network, path in zip(networks, paths[:2], strict=True):
        save_network(network, path, {"ap": {"easy": 0.9}, "ap_images": 3})
    save_network(Extd(parse_name("extd-lite")), paths[2], {})
    assert run(paths[3], *paths[:2]).returncode == 0
    assert load_network(paths[3])[1] == {}
    states = [network.state_dict() for network in networks]
    for name, value in load_network(paths[3])[0].state_dict().items():
        wanted = sum(state[name] for state in states) / 2
        assert torch.allclose(value.double(), torch.as_tensor(wanted).double(), atol=1e-7), name
    refused = run(paths[3], paths[0], paths[2])
    assert refused.returncode == 2
    assert "not of one network" in refused.stderr
