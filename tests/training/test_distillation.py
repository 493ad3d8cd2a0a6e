from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from extd.models.anchors import anchor_boxes
from extd.models.config import ExtdConfig
from extd.models.extd import Extd, Predictions
from extd.training.distillation import (
    DistillationLosses,
    FeatureAdapter,
    box_term,
    class_term,
    distillation_loss,
    feature_adapter,
    feature_term,
    softened_divergence,
)
from extd.training.recipe import Distillation
from extd.training.teacher import NetworkTeacher, SoftTargets, load_teacher

SIDE = 128
ANCHORS = anchor_boxes(ExtdConfig(), SIDE, SIDE)
ALL = Distillation(feature_weight=1.0)
finite = st.floats(-30, 30, width=32)


def network(config: ExtdConfig, seed: int = 0) -> Extd:
    """A network that sees faces here and there, with outputs as sane as a trained one's."""
    torch.manual_seed(seed)
    extd = Extd(config)
    for head in extd.heads.classification:
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        nn.init.constant_(head.bias[-1:], -2.0)
    norms = [module for module in extd.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.constant_(norm.weight, 0.5)
        norm.momentum = None  # a plain average over the passes
    with torch.no_grad():
        for _ in range(2):
            extd.train()(torch.rand(2, 3, SIDE, SIDE) * 255)
    return extd.eval()


def teaching(extd: Extd) -> NetworkTeacher:
    return NetworkTeacher(copy.deepcopy(extd).requires_grad_(False))


def losses(
    student: Extd,
    adapter: FeatureAdapter,
    teacher: NetworkTeacher,
    images: Tensor,
    settings: Distillation = ALL,
) -> DistillationLosses:
    maps = student.features(images)
    predictions = student.heads(maps)
    anchors = anchor_boxes(ExtdConfig(), SIDE, SIDE, images.device)
    return distillation_loss(predictions, adapter(maps), teacher, images, anchors, settings)


def soft(log_odds: list[float], face: list[float] | None = None) -> SoftTargets:
    """What a teacher says of one picture of a few anchors."""
    odds = torch.tensor([log_odds])
    seen = torch.zeros_like(odds) if face is None else torch.tensor([face])
    return SoftTargets(odds, seen, torch.zeros(*odds.shape, 4), torch.ones_like(odds), [])


def adapter_of_32() -> FeatureAdapter:
    return FeatureAdapter(ExtdConfig(), (32,) * 6)


def guessed(log_odds: list[float]) -> Tensor:
    face = torch.tensor([log_odds])
    return face.requires_grad_()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(images: Tensor) -> None:
    student = network(ExtdConfig("fpn", 32, "relu"))
    found = losses(student, adapter_of_32(), teaching(student), images)
    assert found.classes.item() == 0
    assert found.boxes.item() == 0
    assert found.features.item() == pytest.approx(0, abs=1e-6)
    other = losses(
        network(student.config, 1),
        adapter_of_32(),
        teaching(student),
        images,
    )
    assert min(other.classes.item(), other.boxes.item(), other.features.item()) > 0.01


def test_a_few_steps_bring_the_student_nearer_and_leave_the_teacher(images: Tensor) -> None:
    teacher = teaching(network(ExtdConfig("ssd", 48, "relu")))
    before = copy.deepcopy(teacher.network.state_dict())
    student = network(ExtdConfig("fpn", 32, "relu"), 1).train()
    adapter = feature_adapter(ExtdConfig(), teacher, ALL)
    assert adapter is not None
    parameters = [*student.parameters(), *adapter.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=4e-3)
    history = []
    for _ in range(7):
        found = losses(student, adapter, teacher, images)
        history.append([found.classes.item(), found.boxes.item(), found.features.item()])
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
    assert all(last < 0.9 * first for first, last in zip(history[0], history[-1], strict=True))
    taught = [*student.backbone.parameters(), *student.upsampling.parameters()]
    taught += adapter.parameters()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in taught if p.ndim > 1)
    assert all(p.grad is None for p in teacher.network.parameters())
    assert not any(module.training for module in teacher.network.modules())
    after = teacher.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_parts_of_a_batch_give_the_loss_of_the_whole(images: Tensor) -> None:
    teacher = teaching(network(ExtdConfig("fpn", 32, "relu")))
    student, adapter = (
        network(ExtdConfig("ssd", 32, "relu"), 1),
        adapter_of_32(),
    )
    whole = losses(student, adapter, teacher, images)
    crops = [losses(student, adapter, teacher, part) for part in images.split(1)]
    for name in ("classes", "boxes", "features"):
        parts = torch.stack([getattr(crop, name) for crop in crops])
        torch.testing.assert_close(parts.mean(), getattr(whole, name), rtol=1e-4, atol=1e-6)


