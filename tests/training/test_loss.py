from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from extd.models.anchors import anchor_boxes, corners, encode
from extd.models.config import ExtdConfig
from extd.models.extd import Predictions
from extd.training.assignment import assign
from extd.training.loss import Losses, count, multitask_loss
from extd.training.matching import Targets, iou
from extd.training.recipe import Loss
from extd.training.simota import simota

ROW = torch.tensor([[8.0 * i, 8, 16, 16] for i in range(10)])
"""Ten anchors in a row."""
GRID = anchor_boxes(ExtdConfig(), 64, 64)
KINDS = [
    Loss(classification=classification, regression=regression)
    for classification, regression in product(
        ("cross_entropy", "focal", "quality_focal"), ("smooth_l1", "giou", "diou", "eiou")
    )
]
VARIED = [
    Loss(),
    Loss(normalizer="released", negatives=1),
    Loss(negatives=1000),
    Loss(classification="focal", regression="giou"),
    Loss(classification="quality_focal", regression="eiou"),
    Loss(assignment="atss", regression="diou"),
]


def named(settings: Loss) -> str:
    return f"{settings.assignment}-{settings.classification}-{settings.regression}"


def targets(rows: list[dict[int, int]], ignored: tuple[int, ...] = ()) -> Targets:
    """Faces of anchors, by picture."""
    face = torch.full((len(rows), 10), -1)
    for i, row in enumerate(rows):
        for anchor, value in row.items():
            face[i, anchor] = value
    hidden = torch.zeros(len(rows), 10, dtype=torch.bool)
    hidden[:, list(ignored)] = True
    return Targets(face, hidden)


def loss_of(
    predictions: Predictions, anchors: Tensor, assigned: Targets, faces: Tensor, settings: Loss
) -> Losses:
    """The loss of a whole batch."""
    real = faces[..., 2] > faces[..., 0]
    counts = count(assigned, settings)
    return multitask_loss(predictions, anchors, assigned, faces, real, settings, counts)


class Scene:
    """Five pictures with up to six faces and two ignored regions, and predictions for them."""

    def __init__(self, settings: Loss, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)
        centre = torch.rand(5, 8, 2, generator=generator) * 64
        half = 3 + torch.rand(5, 8, 2, generator=generator) * 14
        boxes = torch.cat([centre - half, centre + half], 2)
        self.faces, ignore = boxes[:, :6].clone(), boxes[:, 6:]
        self.real = torch.arange(6) < torch.tensor([6, 0, 3, 1, 2])[:, None]
        self.faces[~self.real] = 0
        self.settings = settings
        self.anchors = GRID.to(dtype)
        self.targets = assign(
            GRID, self.faces, self.real, ignore, torch.ones(5, 2, dtype=torch.bool), settings
        )
        self.faces = self.faces.to(dtype)
        self.predictions = Predictions(
            torch.randn(5, len(GRID), 4, generator=generator, dtype=dtype).requires_grad_(),
            torch.randn(5, len(GRID), 2, generator=generator, dtype=dtype).requires_grad_(),
        )

    def losses(self, part: slice, counts: Tensor, predictions: Predictions | None = None) -> Losses:
        given = self.predictions if predictions is None else predictions
        return multitask_loss(
            Predictions(*(x[part] for x in given)),
            self.anchors,
            Targets(*(x[part] for x in self.targets)),
            self.faces[part],
            self.real[part],
            self.settings,
            counts,
        )


