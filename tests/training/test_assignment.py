from __future__ import annotations

import pytest
import torch
from torch import Tensor

from extd.models.anchors import anchor_boxes
from extd.models.config import ExtdConfig
from extd.training.assignment import assign
from extd.training.recipe import Loss

ANCHORS = anchor_boxes(ExtdConfig(), 128, 128)
RULES = [Loss(), Loss(compensation="pooled"), Loss(assignment="atss"), Loss(assignment="simota")]


def some_boxes(count: int, generator: torch.Generator) -> Tensor:
    corner = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corner, corner + 6 + torch.rand(count, 2, generator=generator) * 50], 1)


def padded(pictures: list[Tensor], width: int) -> tuple[Tensor, Tensor]:
    rows = torch.full((len(pictures), width, 4), 9.0)
    real = torch.zeros(len(pictures), width, dtype=torch.bool)
    for i, boxes in enumerate(pictures):
        rows[i, : len(boxes)], real[i, : len(boxes)] = boxes, True
    return rows, real


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("rule", RULES)
def test_every_picture_gets_what_it_gets_alone(rule: Loss, scale: float) -> None:
    # Anchors of half the size are those of the progressive anchor loss.
    anchors = ANCHORS * torch.tensor([1, 1, scale, scale])
    generator = torch.Generator().manual_seed(0)
    faces = [some_boxes(n, generator) for n in (3, 0, 11, 1, 40)]
    ignore = [some_boxes(n, generator) for n in (0, 2, 5, 0, 1)]
    ignore[2][0] = faces[2][0]
    together = assign(anchors, *padded(faces, 48), *padded(ignore, 8), rule)
    assert together.face.shape == together.ignored.shape == (5, len(anchors))
    for i in range(5):
        alone = assign(
            anchors,
            *padded(faces[i : i + 1], max(1, len(faces[i]))),
            *padded(ignore[i : i + 1], len(ignore[i])),
            rule,
        )
        assert torch.equal(alone.face[0], together.face[i])
        assert torch.equal(alone.ignored[0], together.ignored[i])
        if rule.assignment != "simota":
            assert set(alone.face[0].unique().tolist()) - {-1} <= set(range(len(faces[i])))
            assert (alone.face >= 0).any() == (len(faces[i]) > 0)
    assert not (together.ignored & (together.face >= 0)).any()
    assert together.ignored.any(1).tolist() == [False, True, True, False, True]


@pytest.mark.parametrize("rule", RULES)
def test_a_face_in_an_ignored_region_is_still_learnt(rule: Loss) -> None:
    face = [torch.tensor([[50.0, 50, 66, 66]])]
    region = [torch.tensor([[-400.0, -400, 500, 500]])]
    none = assign(ANCHORS, *padded(face, 1), *padded([torch.zeros(0, 4)], 1), rule)
    within = assign(ANCHORS, *padded(face, 1), *padded(region, 1), rule)
    assert not none.ignored.any()
    assert torch.equal(none.face, within.face)
    assert torch.equal(within.ignored, within.face < 0)
    if rule.assignment == "simota":
        assert (within.face == -1).all()  # until there are predictions


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.assignment != "atss"])
def test_the_host_does_not_wait_for_the_device(rule: Loss) -> None:
    # Tensors without contents: whatever needs a value on the host fails.
    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    targets = assign(
        empty(50, 4),
        empty(2, 6, 4),
        empty(2, 6, dtype=torch.bool),
        empty(2, 3, 4),
        empty(2, 3, dtype=torch.bool),
        rule,
    )
    assert targets.face.shape == targets.ignored.shape == (2, 50)
    assert targets.face.device.type == targets.ignored.device.type == "meta"
