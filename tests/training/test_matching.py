from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from extd.models.anchors import anchor_boxes, corners
from extd.models.config import ExtdConfig
from extd.training.matching import CROWD, award, hidden, highest, iou, leading, lowest, match
from extd.training.recipe import Loss

SIZE = 128
ANCHORS = anchor_boxes(ExtdConfig(), SIZE, SIZE)
BOXES = corners(ANCHORS)
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
        return draw(st.floats(low, high, width=32))

    rows = []
    for _ in range(draw(st.integers(least, 6))):
        if rows and draw(st.integers(0, 4)) == 0:
            rows.append(draw(st.sampled_from(rows)))
            continue
        x, y = number(-10, 110), number(-10, 110)
        rows.append([x, y, x + number(side, 90), y + number(side, 90)])
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def all_real(faces: Tensor) -> tuple[Tensor, Tensor]:
    """One picture without padding."""
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
    """S3FD's matching of one picture, anchor by anchor and face by face."""
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


def slow_hidden(regions: Tensor) -> list[bool]:
    overlap, covered = slow_overlap(regions)
    result = [False] * len(ANCHORS)
    for m in range(len(regions)):
        best = overlap[:, m].max()
        for a in range(len(ANCHORS)):
            high = overlap[a, m] > np.float32(0.05) or covered[a, m] > 0.5
            result[a] |= bool(high or (overlap[a, m] == best > 0))
    return result


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25)
@given(pictures=st.lists(boxes(), min_size=1, max_size=4), spare=st.integers(0, 3))
def test_a_batch_matches_as_a_slow_loop_over_pictures(
    rule: Loss, pictures: list[Tensor], spare: int
) -> None:
    width = max(1, *(len(faces) for faces in pictures)) + spare
    padded = torch.full((len(pictures), width, 4), 7.0)
    real = torch.zeros(len(pictures), width, dtype=torch.bool)
    for i, faces in enumerate(pictures):
        padded[i, : len(faces)], real[i, : len(faces)] = faces, True
    got = match(ANCHORS, padded, real, rule)
    for row, faces in zip(got, pictures, strict=True):
        assert row.tolist() == slow_match(faces, rule)


@settings(max_examples=25)
@given(pictures=st.lists(boxes(side=0), min_size=1, max_size=4), spare=st.integers(0, 3))
def test_ignored_regions_hide_what_a_slow_loop_hides(pictures: list[Tensor], spare: int) -> None:
    width = max(len(regions) for regions in pictures) + spare
    padded = torch.full((len(pictures), width, 4), 50.0)
    real = torch.zeros(len(pictures), width, dtype=torch.bool)
    for i, regions in enumerate(pictures):
        padded[i, : len(regions)], real[i, : len(regions)] = regions, True
    got = hidden(ANCHORS, padded, real)
    for row, regions in zip(got, pictures, strict=True):
        assert row.tolist() == slow_hidden(regions)


@given(boxes(least=1))
def test_thresholds_hold_and_good_anchors_are_taken(faces: Tensor) -> None:
    face = matched(faces, RULES[0])
    overlap = iou(BOXES[:, None], faces[None])
    positive = face >= 0
    assert positive[overlap.amax(1) >= 0.35].all()
    chosen = overlap[positive, face[positive]]
    forced = torch.zeros(len(face), dtype=torch.bool)
    forced[overlap.argmax(0)] = True
    assert ((chosen > 0.1) | forced[positive]).all()


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


def test_a_small_face_between_anchors_is_compensated() -> None:
    # The 8 px face overlaps 16 px anchors by at most 0.25; the 32 px one has many.
    faces = torch.tensor([[60.0, 60, 68, 68], [8, 8, 40, 40]])
    assert (matched(faces, Loss(compensate_iou=1.0)) == 0).sum() == 1
    assert (matched(faces, Loss()) == 0).sum() > 1