def test_the_loss_is_equation_3_by_hand() -> None:
    logits = torch.zeros(2, 10, 2)
    logits[0, 5, 1] = 3.0  # the hardest negative of the first picture
    predictions = Predictions(torch.zeros(2, 10, 4), logits)
    faces = torch.tensor([[[0.0, 0, 16, 16], [0, 0, 0, 0]], [[4, 4, 20, 20], [30, 0, 50, 16]]])
    assigned = targets([{1: 0}, {2: 1}])
    losses = loss_of(predictions, ROW, assigned, faces, Loss(negatives=2))
    # Two positives and four negatives: five anchors at log 2, one at log(1 + e^3).
    expected = (5 * math.log(2) + math.log(1 + math.exp(3))) / 6
    assert losses.classes.item() == pytest.approx(expected, rel=1e-5)
    wanted = torch.stack([encode(faces[0, 0], ROW[1]), encode(faces[1, 1], ROW[2])])
    boxes = 4 * F.smooth_l1_loss(torch.zeros(2, 4), wanted, reduction="sum") / 2
    assert losses.boxes.item() == pytest.approx(boxes.item(), rel=1e-5)
    assert losses.total.item() == pytest.approx(expected + boxes.item(), rel=1e-5)
    assert losses.positives.item() == 2

    settings = Loss(negatives=2, normalizer="released", box_weight=1.0)
    released = loss_of(predictions, ROW, assigned, faces, settings)
    assert released.classes.item() == pytest.approx(expected * 3, rel=1e-5)
    assert released.boxes.item() == pytest.approx(losses.boxes.item() / 4, rel=1e-5)


@pytest.mark.parametrize("negatives", [3, 1000])
@pytest.mark.parametrize("normalizer", ["paper", "released"])
def test_the_paper_s_loss_is_that_of_a_slow_loop_over_pictures(
    normalizer: str, negatives: int
) -> None:
    scene = Scene(replace(Loss(), normalizer=normalizer, negatives=negatives), torch.float64)
    regression, logits = (part.detach() for part in scene.predictions)
    classes = boxes = 0.0
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
            wanted = encode(scene.faces[i, face[a]], scene.anchors[a])
            boxes += F.smooth_l1_loss(regression[i, a], wanted, reduction="sum").item()
    counts = count(scene.targets, scene.settings)
    divisor = positives + kept if normalizer == "paper" else positives
    assert counts.tolist() == [positives, divisor]
    losses = scene.losses(slice(0, 5), counts)
    assert losses.classes.item() == pytest.approx(classes / divisor)
    assert losses.boxes.item() == pytest.approx(4 * boxes / positives)


@pytest.mark.parametrize("settings", KINDS, ids=named)
def test_the_gradient_is_that_of_the_loss(settings: Loss) -> None:
    generator = torch.Generator().manual_seed(1)
    faces = torch.tensor([[[1.0, 2, 15, 18], [40, 3, 60, 20]], [[4, 4, 20, 19], [0, 0, 0, 0]]])
    assigned = targets([{1: 0, 6: 1}, {2: 0}], ignored=(8,))

    def total(regression: Tensor, logits: Tensor) -> Tensor:
        predictions = Predictions(regression, logits)
        return loss_of(predictions, ROW.double(), assigned, faces.double(), settings).total

    regression = torch.randn(2, 10, 4, generator=generator, dtype=torch.float64).requires_grad_()
    logits = torch.randn(2, 10, 2, generator=generator, dtype=torch.float64).requires_grad_()
    if settings.classification == "quality_focal":
        # The quality depends on the boxes, but no gradient flows through it.
        fixed = regression.detach()
        assert torch.autograd.gradcheck(lambda x: total(fixed, x), logits)
    else:
        assert torch.autograd.gradcheck(total, (regression, logits))


@pytest.mark.parametrize("settings", VARIED, ids=named)
def test_parts_of_a_batch_add_up_to_the_whole(settings: Loss) -> None:
    scene = Scene(settings, torch.float64)
    parts = [slice(0, 2), slice(2, 3), slice(3, 5)]
    counts = count(scene.targets, settings)
    split = [count(Targets(*(x[part] for x in scene.targets)), settings) for part in parts]
    assert torch.equal(torch.stack(split).sum(0), counts)
    whole = scene.losses(slice(0, 5), counts)
    wanted = torch.autograd.grad(whole.total, scene.predictions)
    losses = [scene.losses(part, counts) for part in parts]
    summed = torch.stack([each.total for each in losses]).sum()
    assert torch.allclose(summed, whole.total)
    for ours, theirs in zip(torch.autograd.grad(summed, scene.predictions), wanted, strict=True):
        assert torch.allclose(ours, theirs)
    assert sum(each.positives.item() for each in losses) == whole.positives.item() == counts[0]


