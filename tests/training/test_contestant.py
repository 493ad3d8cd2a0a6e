from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extd.images import read_image
from extd.measure.contestants import StagedContestant
from extd.measure.peers import load_contestant
from extd.training.contestant import load_torch_contestant

CHECKPOINT = Path(__file__).parents[2] / "src/extd/weights/extd-fpn-32-prelu.safetensors"


def test_a_checkpoint_finds_what_its_export_finds(examples: Path) -> None:
    bgr = read_image(examples / "astronaut.jpg")[:160, 140:330, ::-1]
    contestant = load_torch_contestant(CHECKPOINT)
    assert isinstance(contestant, StagedContestant)
    assert contestant.name == "extd-fpn-32-prelu (torch)"
    assert contestant.note == "NMS 0.3, PyTorch on cpu"
    assert contestant.prepare(bgr).shape == (1, 3, 160, 190)
    found, expected = contestant.detect(bgr), load_contestant("extd-fpn-32-prelu").detect(bgr)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)


def test_a_checkpoint_votes_where_its_export_does(examples: Path) -> None:
    bgr = read_image(examples / "astronaut.jpg")[:160, 140:330, ::-1]
    contestant = load_torch_contestant(CHECKPOINT.with_name("extd-lite.safetensors"))
    assert contestant.note == "NMS 0.3, box voting, PyTorch on cpu"
    expected = load_contestant("extd-lite").detect(bgr)
    np.testing.assert_allclose(contestant.detect(bgr).boxes, expected.boxes, atol=0.05)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="'cuda:77'"):
        load_torch_contestant(CHECKPOINT, device="cuda:77")
    with pytest.raises(FileNotFoundError, match="none"):
        load_torch_contestant(Path("none.safetensors"))