def test_the_weights_scale_their_terms(images: Tensor) -> None:
    teacher = teaching(network(ExtdConfig("fpn", 32, "relu")))
    student, adapter = (
        network(ExtdConfig("ssd", 32, "relu"), 1),
        adapter_of_32(),
    )
    one = losses(student, adapter, teacher, images[:1])
    settings = Distillation(class_weight=2.0, box_weight=3.0, feature_weight=0.0)
    other = losses(student, adapter, teacher, images[:1], settings)
    assert other.classes.item() == pytest.approx(2 * one.classes.item())
    assert other.boxes.item() == pytest.approx(3 * one.boxes.item())
    assert other.features.item() == 0
    expected = other.classes + other.boxes
    assert other.total.item() == pytest.approx(expected.item())


def test_nothing_waits_for_a_value() -> None:
    # On the meta device there are no values, so a loss that asks for one fails.
    meta = torch.device("meta")
    teacher = NetworkTeacher(Extd(ExtdConfig("fpn", 48, "relu")).to(meta).requires_grad_(False))
    student = Extd(ExtdConfig("ssd", 32, "relu")).to(meta)
    adapter = FeatureAdapter(ExtdConfig(), (48,) * 6).to(meta)
    pictures = torch.zeros(2, 3, SIDE, SIDE, device=meta)
    total = losses(student, adapter, teacher, pictures).total
    total.backward()
    assert total.shape == ()


@given(finite, finite, st.floats(0.5, 8))
def test_the_divergence_is_that_of_the_softened_classes(
    teacher: float, student: float, temperature: float
) -> None:
    odds = torch.tensor([teacher, student], dtype=torch.float64)
    found = softened_divergence(odds[0], odds[1], temperature)
    classes = torch.stack([torch.zeros_like(odds), odds], -1) / temperature
    wanted, given_ = classes.log_softmax(-1)
    expected = temperature**2 * F.kl_div(given_, wanted, reduction="sum", log_target=True)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert found.item() >= -1e-9