def test_with_simota_parts_weigh_their_share_of_the_pictures() -> None:
    settings = Loss(assignment="simota")
    scene = Scene(settings, torch.float64)
    counts = count(scene.targets, settings)
    assert counts.tolist() == [5, 5]
    whole = scene.losses(slice(0, 5), counts)
    assert whole.positives.item() >= 6
    alone = [
        scene.losses(part, torch.tensor([size, size]))
        for part, size in ((slice(0, 3), 3.0), (slice(3, 5), 2.0))
    ]
    shared = [scene.losses(part, counts) for part in (slice(0, 3), slice(3, 5))]
    mean = (3 * alone[0].total + 2 * alone[1].total) / 5
    assert torch.allclose(shared[0].total + shared[1].total, mean)
    # One part that is the whole is divided by its own positives.
    positives = whole.positives.item()
    kept = positives + sum(
        min(3 * n, len(GRID) - n - hidden) for n, hidden in zip(*simota_counts(scene), strict=True)
    )
    doubled = replace(settings, normalizer="released")
    released = Scene(doubled, torch.float64).losses(slice(0, 5), counts)
    assert released.classes.item() == pytest.approx(whole.classes.item() * kept / positives)


def test_with_simota_a_picture_without_faces_weighs_its_share() -> None:
    scene = Scene(Loss(assignment="simota", classification="focal"), torch.float64)
    empty = slice(1, 2)
    assert not scene.real[empty].any()
    alone, shared = (scene.losses(empty, torch.tensor([n, n])) for n in (1.0, 4.0))
    assert alone.total.item() > 0
    assert shared.total.item() == pytest.approx(alone.total.item() / 4)


def simota_counts(scene: Scene) -> tuple[list[int], list[int]]:
    """Positives and ignored anchors of each picture."""
    found = simota(scene.predictions, scene.anchors, scene.faces, scene.real, scene.targets, 0.625)
    return (found.face >= 0).sum(1).tolist(), found.ignored.sum(1).tolist()


@pytest.mark.parametrize("settings", KINDS, ids=named)
def test_ignored_anchors_have_no_gradient(settings: Loss) -> None:
    logits = torch.randn(1, 10, 2, requires_grad=True)
    regression = torch.randn(1, 10, 4, requires_grad=True)
    faces = torch.tensor([[[0.0, 0, 16, 16]]])
    assigned = targets([{0: 0}], ignored=(3, 4))
    settings = replace(settings, negatives=100)
    loss_of(Predictions(regression, logits), ROW, assigned, faces, settings).total.backward()
    assert logits.grad is not None
    assert regression.grad is not None
    touched = logits.grad.abs().sum(-1)[0] > 0
    assert touched.tolist() == [i not in (3, 4) for i in range(10)]
    assert (regression.grad.abs().sum(-1)[0] > 0).tolist() == [i == 0 for i in range(10)]


@pytest.mark.parametrize("settings", KINDS, ids=named)
def test_boxes_of_other_anchors_cannot_spoil_the_gradient(settings: Loss) -> None:
    regression = torch.full((1, 10, 4), math.nan)
    regression[0, 0] = 0.5
    regression[0, 1:4] = math.inf
    regression.requires_grad_()
    faces = torch.tensor([[[0.0, 0, 16, 16]]])
    predictions = Predictions(regression, torch.zeros(1, 10, 2))
    losses = loss_of(predictions, ROW, targets([{0: 0}]), faces, settings)
    losses.total.backward()
    assert losses.total.isfinite()
    assert regression.grad is not None
    assert regression.grad.isfinite().all()


@pytest.mark.parametrize("settings", [*KINDS, Loss(assignment="simota")], ids=named)
def test_a_batch_without_faces_has_no_nan(settings: Loss) -> None:
    logits = torch.randn(1, 10, 2, requires_grad=True)
    regression = torch.randn(1, 10, 4, requires_grad=True)
    predictions = Predictions(regression, logits)
    losses = loss_of(predictions, ROW, targets([{}]), torch.zeros(1, 1, 4), settings)
    losses.total.backward()
    assert losses.boxes.item() == losses.positives.item() == 0
    assert losses.classes.isfinite()
    assert regression.grad is not None
    assert not regression.grad.any()
    if settings.classification == "cross_entropy":
        assert losses.classes.item() == 0


