from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from extd.data.jsonl import read_jsonl, write_jsonl
from extd.models.config import parse_name
from extd.models.extd import Extd
from extd.training.validation import average_precision, open_validation


def test_a_fresh_network_finds_nothing_and_is_left_as_it_is(labels: Path) -> None:
    network = Extd(parse_name("extd-ssd-32-relu")).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ap = average_precision(network, read_jsonl(labels), threads=1)
    assert ap["all"] == pytest.approx(0, abs=0.05)
    assert set(ap) == {"all", "small", "medium", "large"}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_pictures_that_could_not_be_measured_are_told_before_training(labels: Path) -> None:
    pictures = read_jsonl(labels)
    assert [one.path for one in open_validation(str(labels))] == [one.path for one in pictures]
    pictures[-1].path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=pictures[-1].path.name):
        open_validation(str(labels))
    pictures[-1].path.unlink()
    with pytest.raises(FileNotFoundError, match=pictures[-1].path.name):
        open_validation(str(labels))
    write_jsonl([replace(one, boxes=one.boxes[:0]) for one in pictures], labels)
    with pytest.raises(ValueError, match="labelled face"):
        open_validation(str(labels))
