from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from extd.models.anchors import anchor_boxes, anchor_levels, corners, decode, encode
from extd.models.config import ExtdConfig
from extd.models.extd import Predictions
from extd.training.assigners import (
    CROWD,
    Labels,
    Targets,
    candidates,
    ignored_anchors,
    iou,
    lowest_cost_face,
    match,
    safe_decode,
    simota,
    stable_topk,
    topk_mask,
)
from extd.training.recipe import Loss

SIZE = 128
ANCHORS = anchor_boxes(ExtdConfig(), SIZE, SIZE)
BOXES = corners(ANCHORS)
LEVELS = anchor_levels(ExtdConfig(), SIZE, SIZE)
COUNT = len(ANCHORS)
MATRIX = NDArray[np.float32]
RULES = [
    Loss(),
    Loss(match_iou=0.4, compensate_iou=0.2),
    Loss(compensation="pooled"),
    Loss(match_iou=0.2, compensate_iou=0.01),
]


@st.composite
def boxes(draw: st.DrawFn, least: int = 0, side: float = 4) -> Tensor:
    """Up to six boxes; whole numbers and repeated boxes make ties."""
    whole = draw(st.booleans())

    def number(low: float, high: float) -> float:
        if whole:
            return draw(st.integers(math.ceil(low), math.floor(high)))
        # A label of 1e-40 px would only show that float32 rounds.
        return round(draw(st.floats(low, high)), 3)

    rows: list[list[float]] = []
    for _ in range(draw(st.integers(least, 6))):
        if rows and draw(st.integers(0, 4)) == 0:
            rows.append(draw(st.sampled_from(rows)))
            continue
        x, y = number(-10, 110), number(-10, 110)
        rows.append([x, y, x + number(side, 90), y + number(side, 90)])
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def all_real(faces: Tensor) -> tuple[Tensor, Tensor]:
    """One image without padding."""
    return faces[None], torch.ones(1, len(faces), dtype=torch.bool)


def matched(faces: Tensor, rule: Loss) -> Tensor:
    return match(ANCHORS, *all_real(faces), rule)[0]


def slow_overlap(faces: Tensor) -> tuple[MATRIX, MATRIX]:
    """IoU, and share of the anchor that the box covers: A x N."""
    a, b = BOXES.numpy()[:, None], faces.numpy()[None]
    width = (np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])).clip(0)
    height = (np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])).clip(0)
    shared = width * height
    a_size = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    b_size = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return shared / (a_size + b_size - shared), shared / a_size


def slow_match(faces: Tensor, rule: Loss) -> list[int]:
    """S3FD's matching of one image, anchor by anchor and face by face."""
    overlap = slow_overlap(faces)[0].tolist()
    anchors, count = range(len(ANCHORS)), len(faces)
    face = [-1] * len(ANCHORS)
    if not count:
        return face
    best_face = [max(range(count), key=lambda n: overlap[a][n]) for a in anchors]
    best = [overlap[a][best_face[a]] for a in anchors]
    for a in anchors:
        if best[a] >= np.float32(rule.match_iou):
            face[a] = best_face[a]
    for n in range(count):
        a = max(anchors, key=lambda a: overlap[a][n])
        if overlap[a][n] > 0:
            face[a] = n
    free = [a for a in anchors if face[a] < 0]
    if rule.compensation == "pooled":
        reached = [max(overlap[a][n] for a in anchors) for n in range(count)]
        wanted = sum(r >= np.float32(rule.match_iou) for r in reached)
        wanted = (wanted + sum(r >= 0.5 for r in reached)) // 2
        low, high = np.float32(rule.compensate_iou), np.float32(rule.match_iou)
        allowed = [a for a in free if low < best[a] < high]
        for a in sorted(allowed, key=lambda a: -best[a])[:wanted]:
            face[a] = best_face[a]
        return face
    counts = [face.count(n) for n in range(count)]
    mean = sum(counts) // count
    bids: dict[int, list[tuple[float, int]]] = {}
    for n in range(count):
        order = sorted(free, key=lambda a: -overlap[a][n])
        for a in order[: max(mean - counts[n], 0)]:
            if overlap[a][n] > np.float32(rule.compensate_iou):
                bids.setdefault(a, []).append((overlap[a][n], -n))
    for a, offers in bids.items():
        face[a] = -max(offers)[1]
    return face


