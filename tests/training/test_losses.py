from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import anchor_boxes, anchor_levels, encode
from extd.models.config import ExtdConfig
from extd.models.extd import Predictions
from extd.training.assigners import Labels, Targets, assign
from extd.training.losses import (
    Losses,
    count,
    cross_entropy,
    eiou,
    landmark_loss,
    multitask_loss,
    quality_focal,
)
from extd.training.recipe import Loss

LEVELS = anchor_levels(ExtdConfig(), 64, 64)
GRID = anchor_boxes(ExtdConfig(), 64, 64)
VARIED = [
    Loss(),
    Loss(normalizer="released", negatives=1),
    Loss(classification="quality_focal", regression="eiou"),
]
SIMOTA = Loss(assigner="simota", classification="quality_focal", regression="eiou")
POSITIVE = torch.tensor([[True, False, False, False, False], [False, True, True, False, False]])
NEGATIVE = torch.tensor([[False, True, True, True, False], [True, False, False, True, True]])
Box = tuple[float, float, float, float]


class Scene:
    """Five images with up to six faces and two ignored regions, and predictions for them."""

    def __init__(self, settings: Loss) -> None:
        generator = torch.Generator().manual_seed(0)
        center = torch.rand(5, 8, 2, generator=generator) * 64
        half = 3 + torch.rand(5, 8, 2, generator=generator) * 14
        boxes = torch.cat([center - half, center + half], 2)
        faces, ignore = boxes[:, :6].clone(), boxes[:, 6:]
        real = torch.arange(6) < torch.tensor([6, 0, 3, 1, 2])[:, None]
        faces[~real] = 0
        landmarks = torch.full((5, 6, 10), torch.nan).double()
        landmarks[2] = 30.0
        self.settings = settings
        everywhere = torch.ones(5, 2, dtype=torch.bool)
        self.labels = Labels(faces, real, ignore, everywhere, landmarks)
        self.targets = assign(LEVELS, GRID, self.labels, settings)
        self.labels = self.labels._replace(faces=faces.double())

        def random(width: int) -> Tensor:
            values = torch.randn(5, len(GRID), width, generator=generator, dtype=torch.float64)
            return values.requires_grad_()

        self.predictions = Predictions(random(4), random(2), random(10))

    def losses(self, part: slice, counts: Tensor, predictions: Predictions | None = None) -> Losses:
        given = predictions or self.predictions
        return multitask_loss(
            Predictions(*(x[part] for x in given if x is not None)),
            LEVELS,
            GRID.to(self.labels.faces.dtype),
            Labels(*(x[part] for x in self.labels)),
            Targets(*(x[part] for x in self.targets)),
            self.settings,
            counts,
        )


def total(losses: Losses) -> Tensor:
    return losses.classes + losses.boxes + losses.landmarks


@pytest.mark.parametrize("negatives", [3, 1000])
@pytest.mark.parametrize("normalizer", ["paper", "released"])
def test_the_papers_loss_is_that_of_a_slow_loop(normalizer: Any, negatives: int) -> None:
    scene = Scene(Loss(normalizer=normalizer, negatives=negatives))
    regression, logits, points = (part.detach() for part in scene.predictions if part is not None)
    classes = boxes = landmarks = 0.0
    positives = kept = 0
    for i in range(5):
        face, ignored = scene.targets.face[i].tolist(), scene.targets.ignored[i].tolist()
        entropy = [
            F.cross_entropy(logits[i, a], torch.tensor(int(face[a] >= 0))).item()
            for a in range(len(GRID))
        ]
        mine = [a for a in range(len(GRID)) if face[a] >= 0]
        others = [a for a in range(len(GRID)) if face[a] < 0 and not ignored[a]]
        hardest = sorted((entropy[a] for a in others), reverse=True)[: negatives * len(mine)]
        classes += sum(entropy[a] for a in mine) + sum(hardest)
        positives, kept = positives + len(mine), kept + len(hardest)
        for a in mine:
            anchor, matched = GRID[a].double(), scene.labels.faces[i, face[a]]
            wanted = encode(matched, anchor)
            boxes += F.smooth_l1_loss(regression[i, a], wanted, reduction="sum").item()
            if i == 2:
                found = anchor[:2].tile(5) + points[i, a] * 0.1 * anchor[2:].tile(5)
                side = (matched[2:] - matched[:2]).prod().sqrt()
                landmarks += ((found - 30).abs().mean() / side).item()
    counts = count(scene.targets, scene.settings)
    divisor = positives + kept if normalizer == "paper" else positives
    assert counts.tolist() == [positives, divisor]
    losses = scene.losses(slice(0, 5), counts)
    assert losses.classes.item() == pytest.approx(classes / divisor)
    assert losses.boxes.item() == pytest.approx(4 * boxes / positives)
    assert losses.landmarks.item() == pytest.approx(landmarks / positives)
    assert losses.positives.item() == positives


