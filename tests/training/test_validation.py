from __future__ import annotations

from pathlib import Path

import pytest
import torch

from extd.data.labels import read_labels
from extd.models.config import parse_name
from extd.models.extd import Extd
from extd.training.validation import average_precision


def test_a_fresh_network_finds_nothing_and_is_left_as_it_is(labels: Path) -> None:
    network = Extd(parse_name("extd-ssd-32-relu")).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ap = average_precision(network, read_labels(labels), threads=1)
    assert ap["all"] == pytest.approx(0, abs=0.05)
    assert set(ap) == {"all", "small", "medium", "large"}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
