from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from extd.training.class_losses import cross_entropy, focal, quality_focal

POSITIVE = torch.tensor([[True, False, False, False, False], [False, True, True, False, False]])
NEGATIVE = torch.tensor([[False, True, True, True, False], [True, False, False, True, True]])
QUALITY = torch.tensor([[0.8, 0.9, 0.9, 0.9, 0.9], [0.9, 0.0, 1.0, 0.9, 0.9]]).double()
Kind = Callable[[Tensor], Tensor]
KINDS: dict[str, Kind] = {
    "cross_entropy": lambda score: cross_entropy(score, POSITIVE, NEGATIVE, 2),
    "focal": lambda score: focal(score, POSITIVE, NEGATIVE),
    "quality_focal": lambda score: quality_focal(score, QUALITY, POSITIVE, NEGATIVE),
}


def scores(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, generator=generator, dtype=torch.float64) * 2


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_gradient_is_that_of_the_loss(kind: Kind) -> None:
    assert torch.autograd.gradcheck(kind, scores().requires_grad_())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("size", [60.0, 1e4])
def test_very_sure_scores_have_a_finite_loss_and_gradient(kind: Kind, size: float) -> None:
    score = (scores().sign() * size).float().requires_grad_()
    loss = kind(score).sum()
    loss.backward()
    assert loss.isfinite()
    assert score.grad is not None
    assert score.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_other_anchors_have_no_loss(kind: Kind) -> None:
    loss = kind(scores())
    assert (loss >= 0).all()
    assert (loss[~(POSITIVE | NEGATIVE)] == 0).all()
    assert (loss[POSITIVE & (QUALITY > 0)] > 0).all()


def test_cross_entropy_keeps_the_hardest_negatives_of_each_picture() -> None:
    score = torch.tensor([[0.0, -1, 2, 1, 9], [-1, 0, 0, 4, -2]])
    loss = cross_entropy(score, POSITIVE, NEGATIVE, 1)
    # One negative for the one positive above, two for the two below.
    wanted = [[math.log(2), 0, math.log(1 + math.exp(2)), 0, 0]]
    wanted += [[math.log(1 + math.exp(-1)), math.log(2), math.log(2), math.log(1 + math.exp(4)), 0]]
    assert torch.allclose(loss, torch.tensor(wanted))
    everything = cross_entropy(score, POSITIVE, NEGATIVE, 100)
    assert torch.equal(everything > 0, POSITIVE | NEGATIVE)


def test_cross_entropy_of_the_score_is_that_of_two_logits() -> None:
    logits = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1))
    plain = F.cross_entropy(logits.transpose(1, 2), POSITIVE.long(), reduction="none")
    ours = cross_entropy(logits[..., 1] - logits[..., 0], POSITIVE, NEGATIVE, 100)
    assert torch.allclose(ours, plain * (POSITIVE | NEGATIVE))


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_focal_without_focus_is_weighted_cross_entropy(alpha: float) -> None:
    weight = alpha * POSITIVE + (1 - alpha) * NEGATIVE
    plain = cross_entropy(scores(), POSITIVE, NEGATIVE, 100)
    ours = focal(scores(), POSITIVE, NEGATIVE, alpha, gamma=0.0)
    assert torch.allclose(ours, weight * plain)


def test_focal_is_the_formula() -> None:
    loss = focal(scores(), POSITIVE, NEGATIVE)
    for score, positive, negative, value in zip(
        scores().flatten(), POSITIVE.flatten(), NEGATIVE.flatten(), loss.flatten(), strict=True
    ):
        p = 1 / (1 + math.exp(-score))
        wanted = -0.25 * (1 - p) ** 2 * math.log(p) * positive
        wanted += -0.75 * p**2 * math.log(1 - p) * negative
        assert value.item() == pytest.approx(float(wanted))


def test_quality_focal_is_the_formula() -> None:
    loss = quality_focal(scores(), QUALITY, POSITIVE, NEGATIVE)
    for score, quality, positive, negative, value in zip(
        *(x.flatten() for x in (scores(), QUALITY, POSITIVE, NEGATIVE, loss)), strict=True
    ):
        p, y = 1 / (1 + math.exp(-score)), float(quality * positive)
        wanted = -((y - p) ** 2) * ((1 - y) * math.log(1 - p) + y * math.log(p))
        assert value.item() == pytest.approx(wanted * float(positive | negative))


@given(st.floats(0.01, 0.99), st.floats(-6, 6))
def test_quality_focal_is_least_where_the_score_is_the_quality(quality: float, off: float) -> None:
    def loss(score: float) -> float:
        one = torch.ones(1, 1, dtype=torch.bool)
        values = (torch.full((1, 1), value, dtype=torch.float64) for value in (score, quality))
        return quality_focal(*values, one, ~one).item()

    right = math.log(quality / (1 - quality))
    assert loss(right) == pytest.approx(0, abs=1e-12)
    assert loss(right + off) >= loss(right)


def test_no_gradient_flows_into_the_quality() -> None:
    quality = QUALITY.clone().requires_grad_()
    loss = quality_focal(scores().requires_grad_(), quality, POSITIVE, NEGATIVE)
    loss.sum().backward()
    assert quality.grad is None
