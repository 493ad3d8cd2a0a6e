"""Faces followed through a video: which are the same, and where one is missed for a few frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, centers, grow, iou
from extd.faces import Faces

MISSED = 15
"""For how many frames a face may be missed and keep its id; after more, others are taken for it."""
GROWTH = 0.5
"""Share of its sides by which a box grows on each side before matching, for fast faces."""
MATCH_IOU = 0.2
"""Least IoU of two boxes of one face; low, as faces move while they are missed."""
STANDING = 0.8
"""What counts of the IoU with the last box itself: the face may have stopped or turned back."""
NEWEST = 0.5
"""Least weight of the newest step in the mean velocity of a face."""

Item = TypeVar("Item")
Box = NDArray[np.float32]


def track(
    detections: Iterable[tuple[Item, Faces]], missed: int = MISSED
) -> Iterator[tuple[Item, Faces]]:
    """Give the faces of successive frames ids, from 1 on, which hold while a face is missed.

    A face is expected where its mean velocity has taken it. The boxes of each frame are matched to
    those expected, greedily by the IoU of grown boxes.

    Args:
        detections: the faces of each frame, with anything that belongs to it, such as its image.
        missed: for how many frames a face may be missed and keep its id.

    Yields:
        One pair for each of `detections`, in order, at once.
    """
    # Of each tracked face: last box, velocity of its center, number of steps, last frame, id.
    boxes, velocities = np.empty((0, 4), np.float32), np.empty((0, 2), np.float32)
    steps, last, ids = (np.empty(0, np.int64) for _ in range(3))
    next_id = 1
    for number, (item, faces) in enumerate(detections):
        age = (number - last)[:, None]
        moving = similarity(boxes + np.tile(velocities * age, 2), faces.boxes)
        matches = match(np.maximum(moving, STANDING * similarity(boxes, faces.boxes)))
        known = matches >= 0
        old = matches[known]
        found = np.empty(len(faces), np.int64)
        found[known], found[~known] = ids[old], np.arange(next_id, next_id + (~known).sum())
        next_id += int((~known).sum())

        moved = np.zeros((len(faces), 2), np.float32)
        taken = np.zeros(len(faces), np.int64)
        taken[known] = steps[old] + 1
        step = (centers(faces.boxes[known]) - centers(boxes[old])) / age[old]
        weight = np.maximum(1 / taken[known], NEWEST)[:, None]
        moved[known] = velocities[old] + weight * (step - velocities[old])

        kept = number - last <= missed
        kept[old] = False
        boxes = np.concatenate([boxes[kept], faces.boxes])
        velocities = np.concatenate([velocities[kept], moved])
        steps = np.concatenate([steps[kept], taken])
        last = np.concatenate([last[kept], np.full(len(faces), number)])
        ids = np.concatenate([ids[kept], found])
        yield item, replace(faces, ids=found)


def similarity(expected: Boxes, boxes: Boxes) -> NDArray[np.float32]:
    """IoU of `expected` [M, 4] and `boxes` [N, 4], both grown: [M, N]."""
    return iou(grow(expected, GROWTH), grow(boxes, GROWTH))


def match(similarities: NDArray[np.float32]) -> NDArray[np.int64]:
    """The row of [M, N] that goes with each column, or -1; greedy, the most similar first."""
    matches = np.full(similarities.shape[1], -1, np.int64)
    free = np.ones(len(similarities), np.bool_)
    rows, columns = np.nonzero(similarities >= MATCH_IOU)
    for index in np.argsort(-similarities[rows, columns], kind="stable").tolist():
        row, column = rows[index], columns[index]
        if free[row] and matches[column] < 0:
            matches[column], free[row] = row, False
    return matches


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face in one frame of its track."""

    box: Box
    score: float
    id: int
    frame: int


def fill_gaps(detections: Iterable[tuple[Item, Faces]], gap: int) -> Iterator[tuple[Item, Faces]]:
    """Add boxes where a tracked face is missed for a few frames, and before and after it is seen.

    Where a face is missed for at most `gap` frames, the boxes between are interpolated linearly.
    Its first box is repeated in the `gap` frames before it, and its last box in those after it. So
    are the boxes at both ends of a gap if they hardly overlap: it might be two faces.

    Args:
        detections: the faces of each frame, with anything that belongs to it. A face without an id
            is taken for a new one; see `track`.
        gap: how many frames; as many are read ahead and held in memory.

    Yields:
        One pair for each of `detections`, in order; detected faces come first, unchanged.

    Raises:
        ValueError: `gap` is negative.
    """
    if gap < 0:
        raise ValueError(f"gap is {gap}; give 0 or more frames")
    # Frames that may still get faces from later ones, and those that they got so far.
    pending: deque[tuple[Item, Faces, list[TrackedFace]]] = deque()
    # The last box of each face by its id; of one left behind by a jump, or without, by a new one.
    last_seen: dict[int, TrackedFace] = {}
    new_keys = count(-1, -1)
    number = -1

    for number, (item, faces) in enumerate(detections):
        pending.append((item, faces, []))
        for face in _tracked(faces, number):
            key = face.id if face.id >= 0 else next(new_keys)
            last = last_seen.get(key)
            if last is not None:
                _fill(pending, number, last, face)
            if last is None or iou(last.box[None], face.box[None]) < MATCH_IOU:
                # It is taken to have been there before.
                _fill(pending, number, replace(face, frame=number - gap - 1), face)
                if last is not None:
                    last_seen[next(new_keys)] = last
            last_seen[key] = face
        for key, last in [*last_seen.items()]:
            if last.frame == number - gap - 1:
                _fill(pending, number, last, replace(last, frame=number))
                del last_seen[key]
        if len(pending) > gap:
            yield _add_faces(*pending.popleft())
    for last in last_seen.values():
        _fill(pending, number, last, replace(last, frame=last.frame + gap + 1))
    for frame in pending:
        yield _add_faces(*frame)


def _fill(
    pending: Sequence[tuple[Item, Faces, list[TrackedFace]]],
    newest: int,
    before: TrackedFace,
    after: TrackedFace,
) -> None:
    """Interpolate a face in the pending frames, up to the `newest`, between two of its boxes."""
    oldest = newest + 1 - len(pending)
    for frame in range(max(before.frame + 1, oldest), min(after.frame, newest + 1)):
        share = np.float32((frame - before.frame) / (after.frame - before.frame))
        box = before.box + share * (after.box - before.box)
        score = min(before.score, after.score)
        pending[frame - oldest][2].append(TrackedFace(box, score, before.id, frame))


def _tracked(faces: Faces, frame: int) -> list[TrackedFace]:
    ids = [-1] * len(faces) if faces.ids is None else faces.ids.tolist()
    columns = (faces.boxes, faces.scores.tolist(), ids)
    return [TrackedFace(*face, frame) for face in zip(*columns, strict=True)]


def _add_faces(item: Item, faces: Faces, added: list[TrackedFace]) -> tuple[Item, Faces]:
    if not added:
        return item, faces
    boxes, scores, ids = zip(*((face.box, face.score, face.id) for face in added), strict=True)
    return item, faces.join(Faces(boxes, scores, faces.width, faces.height, ids=ids))