@given(
    st.tuples(*[st.floats(440, 584)] * 2),
    st.tuples(*[st.floats(5, 500)] * 2),
    st.sampled_from([0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.9]),
)
@example((528.0, 528.0), (256.0, 256.0), 0.25)  # the most that a search found: 44
def test_few_anchors_overlap_one_face(
    centre: tuple[float, float], side: tuple[float, float], threshold: float
) -> None:
    # Compensation looks no further than this.
    x, y = centre
    width, height = side
    face = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    overlap = iou(corners(anchor_boxes(ExtdConfig(), 1024, 1024)), face)
    assert (overlap >= threshold).sum() <= CROWD / threshold**2


def test_the_pooled_rule_takes_the_best_free_anchors_of_all_faces() -> None:
    # Both faces sit on an anchor: best IoU 1, so N = (2 + 2) / 2.
    faces = torch.tensor([[50.0, 50, 66, 66], [10, 10, 26, 26]])
    first = matched(faces, Loss(compensate_iou=0.999, match_iou=0.9999))
    pooled = matched(faces, Loss(match_iou=0.9999, compensation="pooled"))
    overlap = iou(BOXES[:, None], faces[None])
    added = (pooled >= 0) & (first < 0)
    assert added.sum() == 2
    best = overlap.amax(1)
    left = (pooled < 0) & (best < 0.9999)
    assert best[added].min() >= best[left].max()
    assert torch.equal(pooled[added], overlap.argmax(1)[added])


def test_a_face_without_area_gets_no_anchor() -> None:
    faces = torch.tensor([[40.0, 40, 40, 60], [8, 8, 40, 40]])
    face = matched(faces, Loss())
    assert (face == 1).any()
    assert not (face == 0).any()


def test_ignored_regions_hide_what_lies_inside() -> None:
    region = torch.tensor([[64.0, -20, 150, 150]])
    hides = hidden(ANCHORS, *all_real(region))[0]
    fine = ANCHORS[:, 2] == 16
    assert hides[fine & (ANCHORS[:, 0] > 80)].all()
    assert not hides[fine & (ANCHORS[:, 0] < 48)].any()


@pytest.mark.parametrize("side", [0.5, 2, 3, 5])
def test_a_tiny_ignored_face_hides_its_own_anchors_and_no_large_ones(side: float) -> None:
    hides = hidden(ANCHORS, *all_real(torch.tensor([[60.0, 60, 60 + side, 60 + side]])))[0]
    assert not hides[ANCHORS[:, 2] >= 64].any()
    assert hides.any()


@given(st.lists(st.lists(st.sampled_from([0.0, 0.125, 0.3, 1.0, 1e4]), min_size=7, max_size=7)))
def test_ranks_put_the_first_of_equals_first(rows: list[list[float]]) -> None:
    values = torch.tensor(rows).reshape(-1, 7)
    for rank, falling in ((highest, True), (lowest, False)):
        found, index = rank(values, 4)
        assert torch.equal(found, values.gather(1, index))
        wanted = values.argsort(dim=1, descending=falling, stable=True)[:, :4]
        nonzero = found > 0  # zeros are nobody's overlap, and their order is free
        assert torch.equal(index[nonzero], wanted[nonzero])


def test_an_anchor_goes_to_the_highest_bid_and_among_equals_to_the_first_face() -> None:
    index = torch.tensor([[[0, 1, 2], [0, 1, 3], [2, 1, 4]], [[4, 3, 2], [4, 0, 2], [0, 0, 0]]])
    bids = torch.tensor(
        [
            [[0.5, 0.2, 0.3], [0.6, 0.2, 0.1], [0.9, 0.1, 1.0]],
            [[-3.0, -1, -2], [-2, -1, -2], [9] * 3],
        ]
    )
    wanted = torch.ones_like(index, dtype=torch.bool)
    wanted[0, 2, 2] = wanted[1, 2] = False
    won = award(index, bids, wanted, 5)
    assert won.tolist() == [[1, 0, 2, 1, -1], [1, -1, 0, 0, 1]]


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
    kept = leading(values, allowed, counts)
    for row, ours, mine in zip(rows, allowed.tolist(), kept.tolist(), strict=True):
        order = sorted((i for i in range(8) if ours[i]), key=lambda i: -row[i])
        assert [i for i in range(8) if mine[i]] == sorted(order[:count])
