"""Faces tracked through a video, to fill the gaps where one is missed for a few frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, iou
from extd.faces import Faces

MATCH_IOU = 0.2
"""Least IoU between a track's last box and its next one; low, as faces move while missed."""

Item = TypeVar("Item")
Box = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face in one frame of its track."""

    box: Box
    score: float
    frame: int


def fill_gaps(detections: Iterable[tuple[Item, Faces]], gap: int) -> Iterator[tuple[Item, Faces]]:
    """Add boxes where a face is missed for a few frames, and just before and after it is seen.

    Boxes of successive frames are matched greedily by IoU, from 0.2 on, into tracks. Where a track
    goes on after at most `gap` frames without it, the boxes between are interpolated linearly. Its
    first box is repeated in the `gap` frames before it, and its last box in those after it.

    Args:
        detections: the faces of each frame, with anything that belongs to it, such as its image.
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
    tracks: list[TrackedFace] = []
    number = -1

    def fill(before: TrackedFace, after: TrackedFace) -> None:
        """Interpolate a track in the pending frames between two of its faces."""
        oldest = number + 1 - len(pending)
        for frame in range(max(before.frame + 1, oldest), min(after.frame, number + 1)):
            share = np.float32((frame - before.frame) / (after.frame - before.frame))
            box = before.box + share * (after.box - before.box)
            score = min(before.score, after.score)
            pending[frame - oldest][2].append(TrackedFace(box, score, frame))

    for number, (item, faces) in enumerate(detections):
        pending.append((item, faces, []))
        current = [
            TrackedFace(box, float(score), number)
            for box, score in zip(faces.boxes, faces.scores, strict=True)
        ]
        matches = match([track.box for track in tracks], faces.boxes)
        for face, index in zip(current, matches, strict=True):
            # A new face is taken to have been there before.
            fill(tracks[index] if index >= 0 else replace(face, frame=number - gap - 1), face)
        for index, last in enumerate(tracks):
            if index not in matches:
                if number - last.frame <= gap:
                    current.append(last)
                else:
                    fill(last, replace(last, frame=last.frame + gap + 1))
        tracks = current
        if len(pending) > gap:
            yield _add_faces(*pending.popleft())
    for last in tracks:
        fill(last, replace(last, frame=last.frame + gap + 1))
    for frame in pending:
        yield _add_faces(*frame)


def match(tracks: list[Box], boxes: Boxes) -> list[int]:
    """The track that each box [N, 4] continues, or -1; greedy, the greatest IoU first."""
    matches = [-1] * len(boxes)
    if not tracks or not len(boxes):
        return matches
    overlap = iou(np.stack(tracks), boxes)
    for pair in np.argsort(-overlap, axis=None, kind="stable").tolist():
        track, box = divmod(pair, len(boxes))
        if overlap[track, box] < MATCH_IOU:
            break
        if matches[box] < 0 and track not in matches:
            matches[box] = track
    return matches


def _add_faces(item: Item, faces: Faces, added: list[TrackedFace]) -> tuple[Item, Faces]:
    if not added:
        return item, faces
    boxes = [*faces.boxes, *(face.box for face in added)]
    scores = [*faces.scores, *(face.score for face in added)]
    return item, Faces(boxes, scores, faces.width, faces.height)
