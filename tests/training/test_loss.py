from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from extd.models.anchors import encode
from extd.models.extd import Predictions
from extd.training.loss import mine_negatives, multitask_loss
from extd.training.matching import Targets
from extd.training.recipe import Loss

ANCHORS = torch.tensor([[8.0 * i, 8, 16, 16] for i in range(10)])


def targets(face: dict[int, int], ignored: tuple[int, ...] = ()) -> Targets:
    index = torch.full((10,), -1)
    for anchor, value in face.items():
        index[anchor] = value
    negative = index < 0
    negative[list(ignored)] = False
    return Targets(index, negative)


def test_the_loss_is_equation_3_by_hand() -> None:
    logits = torch.zeros(2, 10, 2)
    logits[0, 5, 1] = 3.0  # the hardest negative of the first picture
    regression = torch.zeros(2, 10, 4)
    faces = [torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[4.0, 4, 20, 20], [30, 0, 50, 16]])]
    assigned = [targets({1: 0}), targets({2: 1})]
    losses = multitask_loss(
        Predictions(regression, logits), ANCHORS, assigned, faces, Loss(negatives=2)
    )
    # Two positives and four negatives: five anchors at log 2, one at log(1 + e^3).
    expected = (5 * math.log(2) + math.log(1 + math.exp(3))) / 6
    assert losses.classes.item() == pytest.approx(expected, rel=1e-5)
    wanted = torch.stack([encode(faces[0][0], ANCHORS[1]), encode(faces[1][1], ANCHORS[2])])
    boxes = 4 * F.smooth_l1_loss(torch.zeros(2, 4), wanted, reduction="sum") / 2
    assert losses.boxes.item() == pytest.approx(boxes.item(), rel=1e-5)
    assert losses.positives == 2

    released = multitask_loss(
        Predictions(regression, logits),
        ANCHORS,
        assigned,
        faces,
        Loss(negatives=2, normalizer="released", box_weight=1.0),
    )
    assert released.classes.item() == pytest.approx(expected * 3, rel=1e-5)
    assert released.boxes.item() == pytest.approx(losses.boxes.item() / 4, rel=1e-5)


def test_ignored_anchors_have_no_gradient() -> None:
    logits = torch.randn(1, 10, 2, requires_grad=True)
    regression = torch.randn(1, 10, 4, requires_grad=True)
    losses = multitask_loss(
        Predictions(regression, logits),
        ANCHORS,
        [targets({0: 0}, ignored=(3, 4))],
        [torch.tensor([[0.0, 0, 16, 16]])],
        Loss(negatives=100),
    )
    losses.total.backward()
    assert logits.grad is not None
    assert regression.grad is not None
    touched = logits.grad.abs().sum(-1)[0] > 0
    assert touched.tolist() == [i not in (3, 4) for i in range(10)]
    assert (regression.grad.abs().sum(-1)[0] > 0).tolist() == [i == 0 for i in range(10)]


def test_a_batch_without_faces_has_no_loss_and_no_nan() -> None:
    logits = torch.randn(1, 10, 2, requires_grad=True)
    losses = multitask_loss(
        Predictions(torch.zeros(1, 10, 4), logits),
        ANCHORS,
        [targets({})],
        [torch.zeros(0, 4)],
        Loss(),
    )
    assert losses.total.item() == 0


def test_mining_keeps_the_hardest_of_each_picture() -> None:
    entropy = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.8]])
    allowed = torch.tensor([[True, False, True, True], [True, True, True, True]])
    kept = mine_negatives(entropy, allowed, torch.tensor([2, 1]))
    assert kept.tolist() == [[False, False, True, True], [False, False, False, True]]
    everything = mine_negatives(entropy, allowed, torch.tensor([9, 9]))
    assert torch.equal(everything, allowed)