@pytest.mark.parametrize("settings", [*VARIED, Loss(assignment="simota")], ids=named)
@pytest.mark.parametrize("broken", [0, 1])
def test_predictions_of_nan_give_a_loss_of_nan(settings: Loss, broken: int) -> None:
    scene = Scene(settings)
    parts = [part.detach() for part in scene.predictions]
    parts[broken] = torch.full_like(parts[broken], math.nan)
    losses = scene.losses(slice(0, 5), count(scene.targets, settings), Predictions(*parts))
    assert losses.total.isnan()


@pytest.mark.parametrize("settings", [*VARIED, Loss(assignment="simota")], ids=named)
def test_half_precision_is_computed_in_float32(settings: Loss) -> None:
    scene = Scene(settings)
    half = Predictions(*(part.detach().bfloat16().requires_grad_() for part in scene.predictions))
    full = Predictions(*(part.detach().float() for part in half))
    counts = count(scene.targets, settings)
    losses = scene.losses(slice(0, 5), counts, half)
    assert losses.total.dtype == torch.float32
    assert torch.equal(losses.total, scene.losses(slice(0, 5), counts, full).total)
    losses.total.backward()
    assert half.logits.grad is not None
    assert half.logits.grad.dtype == torch.bfloat16


def test_the_quality_is_the_iou_of_the_predicted_box() -> None:
    faces = torch.tensor([[[2.0, 0, 18, 20]]])
    quality = iou(corners(ROW[1]), faces[0, 0]).item()
    logits = torch.zeros(1, 10, 2)
    logits[..., 1] = -40.0
    logits[0, 1, 1] = math.log(quality / (1 - quality))
    settings = Loss(classification="quality_focal")
    losses = loss_of(
        Predictions(torch.zeros(1, 10, 4), logits), ROW, targets([{1: 0}]), faces, settings
    )
    assert 0 < quality < 1
    assert losses.classes.item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("settings", VARIED, ids=named)
def test_anchors_of_half_the_size_learn_their_own_offsets(settings: Loss) -> None:
    # The progressive anchor loss.
    halved = GRID * torch.tensor([1, 1, 0.5, 0.5])
    faces = torch.tensor([[[10.0, 10, 19, 20], [30, 30, 54, 50]]])
    real = torch.ones(1, 2, dtype=torch.bool)
    none = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool)
    early = assign(halved, faces, real, *none, settings)
    assert set(early.face.unique().tolist()) == {-1, 0, 1}
    assert not torch.equal(early.face, assign(GRID, faces, real, *none, settings).face)
    right = encode(faces[0, early.face.clamp(min=0)], halved)
    logits = torch.zeros(1, len(GRID), 2)
    losses = loss_of(Predictions(right, logits), halved, early, faces, settings)
    assert losses.boxes.item() == pytest.approx(0, abs=1e-5)
    assert loss_of(Predictions(right, logits), GRID, early, faces, settings).boxes.item() > 0.1


@pytest.mark.parametrize("settings", [*KINDS, Loss(assignment="simota")], ids=named)
def test_the_host_does_not_wait_for_the_device(settings: Loss) -> None:
    # Tensors without contents: whatever needs a value on the host fails.
    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    predictions = Predictions(empty(2, 50, 4).requires_grad_(), empty(2, 50, 2).requires_grad_())
    assigned = Targets(empty(2, 50, dtype=torch.int64), empty(2, 50, dtype=torch.bool))
    real = empty(2, 3, dtype=torch.bool)
    counts = count(assigned, settings)
    assert counts.device.type == "meta"
    losses = multitask_loss(
        predictions, empty(50, 4), assigned, empty(2, 3, 4), real, settings, counts
    )
    losses.total.backward()
    assert losses.positives.device.type == "meta"
