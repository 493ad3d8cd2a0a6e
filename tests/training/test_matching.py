from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from extd.models.anchors import anchor_boxes, corners
from extd.training.matching import match, pairwise_iou
from extd.training.recipe import Loss

SETTINGS = Loss()
NONE = torch.zeros(0, 4)


def anchors(size: int = 128) -> Tensor:
    return corners(anchor_boxes(size, size))


@st.composite
def faces(draw: st.DrawFn) -> Tensor:
    def box() -> list[float]:
        x, y = draw(st.floats(-10, 110, width=32)), draw(st.floats(-10, 110, width=32))
        return [x, y, x + draw(st.floats(4, 90)), y + draw(st.floats(4, 90))]

    return torch.tensor([box() for _ in range(draw(st.integers(1, 8)))])


@given(faces())
def test_thresholds_hold_and_good_anchors_are_taken(boxes: Tensor) -> None:
    targets = match(anchors(), boxes, NONE, SETTINGS)
    overlap, _ = pairwise_iou(anchors(), boxes)
    best = overlap.max(1).values
    positive = targets.face >= 0
    assert positive[best >= SETTINGS.match_iou].all()
    chosen = overlap[positive, targets.face[positive]]
    forced = torch.zeros(len(best), dtype=torch.bool)
    forced[overlap.argmax(0)] = True
    assert ((chosen > SETTINGS.compensate_iou) | forced[positive]).all()
    assert torch.equal(targets.negative, ~positive)


@given(faces())
def test_compensation_brings_poor_faces_to_the_mean_and_no_further(boxes: Tensor) -> None:
    overlap, _ = pairwise_iou(anchors(), boxes)
    plain = match(anchors(), boxes, NONE, Loss(compensate_iou=1.0))
    before = torch.bincount(plain.face[plain.face >= 0], minlength=len(boxes))
    after_match = match(anchors(), boxes, NONE, SETTINGS)
    after = torch.bincount(after_match.face[after_match.face >= 0], minlength=len(boxes))
    mean = int(before.float().mean())
    assert (after >= before).all()
    assert (after <= before.clamp(min=mean)).all()
    # What the first stage decided stays.
    decided = plain.face >= 0
    assert torch.equal(after_match.face[decided], plain.face[decided])
    free = overlap.masked_fill((after_match.face >= 0)[:, None], 0)
    # Who still has too few found no more anchors above the threshold; of two who want the same
    # anchor one may stay poor.
    if (before < mean).sum() == 1:
        assert (free.amax(0)[after < mean] <= SETTINGS.compensate_iou).all()


def test_a_small_face_between_anchors_is_compensated() -> None:
    # The 8 px face overlaps 16 px anchors by at most 0.25; the 32 px one has many.
    boxes = torch.tensor([[60.0, 60, 68, 68], [8, 8, 40, 40]])
    plain = match(anchors(), boxes, NONE, Loss(compensate_iou=1.0))
    targets = match(anchors(), boxes, NONE, SETTINGS)
    assert (plain.face == 0).sum() == 1
    assert (targets.face == 0).sum() > 1


def test_ignored_regions_are_neither_face_nor_background() -> None:
    region = torch.tensor([[64.0, -20, 150, 150]])
    targets = match(anchors(), NONE, region, SETTINGS)
    centre = anchor_boxes(128, 128)
    inside = (centre[:, 0] > 80) & (centre[:, 2] == 16)
    outside = (centre[:, 0] < 48) & (centre[:, 2] == 16)
    assert not targets.negative[inside].any()
    assert targets.negative[outside].all()
    assert (targets.face < 0).all()


@pytest.mark.parametrize("side", [0.5, 2, 3, 5])
def test_a_tiny_ignored_face_hides_its_own_anchors_and_no_large_ones(side: float) -> None:
    targets = match(anchors(), NONE, torch.tensor([[60.0, 60, 60 + side, 60 + side]]), SETTINGS)
    large = anchor_boxes(128, 128)[:, 2] >= 64
    assert targets.negative[large].all()
    assert not targets.negative.all()


def test_the_pooled_rule_takes_the_best_free_anchors_of_all_faces() -> None:
    # Both faces sit on an anchor: best IoU 1, so N = (2 + 2) / 2.
    boxes = torch.tensor([[50.0, 50, 66, 66], [10, 10, 26, 26]])
    first = match(anchors(), boxes, NONE, Loss(compensate_iou=0.999, match_iou=0.9999))
    pooled = match(anchors(), boxes, NONE, Loss(match_iou=0.9999, compensation="pooled"))
    overlap, _ = pairwise_iou(anchors(), boxes)
    added = (pooled.face >= 0) & (first.face < 0)
    assert added.sum() == 2
    best = overlap.amax(1)
    left = (pooled.face < 0) & (best < 0.9999)
    assert best[added].min() >= best[left].max()
    assert torch.equal(pooled.face[added], overlap.argmax(1)[added])


@given(faces())
def test_the_pooled_rule_only_adds(boxes: Tensor) -> None:
    first = match(anchors(), boxes, NONE, Loss(compensate_iou=1.0))
    pooled = match(anchors(), boxes, NONE, Loss(compensation="pooled"))
    decided = first.face >= 0
    assert torch.equal(pooled.face[decided], first.face[decided])
    assert pooled.face.ge(0).sum() - decided.sum() <= len(boxes)