def slow_ignored(regions: Tensor) -> list[bool]:
    overlap, covered = slow_overlap(regions)
    fine = ANCHORS[:, 2].numpy() == 16
    shared = covered * ANCHORS[:, 2:3].numpy() ** 2
    result, nearly = [False] * len(ANCHORS), 1 - 1e-6
    for m, (x1, y1, x2, y2) in enumerate(regions.numpy()):
        best = shared[fine, m].max()
        if best < 0.5 * (x2 - x1) * (y2 - y1):
            best = np.float32(np.inf)  # it is large, or hardly seen
        for a in range(len(ANCHORS)):
            high = overlap[a, m] >= 0.05 * nearly or covered[a, m] >= 0.5 * nearly
            nearest = fine[a] and best > 0 and shared[a, m] >= best * nearly
            result[a] |= bool(high or nearest)
    return result


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8)
@given(images=st.lists(boxes(), min_size=1, max_size=4), spare=st.integers(0, 3))
def test_a_batch_matches_as_a_slow_loop_over_images(
    rule: Loss, images: list[Tensor], spare: int
) -> None:
    width = max(1, *(len(faces) for faces in images)) + spare
    padded = torch.full((len(images), width, 4), 7.0)
    real = torch.zeros(len(images), width, dtype=torch.bool)
    for i, faces in enumerate(images):
        padded[i, : len(faces)], real[i, : len(faces)] = faces, True
    got = match(ANCHORS, padded, real, rule)
    for row, faces in zip(got, images, strict=True):
        assert row.tolist() == slow_match(faces, rule)


@settings(max_examples=8)
@given(images=st.lists(boxes(side=0), min_size=1, max_size=4), spare=st.integers(0, 3))
def test_ignored_regions_hide_what_a_slow_loop_hides(images: list[Tensor], spare: int) -> None:
    width = max(1, *(len(regions) for regions in images)) + spare
    padded = torch.full((len(images), width, 4), 50.0)
    real = torch.zeros(len(images), width, dtype=torch.bool)
    for i, regions in enumerate(images):
        padded[i, : len(regions)], real[i, : len(regions)] = regions, True
    got = ignored_anchors(LEVELS, padded, real)
    for row, regions in zip(got, images, strict=True):
        assert row.tolist() == slow_ignored(regions)


@given(boxes(least=1))
def test_compensation_brings_poor_faces_to_the_mean_and_no_further(faces: Tensor) -> None:
    overlap = iou(BOXES[:, None], faces[None])
    plain = matched(faces, Loss(compensate_iou=1.0))
    before = torch.bincount(plain[plain >= 0], minlength=len(faces))
    compensated = matched(faces, Loss())
    after = torch.bincount(compensated[compensated >= 0], minlength=len(faces))
    mean = int(before.sum()) // len(faces)
    assert (after >= before).all()
    assert (after <= before.clamp(min=mean)).all()
    # What the first stage decided stays.
    assert torch.equal(compensated[plain >= 0], plain[plain >= 0])
    free = overlap.masked_fill((compensated >= 0)[:, None], 0)
    # Who still has too few found no more anchors above the threshold; of two who want the same
    # anchor one may stay poor.
    if (before < mean).sum() == 1:
        assert (free.amax(0)[after < mean] <= 0.1).all()


@given(
    st.tuples(*[st.floats(440, 584)] * 2),
    st.tuples(*[st.floats(5, 500)] * 2),
    st.sampled_from([0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.9]),
)
@example((528.0, 528.0), (256.0, 256.0), 0.25)  # the most that a search found: 44
def test_few_anchors_overlap_one_face(
    center: tuple[float, float], side: tuple[float, float], threshold: float
) -> None:
    # Compensation looks no further than this.
    x, y = center
    width, height = side
    face = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    overlap = iou(corners(anchor_boxes(ExtdConfig(), 1024, 1024)), face)
    assert (overlap >= threshold).sum() <= CROWD / threshold**2