@pytest.mark.parametrize("settings", VARIED)
def test_parts_of_a_batch_add_up_to_the_whole(settings: Loss) -> None:
    scene = Scene(settings)
    parts = [slice(0, 2), slice(2, 3), slice(3, 5)]
    counts = count(scene.targets, settings)
    split = [count(Targets(*(x[part] for x in scene.targets)), settings) for part in parts]
    assert torch.equal(torch.stack(split).sum(0), counts)
    whole = scene.losses(slice(0, 5), counts)
    inputs = [part for part in scene.predictions if part is not None]
    wanted = torch.autograd.grad(total(whole), inputs)
    losses = [scene.losses(part, counts) for part in parts]
    summed = torch.stack([total(each) for each in losses]).sum()
    assert torch.allclose(summed, total(whole))
    for ours, theirs in zip(torch.autograd.grad(summed, inputs), wanted, strict=True):
        assert torch.allclose(ours, theirs)
    assert sum(each.positives.item() for each in losses) == whole.positives.item() == counts[0]


def test_with_simota_parts_weigh_their_share_of_the_images() -> None:
    scene = Scene(SIMOTA)
    counts = count(scene.targets, SIMOTA)
    assert counts.tolist() == [5, 5]
    alone = [
        total(scene.losses(part, torch.tensor([size, size])))
        for part, size in ((slice(0, 3), 3.0), (slice(3, 5), 2.0), (slice(1, 2), 1.0))
    ]
    shared = [total(scene.losses(part, counts)) for part in (slice(0, 3), slice(3, 5))]
    assert torch.allclose(shared[0] + shared[1], (3 * alone[0] + 2 * alone[1]) / 5)
    # An image without faces has a loss, too.
    assert alone[2].item() > 0


@pytest.mark.parametrize("settings", VARIED)
def test_the_gradient_is_that_of_the_loss_and_spares_ignored_anchors(settings: Loss) -> None:
    scene = Scene(settings)
    counts = count(scene.targets, settings)
    total(scene.losses(slice(0, 5), counts)).backward()
    logits, regression = scene.predictions.logits.grad, scene.predictions.regression.grad
    assert logits is not None
    assert regression is not None
    assert not logits[scene.targets.ignored].any()
    assert torch.equal(regression.any(-1), scene.targets.face >= 0)
    # Against a finite difference, along the gradient itself.
    step = 1e-6
    moved = []
    for sign in (1, -1):
        parts = [
            part.detach() + sign * step * part.grad
            for part in scene.predictions
            if part is not None and part.grad is not None
        ]
        if settings.classification == "quality_focal":
            # The quality depends on the boxes, but no gradient flows through it.
            parts[0] = scene.predictions.regression.detach()
        moved.append(total(scene.losses(slice(0, 5), counts, Predictions(*parts))).item())
    grads = [part.grad for part in scene.predictions if part is not None]
    if settings.classification == "quality_focal":
        grads = grads[1:]
    norm = sum(float(grad.square().sum()) for grad in grads if grad is not None)
    assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("settings", [*VARIED, SIMOTA])
def test_absurd_predictions_are_met_in_the_loss(settings: Loss) -> None:
    scene = Scene(settings)
    counts = count(scene.targets, settings)
    parts = [part.detach() for part in scene.predictions if part is not None]
    for broken in range(2):
        other = list(parts)
        other[broken] = torch.full_like(other[broken], math.nan)
        assert total(scene.losses(slice(0, 5), counts, Predictions(*other))).isnan()
    for value in (1e4, -1e30):
        far = torch.full_like(parts[0], value).requires_grad_()
        loss = total(scene.losses(slice(0, 5), counts, Predictions(far, *parts[1:])))
        loss.backward()
        assert loss.isfinite()
        assert far.grad is not None
        assert far.grad.isfinite().all()


