"""Geometry of boxes: float arrays [N, 4] of x1, y1, x2, y2 in pixels, areas (x2 - x1)·(y2 - y1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

VOTE_SHARE = 0.5
"""Boxes with less than this share of the best one's score have no vote."""
BLOCK = 256
"""Boxes suppressed at a time."""
PART = 32
"""Boxes voted on at a time."""


def area(boxes: Boxes) -> NDArray[np.float64]:
    """Area of each box in square pixels, [N]; 0 where a side is not positive."""
    # An untrained network's boxes have areas beyond float32.
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1, dtype=np.float64))


def longer_side(boxes: Boxes) -> NDArray[np.float32]:
    """The longer side of each box in pixels, [N]."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1))


def centers(boxes: Boxes) -> NDArray[np.float32]:
    """The middle of each box, x and y, [N, 2]."""
    return (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)


def grow(boxes: Boxes, margin: float) -> Boxes:
    """The boxes, extended on each side by a share of their own sides."""
    more = np.float32(margin) * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - more, boxes[:, 2:] + more], axis=1)


def intersection(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Area in square px that each box of `a` [N, 4] shares with each box of `b` [M, 4]: [N, M]."""
    near = np.maximum(a[:, None, :2], b[None, :, :2])
    far = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.maximum(far - near, 0).prod(axis=2, dtype=np.float64))


def iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """IoU of each box of `a` [N, 4] with each box of `b` [M, 4]: [N, M]; 0 without any area."""
    overlap = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - overlap
    return (overlap / np.maximum(union, np.finfo(np.float64).tiny)).astype(np.float32)


def nms(boxes: Boxes, scores: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Greedy NMS: drop boxes whose IoU with a better kept one exceeds the threshold.

    Of equal scores the earlier is better.

    Returns:
        Indices of the kept boxes, best first.
    """
    kept = [np.empty(0, np.intp)]
    left = np.argsort(-scores, kind="stable")
    # In blocks, best first: box by box within a block, against all others at once.
    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        overlaps = _overlap(boxes[block], boxes[block], threshold)
        dropped = np.zeros(len(block), np.bool_)
        for i, row in enumerate(overlaps):
            if not dropped[i]:
                dropped |= row
                dropped[i] = False
        best = block[~dropped]
        kept.append(best)
        left = left[~_overlap(boxes[best], boxes[left], threshold).any(axis=0)]
    return np.concatenate(kept)


def _overlap(a: Boxes, b: Boxes, threshold: float) -> NDArray[np.bool_]:
    """Whether the IoU of each box of `a` [N, 4] with each of `b` [M, 4] > threshold: [N, M]."""
    x1, y1, x2, y2 = np.ascontiguousarray(b.T)
    # Four comparisons rule out most pairs.
    over: NDArray[np.bool_] = (a[:, :1] < x2) & (a[:, 2:3] > x1)
    over &= (a[:, 1:2] < y2) & (a[:, 3:] > y1)
    rows, columns = over.nonzero()
    first, second = a[rows].astype(np.float64), b[columns].astype(np.float64)
    near, far = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    common = (far - near).prod(axis=1)
    union = area(a)[rows] + area(b)[columns] - common
    over[rows, columns] = common > threshold * union
    return over


def vote(
    boxes: Boxes, scores: NDArray[np.float32], kept: NDArray[np.intp], threshold: float
) -> Boxes:
    """Box voting (Gidaris and Komodakis, 2015): kept boxes move towards those they suppress.

    Boxes vote on one that `nms` kept if their IoU with it exceeds the threshold, and their scores
    are at least `VOTE_SHARE` of its own.

    Returns:
        For each kept box the mean of itself and its voters, weighted by score times IoU: [K, 4].
    """
    voted = boxes[kept]
    areas = area(boxes)
    # In parts of similar size and place, which few of the other boxes can overlap.
    order = np.lexsort((boxes[kept, 0], np.log2(np.maximum(areas[kept], 1)).astype(int)))
    for start in range(0, len(kept), PART):
        places = order[start : start + PART]
        part = kept[places]
        near = np.flatnonzero(
            (boxes[:, :2] < boxes[part, 2:].max(0)).all(1)
            & (boxes[:, 2:] > boxes[part, :2].min(0)).all(1)
            # An IoU is at most the share of the smaller area.
            & (areas >= threshold * areas[part].min())
            & (threshold * areas <= areas[part].max())
            & (scores >= VOTE_SHARE * scores[part].min())
        )
        overlaps = iou(boxes[part], boxes[near])
        voters = (overlaps > threshold) & (scores[near] >= VOTE_SHARE * scores[part, None])
        voters &= near != part[:, None]
        weights = np.where(voters, overlaps * scores[near], 0).astype(np.float64)
        own = scores[part, None].astype(np.float64)
        total = weights @ boxes[near] + own * boxes[part]
        voted[places] = total / (weights.sum(axis=1, keepdims=True) + own)
    return voted


def clip(boxes: Boxes, width: int, height: int) -> Boxes:
    """The boxes cut off at the borders of an image of that size in pixels."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
