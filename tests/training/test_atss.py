from __future__ import annotations

import math
import statistics

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from extd.models.anchors import anchor_boxes, corners
from extd.models.config import ExtdConfig
from extd.training.atss import CANDIDATES, atss, candidates
from extd.training.matching import iou

ANCHORS = anchor_boxes(ExtdConfig(), 128, 128)
SIDES = (16, 32, 64, 128, 256, 512)


@st.composite
def faces(draw: st.DrawFn) -> Tensor:
    """One to five faces whose centres lie inside the crop; whole numbers make ties."""
    number = draw(st.sampled_from([st.integers(6, 120), st.floats(6, 120, width=32)]))
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        x, y, width, height = (draw(number) for _ in range(4))
        rows.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return torch.tensor(rows, dtype=torch.float32)


def assigned(boxes: Tensor) -> Tensor:
    return atss(ANCHORS, boxes[None], torch.ones(1, len(boxes), dtype=torch.bool))[0]


def slow_candidates(face: Tensor) -> list[int]:
    centre = (face[:2] + face[2:]) / 2
    distance = ((ANCHORS[:, :2] - centre) ** 2).sum(1).tolist()
    widths, found = ANCHORS[:, 2].tolist(), []
    for side in SIDES:
        level = [a for a, width in enumerate(widths) if width == side]
        found += sorted(level, key=lambda a: distance[a])[:CANDIDATES]
    return found


def slow_atss(boxes: Tensor) -> list[int]:
    bids: dict[int, list[tuple[float, int]]] = {}
    for n, face in enumerate(boxes):
        nearest = slow_candidates(face)
        overlap = iou(corners(ANCHORS[nearest]), face).tolist()
        threshold = statistics.fmean(overlap) + statistics.pstdev(overlap)
        x1, y1, x2, y2 = face.tolist()
        for a, value in zip(nearest, overlap, strict=True):
            x, y = ANCHORS[a, :2].tolist()
            if x1 < x < x2 and y1 < y < y2:
                assume(not math.isclose(value, threshold, rel_tol=1e-5))
                if value >= threshold:
                    bids.setdefault(a, []).append((value, -n))
    return [-max(bids[a])[1] if a in bids else -1 for a in range(len(ANCHORS))]


@settings(max_examples=25)
@given(faces())
def test_it_is_what_a_slow_loop_over_faces_gives(boxes: Tensor) -> None:
    assert assigned(boxes).tolist() == slow_atss(boxes)


@given(faces())
def test_a_face_of_six_pixels_or_more_alone_has_an_anchor(boxes: Tensor) -> None:
    # But not one much longer than wide: its anchors are far from its centre, or none of them is.
    width, height = (boxes[0, 2:] - boxes[0, :2]).tolist()
    assume(0.5 < width / height < 2)
    assert (assigned(boxes[:1]) == 0).any()


def test_candidates_are_the_nearest_of_every_level() -> None:
    face = torch.tensor([[49.0, 50, 69, 71]])
    index = candidates(ANCHORS, face[None])[0, 0]
    widths, count = np.unique(ANCHORS[index, 2].numpy(), return_counts=True)
    assert widths.tolist() == list(SIDES)
    # The two coarsest levels of a crop of 128 px have 4 and 1 anchors.
    assert count.tolist() == [9, 9, 9, 9, 4, 1]
    assert sorted(index.tolist()) == sorted(slow_candidates(face[0]))


def test_padding_takes_no_anchor() -> None:
    boxes = torch.tensor([[[50.0, 50, 66, 66], [0, 0, 128, 128]]])
    real = torch.tensor([[True, False]])
    assert set(atss(ANCHORS, boxes, real).unique().tolist()) == {-1, 0}
