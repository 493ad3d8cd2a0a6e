from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from extd.models.anchors import anchor_boxes, corners, decode, encode
from extd.models.config import ExtdConfig
from extd.models.extd import Predictions
from extd.training.matching import Targets, iou
from extd.training.simota import alike, simota

ANCHORS = anchor_boxes(ExtdConfig(), 128, 128)
COUNT = len(ANCHORS)


def nothing(batch: int = 1) -> Targets:
    return Targets(torch.full((batch, COUNT), -1), torch.zeros(batch, COUNT, dtype=torch.bool))


def guesses(seed: int, batch: int = 1) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    return Predictions(
        torch.randn(batch, COUNT, 4, generator=generator),
        torch.randn(batch, COUNT, 2, generator=generator),
    )


def some_faces(seed: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * 128
    half = 4 * 8 ** torch.rand(count, 2, generator=generator)
    return torch.cat([centre - half, centre + half], 1)


def slow_simota(predictions: Predictions, faces: Tensor, size_ratio: float) -> list[int]:
    """One picture, face by face, in float64."""
    regression, logits = (part.double() for part in predictions)
    boxes = decode(regression, ANCHORS.double())
    smallest, largest = ANCHORS[:, 2].min().item(), ANCHORS[:, 2].max().item()
    bids: dict[int, list[tuple[float, int]]] = {}
    for n, face in enumerate(faces.double()):
        overlap = iou(boxes, face).tolist()
        x1, y1, x2, y2 = face.tolist()
        cost = {}
        for a, (x, y, side, _) in enumerate(ANCHORS.tolist()):
            within = x1 < x < x2 and y1 < y < y2
            away = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
            central = away < 2.5 * side / 4
            size = min(max(math.sqrt((x2 - x1) * (y2 - y1)), smallest), largest)
            alike = not size_ratio or max(size / side, side / size) <= size_ratio
            if (within or central) and alike:
                probability = torch.softmax(logits[a], 0)[1].item()
                cost[a] = -math.log(probability) - 3 * math.log(max(overlap[a], 1e-8))
                cost[a] += 0 if within and central else 1000
        room = int(sum(sorted((overlap[a] for a in cost), reverse=True)[:10]))
        for a in sorted(cost, key=lambda a: cost[a])[: max(1, room)]:
            bids.setdefault(a, []).append((cost[a], n))
    return [min(bids[a])[1] if a in bids else -1 for a in range(COUNT)]


@pytest.mark.parametrize("size_ratio", [0.0, 1.5, 2.2])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_a_slow_loop_over_faces_gives(seed: int, size_ratio: float) -> None:
    counts = (7, 1, 0, 12)
    faces = torch.zeros(4, 12, 4)
    real = torch.zeros(4, 12, dtype=torch.bool)
    for i, count in enumerate(counts):
        faces[i, :count], real[i, :count] = some_faces(10 * seed + i, count), True
    predictions = guesses(seed, 4)
    # Some boxes are nearly right, so that faces take several anchors.
    right = torch.rand(COUNT, generator=torch.Generator().manual_seed(seed)) < 0.5
    predictions.regression[0, right] *= 0.2
    predictions.regression[0, right] += encode(faces[0, :1], ANCHORS[right])
    face = simota(predictions, ANCHORS, faces, real, nothing(4), 0.625, size_ratio).face
    for i, count in enumerate(counts):
        alone = Predictions(predictions.regression[i], predictions.logits[i])
        assert face[i].tolist() == slow_simota(alone, faces[i, :count], size_ratio)
    assert (face[0] == 0).sum() > (0 if size_ratio else 3)
    assert (face[2] == -1).all()


def test_a_face_takes_more_anchors_as_predictions_get_better() -> None:
    face = torch.tensor([[[40.0, 40, 72, 72]]])
    real = torch.ones(1, 1, dtype=torch.bool)
    bad = Predictions(torch.full((1, COUNT, 4), -9.0), torch.zeros(1, COUNT, 2))
    good = bad._replace(regression=encode(face[0], ANCHORS)[None])
    assert (simota(bad, ANCHORS, face, real, nothing(), 0.625).face == 0).sum() == 1
    targets = simota(good, ANCHORS, face, real, nothing(), 0.625)
    assert (targets.face == 0).sum() == 10
    x, y = ANCHORS[targets.face[0] == 0, :2].unbind(1)
    assert ((x > 40) & (x < 72) & (y > 40) & (y < 72)).all()


def test_the_surer_of_two_equal_anchors_is_taken() -> None:
    face = torch.tensor([[[40.0, 40, 56, 56]]])
    near = (iou(corners(ANCHORS), face[0, 0]) > 0.5).nonzero().flatten()
    assert len(near) > 2
    logits = torch.zeros(1, COUNT, 2)
    logits[0, near[2], 1] = 2.0
    predictions = Predictions(torch.zeros(1, COUNT, 4), logits)
    predictions.regression[0] = encode(face[0], ANCHORS)
    predictions.regression[..., 2:] -= 8.0  # small boxes: IoUs that add up to less than one
    real = torch.ones(1, 1, dtype=torch.bool)
    face_of = simota(predictions, ANCHORS, face, real, nothing(), 0.625).face
    assert (face_of[0] >= 0).nonzero().flatten().tolist() == [near[2]]


def test_ignored_anchors_stay_ignored_unless_a_face_takes_them() -> None:
    face = torch.tensor([[[40.0, 40, 72, 72]]])
    everywhere = nothing()._replace(ignored=torch.ones(1, COUNT, dtype=torch.bool))
    real = torch.ones(1, 1, dtype=torch.bool)
    targets = simota(guesses(0), ANCHORS, face, real, everywhere, 0.625)
    assert (targets.face == 0).any()
    assert torch.equal(targets.ignored, targets.face < 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_faces_get_anchors_whatever_is_predicted(value: float) -> None:
    faces, real = some_faces(0, 3)[None], torch.ones(1, 3, dtype=torch.bool)
    broken = Predictions(torch.full((1, COUNT, 4), value), torch.full((1, COUNT, 2), value))
    assert (simota(broken, ANCHORS, faces, real, nothing(), 0.625).face >= 0).any()


@given(st.floats(1, 2000), st.floats(0.5, 2))
def test_at_a_ratio_of_one_and_a_half_every_face_has_anchors_of_its_size(
    size: float, aspect: float
) -> None:
    half = torch.tensor([size * aspect**0.5, size / aspect**0.5]) / 2
    face = torch.cat([64 - half, 64 + half])[None, None]
    levels = ANCHORS[alike(ANCHORS, face, 1.5)[0, 0], 2].unique().tolist()
    assert 1 <= len(levels) <= 2
    nearest = min(max(size, 16), 512)
    assert all(side / nearest < 1.51 and nearest / side < 1.51 for side in levels)