def test_a_face_without_area_gets_no_anchor() -> None:
    faces = torch.tensor([[40.0, 40, 40, 60], [8, 8, 40, 40]])
    face = matched(faces, Loss())
    assert (face == 1).any()
    assert not (face == 0).any()


@pytest.mark.parametrize("side", [0.5, 2, 3, 5])
def test_a_tiny_ignored_region_hides_the_anchors_that_contain_it(side: float) -> None:
    region = torch.tensor([60.0, 60, 60 + side, 60 + side])
    hides = ignored_anchors(LEVELS, *all_real(region[None]))[0]
    assert hides[iou(BOXES, region) > 0].any()
    assert not hides[iou(BOXES, region) == 0].any()
    assert not hides[ANCHORS[:, 2] > 16 * (side + 1)].any()


@pytest.mark.parametrize(("begin", "side"), [(SIZE - 1, 60), (SIZE - 1, 400), (SIZE + 5, 6)])
def test_a_region_that_barely_reaches_an_anchor_hides_none(begin: float, side: float) -> None:
    # Anchors of 16 px reach 6 px beyond the crop: nearly half of them is in the first two regions.
    region = torch.tensor([begin, 10, begin + side, 10 + side])
    fine = ANCHORS[:, 2] == 16
    assert (iou(BOXES, region)[fine] > 0).any()
    assert not ignored_anchors(LEVELS, *all_real(region[None]))[0, fine].any()


@given(st.lists(st.lists(st.sampled_from([0.0, 0.125, 0.3, 1.0, 1e4]), min_size=7, max_size=7)))
def test_ranks_put_the_first_of_equals_first(rows: list[list[float]]) -> None:
    values = torch.tensor(rows).reshape(-1, 7)
    for largest in (True, False):
        found, index = stable_topk(values, 4, largest=largest)
        assert torch.equal(found, values.gather(1, index))
        wanted = values.argsort(dim=1, descending=largest, stable=True)[:, :4]
        nonzero = found > 0  # zeros are nobody's overlap, and their order is free
        assert torch.equal(index[nonzero], wanted[nonzero])


def test_an_anchor_goes_to_the_lowest_cost_and_among_equals_to_the_first_face() -> None:
    no = math.inf
    anchors = torch.tensor([[0, 1, 2], [0, 1, 3], [2, 1, 4]])
    costs = torch.tensor([[5.0, 2.0, 3.0], [6.0, 2.0, 1.0], [0.9, 1.0, no]])
    faces = torch.tensor([0, 1, 5])
    assert lowest_cost_face(anchors, costs, faces, 5).tolist() == [0, 5, 5, 1, -1]
    costs[2, 1] = 2.0
    assert lowest_cost_face(anchors, costs, faces, 5).tolist() == [0, 0, 5, 1, -1]


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=8, max_size=8), min_size=1, max_size=3),
    st.integers(0, 255),
    st.integers(0, 10),
)
def test_the_leading_values_are_as_many_as_wanted_whatever_ties(
    rows: list[list[int]], mask: int, count: int
) -> None:
    values = torch.tensor(rows, dtype=torch.float32)
    allowed = torch.tensor([[bool(mask >> i & 1) for i in range(8)]] * len(rows))
    counts = torch.full((len(rows),), count)
    kept = topk_mask(values, allowed, counts)
    for row, ours, mine in zip(rows, allowed.tolist(), kept.tolist(), strict=True):
        order = sorted((i for i in range(8) if ours[i]), key=lambda i: -row[i])
        assert [i for i in range(8) if mine[i]] == sorted(order[:count])


def nothing(batch: int = 1) -> Targets:
    return Targets(torch.full((batch, COUNT), -1), torch.zeros(batch, COUNT, dtype=torch.bool))