@pytest.mark.parametrize("settings", [*VARIED, SIMOTA])
def test_half_precision_is_computed_in_float32(settings: Loss) -> None:
    scene = Scene(settings)
    faces, points = scene.labels.faces.float(), scene.labels.landmarks.float()
    scene.labels = scene.labels._replace(faces=faces, landmarks=points)
    regression, logits, landmarks = scene.predictions
    given = [part for part in (regression, logits[..., 1:], landmarks) if part is not None]
    half = Predictions(*(part.detach().bfloat16() for part in given))
    full = Predictions(*(part.float() for part in half if part is not None))
    counts = count(scene.targets, settings)
    losses = scene.losses(slice(0, 5), counts, half)
    assert losses.classes.dtype == torch.float32
    assert total(losses) == total(scene.losses(slice(0, 5), counts, full))


@pytest.mark.parametrize("settings", [*VARIED, SIMOTA])
def test_a_batch_without_faces_has_no_nan(settings: Loss) -> None:
    scene = Scene(settings)
    empty = slice(1, 2)
    counts = count(Targets(*(x[empty] for x in scene.targets)), settings)
    losses = scene.losses(empty, counts)
    total(losses).backward()
    assert losses.boxes.item() == losses.positives.item() == losses.landmarks.item() == 0
    assert losses.classes.isfinite()
    regression = scene.predictions.regression.grad
    assert regression is None or not regression.any()


def scores(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, generator=generator, dtype=torch.float64) * 2


def test_cross_entropy_keeps_the_hardest_negatives_of_each_image() -> None:
    score = torch.tensor([[0.0, -1, 2, 1, 9], [-1, 0, 0, 4, -2]])
    loss = cross_entropy(score, POSITIVE, NEGATIVE, 1)
    # One negative for the one positive above, two for the two below.
    wanted = [[math.log(2), 0, math.log(1 + math.exp(2)), 0, 0]]
    wanted += [[math.log(1 + math.exp(-1)), math.log(2), math.log(2), math.log(1 + math.exp(4)), 0]]
    assert torch.allclose(loss, torch.tensor(wanted))
    everything = cross_entropy(score, POSITIVE, NEGATIVE, 100)
    assert torch.equal(everything > 0, POSITIVE | NEGATIVE)


def test_quality_focal_is_the_formula_and_no_gradient_flows_into_the_quality() -> None:
    quality = torch.tensor([[0.8, 0.9, 0.9, 0.9, 0.9], [0.9, 0.0, 1.0, 0.9, 0.9]]).double()
    loss = quality_focal(scores(), quality.requires_grad_(), POSITIVE, NEGATIVE)
    assert not loss.requires_grad
    for score, reached, positive, negative, value in zip(
        *(x.flatten() for x in (scores(), quality.detach(), POSITIVE, NEGATIVE, loss)), strict=True
    ):
        p, y = 1 / (1 + math.exp(-score)), float(reached * positive)
        wanted = -((y - p) ** 2) * ((1 - y) * math.log(1 - p) + y * math.log(p))
        assert value.item() == pytest.approx(wanted * float(positive | negative))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.floats(-50, 50)), draw(st.floats(-50, 50))
    return x, y, x + draw(st.floats(0.1, 80)), y + draw(st.floats(0.1, 80))


@given(boxes(), boxes(), st.floats(0.1, 10), st.floats(-100, 100))
def test_eiou_is_the_formula(a: Box, b: Box, scale: float, shift: float) -> None:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    shared = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    width, height = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    away = math.dist(((ax1 + ax2) / 2, (ay1 + ay2) / 2), ((bx1 + bx2) / 2, (by1 + by2) / 2))
    wanted = 1 - shared / union + away**2 / (width**2 + height**2)
    wanted += (ax2 - ax1 - bx2 + bx1) ** 2 / width**2 + (ay2 - ay1 - by2 + by1) ** 2 / height**2
    one, other = (torch.tensor(box, dtype=torch.float64) for box in (a, b))
    loss = eiou(one, other)
    assert loss.item() == pytest.approx(wanted, abs=1e-9)
    assert eiou(one, one).item() == pytest.approx(0, abs=1e-12)
    assert torch.allclose(eiou(one * scale + shift, other * scale + shift), loss)


def test_unknown_landmarks_cost_nothing() -> None:
    points = torch.full((2, 10), 5.0, requires_grad=True)
    known = torch.stack([torch.full((10,), torch.nan), torch.full((10,), 7.0)])
    loss = landmark_loss(points, known, torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]]))
    assert loss.tolist() == [0, 0.5]
    loss.sum().backward()
    assert points.grad is not None
    assert not points.grad[0].any()
    assert points.grad[1].all()
