from __future__ import annotations

import math
from typing import Literal, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from extd.models.anchors import anchor_boxes, decode, encode
from extd.models.config import ExtdConfig
from extd.training.box_losses import box_loss, diou_loss, eiou_loss, giou_loss, safe_decode

Kind = Literal["smooth_l1", "giou", "diou", "eiou"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Box = tuple[float, float, float, float]
IOU_LOSSES = {"giou": giou_loss, "diou": diou_loss, "eiou": eiou_loss}

ANCHORS = anchor_boxes(ExtdConfig(), 128, 128)[100:1300:170].double()


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.floats(-50, 50)), draw(st.floats(-50, 50))
    return x, y, x + draw(st.floats(0.1, 80)), y + draw(st.floats(0.1, 80))


def tensor(box: Box) -> Tensor:
    return torch.tensor(box, dtype=torch.float64)


def plain(kind: str, a: Box, b: Box) -> float:
    """The losses as the papers write them."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    shared = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    width, height = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    loss = 1 - shared / union
    if kind == "giou":
        return loss + (width * height - union) / (width * height)
    away = math.dist(((ax1 + ax2) / 2, (ay1 + ay2) / 2), ((bx1 + bx2) / 2, (by1 + by2) / 2))
    loss += away**2 / (width**2 + height**2)
    if kind == "eiou":
        loss += (ax2 - ax1 - bx2 + bx1) ** 2 / width**2 + (ay2 - ay1 - by2 + by1) ** 2 / height**2
    return loss


def near_faces() -> Tensor:
    """A face for each anchor, somewhat off."""
    offsets = torch.randn(len(ANCHORS), 4, generator=torch.Generator().manual_seed(3)).double()
    return decode(offsets, ANCHORS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_loss(kind: Kind) -> None:
    generator = torch.Generator().manual_seed(4)
    regression = torch.randn(2, len(ANCHORS), 4, generator=generator, dtype=torch.float64)
    faces = near_faces().expand(2, -1, 4)
    assert torch.autograd.gradcheck(
        lambda x: box_loss(x, faces, ANCHORS, kind), regression.requires_grad_()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_box_has_no_loss_and_others_have_one(kind: Kind) -> None:
    faces = near_faces()
    right = encode(faces, ANCHORS)
    assert box_loss(right, faces, ANCHORS, kind).abs().max() < 1e-9
    assert (box_loss(right + 0.3, faces, ANCHORS, kind) > 1e-3).all()


def test_smooth_l1_is_the_sum_over_four_offsets() -> None:
    faces = near_faces()
    off = torch.tensor([0.5, -0.2, 3.0, 0.0]).double()
    loss = box_loss(encode(faces, ANCHORS) + off, faces, ANCHORS, "smooth_l1")
    assert torch.allclose(loss, torch.full_like(loss, 0.5**3 + 0.2**2 / 2 + 2.5))


@pytest.mark.parametrize("kind", IOU_LOSSES)
@given(boxes(), boxes())
def test_losses_of_boxes_are_the_formulas(kind: str, a: Box, b: Box) -> None:
    loss = IOU_LOSSES[kind](tensor(a), tensor(b)).item()
    assert loss == pytest.approx(plain(kind, a, b), abs=1e-9)


@given(boxes(), boxes(), st.floats(0.1, 10), st.floats(-100, 100))
def test_losses_of_boxes_keep_their_bounds(a: Box, b: Box, scale: float, shift: float) -> None:
    one, other = tensor(a), tensor(b)
    giou, diou, eiou = (loss(one, other).item() for loss in IOU_LOSSES.values())
    assert -1e-12 <= giou < 2
    assert -1e-12 <= diou < 2
    assert diou - 1e-12 <= eiou < 4
    for loss in IOU_LOSSES.values():
        assert loss(one, one).item() == pytest.approx(0, abs=1e-12)
        assert torch.allclose(loss(one, other), loss(other, one))
        assert torch.allclose(loss(one * scale + shift, other * scale + shift), loss(one, other))


@pytest.mark.parametrize("kind", IOU_LOSSES)
def test_boxes_apart_are_drawn_together(kind: str) -> None:
    face = tensor((0, 0, 10, 10))
    away = tensor((30, 0, 40, 10)).requires_grad_()
    IOU_LOSSES[kind](away, face).backward()
    assert away.grad is not None
    assert away.grad[[0, 2]].sum() > 0  # down the gradient is to the left


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 50.0, -50.0, 1e4, -1e4, 1e30, -1e30])
def test_degenerate_predictions_have_finite_gradients(kind: Kind, value: float) -> None:
    anchors = anchor_boxes(ExtdConfig(), 640, 640)[::997]
    faces = decode(torch.full((len(anchors), 4), -1.0), anchors)
    for where in ([0, 1], [2, 3], [0, 1, 2, 3], [2]):
        regression = torch.zeros(len(anchors), 4)
        regression[:, where] = value
        regression.requires_grad_()
        loss = box_loss(regression, faces, anchors, kind).sum()
        loss.backward()
        assert loss.isfinite()
        assert regression.grad is not None
        assert regression.grad.isfinite().all()


def test_decoding_is_that_of_detection_except_for_absurd_numbers() -> None:
    anchors = anchor_boxes(ExtdConfig(), 128, 128)
    regression = 7 * torch.randn(len(anchors), 4, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(safe_decode(regression, anchors), decode(regression, anchors))
    absurd = safe_decode(torch.full((len(anchors), 4), torch.inf), anchors)
    assert absurd.isfinite().all()