def test_the_divergence_at_the_limits_of_temperature() -> None:
    teacher = torch.tensor([4.0, -3.0, 0.5, 6.0], dtype=torch.float64)
    student = torch.tensor([-2.0, 1.0, 2.5, 7.0], dtype=torch.float64)
    hot = softened_divergence(teacher, student, 1000.0)
    torch.testing.assert_close(hot, (teacher - student).square() / 8, rtol=1e-2, atol=0)
    # Cold distributions are certain: agreement costs nothing, disagreement T |student|.
    cold = softened_divergence(teacher, student, 0.01) / 0.01
    expected = torch.tensor([2.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(cold, expected, rtol=1e-6, atol=1e-6)


def test_the_class_term_by_hand() -> None:
    taught = soft([2.0, -1.0])._replace(trust=torch.tensor([[1.0, 0.25]]))
    found = class_term(guessed([0.0, 3.0]), taught, 2.0)
    weights = [1 / (1 + math.exp(-2)) ** 2, 0.25 / (1 + math.exp(-3)) ** 2]
    costs = softened_divergence(torch.tensor([2.0, -1.0]), torch.tensor([0.0, 3.0]), 2.0).tolist()
    expected = sum(w * c for w, c in zip(weights, costs, strict=True)) / sum(weights)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("guess", [-4.0, 0.0, 3.0])
def test_background_by_the_thousand_does_not_drown_a_face(guess: float) -> None:
    student = guessed([-2.0] + [guess] * 10000)
    class_term(student, soft([3.0] + [-6.0] * 10000), 2.0).backward()
    assert student.grad is not None
    face, *background = student.grad[0].abs().tolist()
    assert face > 0.3 * sum(background) > 0
    assert face > 0.3


def test_both_a_missed_face_and_a_false_alarm_are_taught() -> None:
    student = guessed([-3.0, 3.0, -5.0, 3.0])
    class_term(student, soft([3.0, -3.0, -5.2, 3.1]), 2.0).backward()
    assert student.grad is not None
    missed, alarm, background, seen = student.grad[0].tolist()
    assert missed < 0 < alarm
    assert alarm == pytest.approx(-missed, rel=1e-4)
    assert abs(background) < 1e-3 * alarm
    assert abs(seen) < 0.1 * alarm


def test_the_box_term_looks_where_the_teacher_sees_a_face() -> None:
    regression = torch.tensor([[[0.5, 0, 0, 0], [9, 9, 9, 9], [0, 3.0, 0, 0.0]]])
    found = box_term(regression, soft([0.0] * 3, [0.9, 0.0, 0.6]))
    # Smooth L1 of 0.5 is 0.125, of 3 it is 2.5.
    assert found.item() == pytest.approx((0.9 * 0.125 + 0.6 * 2.5) / 1.5)
    nothing = box_term(regression, soft([0.0] * 3))
    assert nothing.item() == 0


def test_the_feature_term_does_not_depend_on_the_size_of_a_channel() -> None:
    torch.manual_seed(0)
    wanted = [torch.randn(2, 4, n, n) for n in (16, 8)]
    wrong = [torch.randn_like(y) for y in wanted]
    scale = torch.tensor([1.0, 3.0, 2.0, 1.0]).view(1, 4, 1, 1)
    plain = feature_term(wrong, wanted).item()
    scaled = feature_term([scale * x for x in wrong], [scale * y for y in wanted]).item()
    assert scaled == pytest.approx(plain, rel=0.15)
    zeros = feature_term([torch.zeros_like(y) for y in wanted], wanted)
    assert 0.8 < zeros.item() <= 1


def test_dark_and_single_cell_maps_have_a_finite_feature_term() -> None:
    dark = [torch.zeros(2, 4, 1, 1, requires_grad=True)]
    feature_term(dark, [torch.zeros(2, 4, 1, 1)]).backward()
    assert dark[0].grad is not None
    assert dark[0].grad.abs().sum() == 0
    lone = torch.zeros(2, 4, 1, 1)
    lone[:, 0] = 1.0
    assert feature_term([torch.full_like(lone, 0.1)], [lone]).item() < 1


def test_a_detector_shows_no_maps_to_imitate(toy: str) -> None:
    teacher = load_teacher(toy, ExtdConfig(), torch.device("cpu"))
    with pytest.raises(ValueError, match=r"feature_weight is 1\.0.*toy\.onnx.*safetensors"):
        feature_adapter(ExtdConfig(), teacher, ALL)
    assert feature_adapter(ExtdConfig(), teacher, Distillation()) is None


def test_a_detector_of_other_anchors_teaches_classes_and_boxes(toy: str) -> None:
    teacher = load_teacher(toy, ExtdConfig(), torch.device("cpu"))
    pictures = torch.zeros(1, 3, SIDE, SIDE)
    pictures[0, 0, 44, 60], pictures[0, 1, 44, 60] = 230, 20
    raw = Predictions(
        torch.zeros(1, len(ANCHORS), 4, requires_grad=True),
        torch.zeros(1, len(ANCHORS), 2, requires_grad=True),
    )
    optimizer = torch.optim.SGD([*raw], lr=2.0)
    first = found = distillation_loss(raw, [], teacher, pictures, ANCHORS, Distillation())
    for _ in range(20):
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
        found = distillation_loss(raw, [], teacher, pictures, ANCHORS, Distillation())
    assert found.boxes.item() < 0.5 * first.boxes.item()
    assert found.classes.item() < first.classes.item()