def sim(
    predictions: Predictions, faces: Tensor, real: Tensor, targets: Targets, size_ratio: float = 0
) -> Targets:
    settings = Loss(assigner="simota", size_ratio=size_ratio)
    none = torch.zeros(len(faces), 1, 4), torch.zeros(len(faces), 1, dtype=torch.bool)
    labels = Labels(faces, real, *none, torch.full((*real.shape, 10), torch.nan))
    return simota(predictions, LEVELS, ANCHORS, labels, targets, settings)


def guesses(seed: int, batch: int = 1) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    return Predictions(
        torch.randn(batch, COUNT, 4, generator=generator),
        torch.randn(batch, COUNT, 2, generator=generator),
    )


def some_faces(seed: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * 128
    half = 4 * 8 ** torch.rand(count, 2, generator=generator)
    return torch.cat([center - half, center + half], 1)


def slow_simota(predictions: Predictions, faces: Tensor, size_ratio: float) -> list[int]:
    """One image, face by face, in float64."""
    regression, logits = (part.double() for part in predictions[:2])
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
            if central and alike:
                probability = torch.softmax(logits[a], 0)[1].item()
                cost[a] = -math.log(probability) - 3 * math.log(max(overlap[a], 1e-8))
                cost[a] += 0 if within else 1000
        room = int(sum(sorted((overlap[a] for a in cost), reverse=True)[:10]))
        for a in sorted(cost, key=lambda a: cost[a])[: max(1, room)]:
            bids.setdefault(a, []).append((cost[a], n))
    return [min(bids[a])[1] if a in bids else -1 for a in range(COUNT)]


@pytest.mark.parametrize("size_ratio", [0.0, 2.2])
@pytest.mark.parametrize("seed", range(2))
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
    face = sim(predictions, faces, real, nothing(4), size_ratio).face
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
    assert (sim(bad, face, real, nothing()).face == 0).sum() == 1
    targets = sim(good, face, real, nothing())
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
    face_of = sim(predictions, face, real, nothing()).face
    assert (face_of[0] >= 0).nonzero().flatten().tolist() == [near[2]]


def test_ignored_anchors_stay_ignored_unless_a_face_takes_them() -> None:
    face = torch.tensor([[[40.0, 40, 72, 72]]])
    everywhere = nothing()._replace(ignored=torch.ones(1, COUNT, dtype=torch.bool))
    real = torch.ones(1, 1, dtype=torch.bool)
    targets = sim(guesses(0), face, real, everywhere)
    assert (targets.face == 0).any()
    assert torch.equal(targets.ignored, targets.face < 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_faces_get_anchors_whatever_is_predicted(value: float) -> None:
    faces, real = some_faces(0, 3)[None], torch.ones(1, 3, dtype=torch.bool)
    broken = Predictions(torch.full((1, COUNT, 4), value), torch.full((1, COUNT, 2), value))
    assert (sim(broken, faces, real, nothing()).face >= 0).any()


@given(st.floats(1, 2000), st.floats(0.5, 2), st.floats(0, 128), st.floats(0, 128))
def test_every_face_has_candidates_of_its_size(
    size: float, aspect: float, x: float, y: float
) -> None:
    half = torch.tensor([size * aspect**0.5, size / aspect**0.5]) / 2
    center = torch.tensor([x, y])
    face = torch.cat([center - half, center + half])[None]
    index, valid = candidates(LEVELS, face, 0.625, 1.5)
    sides = ANCHORS[index[valid], 2].unique().tolist()
    assert 1 <= len(sides) <= 2
    nearest = min(max(size, 16), 512)
    assert all(side / nearest < 1.51 and nearest / side < 1.51 for side in sides)


def test_decoding_is_that_of_detection_except_for_absurd_numbers() -> None:
    regression = 7 * torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(safe_decode(regression, ANCHORS), decode(regression, ANCHORS))
    assert safe_decode(torch.full((COUNT, 4), torch.inf), ANCHORS).isfinite().all()
