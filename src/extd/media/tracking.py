"""Faces tracked through a video, to fill the gaps where one is missed for a few frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, iou
from extd.faces import Faces

MATCH_IOU = 0.2
"""Least IoU between a track's last box and its next one; low, as faces move while missed."""

Item = TypeVar("Item")
Box = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A tracked face: its last box, and the score and frame number of that box."""

    box: Box
    score: float
    frame: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pending(Generic[Item]):
    """A frame that may still get boxes from later frames; `filled` are those so far."""

    item: Item
    detected: Faces
    filled: list[tuple[Box, float]]

    def result(self) -> tuple[Item, Faces]:
        if not self.filled:
            return self.item, self.detected
        boxes = [*self.detected.boxes, *(box for box, _ in self.filled)]
        scores = [*self.detected.scores, *(score for _, score in self.filled)]
        return self.item, Faces(boxes, scores, self.detected.width, self.detected.height)


def fill_gaps(detections: Iterable[tuple[Item, Faces]], gap: int) -> Iterator[tuple[Item, Faces]]:
    """Add boxes where a face is missed for a few frames, and just before and after it is seen.

    Boxes of successive frames are matched greedily by IoU, from 0.2 on, into tracks. Where a track
    goes on after at most `gap` frames without it, the boxes between are interpolated linearly. Its
    first box is repeated in the `gap` frames before it, and its last box in those after it.

    Args:
        detections: anything that belongs to each frame of a video, as its image, and its faces.
        gap: how many frames; as many are read ahead and held in memory.

    Yields:
        One pair for each of `detections`, in order; detected faces come first, unchanged.

    Raises:
        ValueError: `gap` is negative.
    """
    if gap < 0:
        raise ValueError(f"gap is {gap}; give 0 or more frames")
    pending: deque[_Pending[Item]] = deque()
    tracks: list[Track] = []
    number = -1
    for number, (item, faces) in enumerate(detections):
        pending.append(_Pending(item, faces, []))
        current = [
            Track(box, float(score), number)
            for box, score in zip(faces.boxes, faces.scores, strict=True)
        ]
        matches = match([track.box for track in tracks], faces.boxes)
        for track, index in zip(current, matches, strict=True):
            if index < 0:
                for waiting in list(pending)[:-1]:
                    waiting.filled.append((track.box, track.score))
            else:
                score = min(tracks[index].score, track.score)
                for missed in range(tracks[index].frame + 1, number):
                    box = _interpolate(tracks[index], track, missed)
                    # The last of the pending frames is this one.
                    pending[missed - number - 1].filled.append((box, score))
        lost = [track for index, track in enumerate(tracks) if index not in matches]
        _repeat_last([one for one in lost if number - one.frame > gap], gap, pending, number)
        tracks = current + [one for one in lost if number - one.frame <= gap]
        if len(pending) > gap:
            yield pending.popleft().result()
    _repeat_last(tracks, gap, pending, number)
    for last in pending:
        yield last.result()


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


def _interpolate(before: Track, after: Track, number: int) -> Box:
    """The box of a frame between two boxes of a track."""
    share = np.float32((number - before.frame) / (after.frame - before.frame))
    return before.box + share * (after.box - before.box)


def _repeat_last(ended: list[Track], gap: int, pending: deque[_Pending[Item]], number: int) -> None:
    """Repeat each track's last box in the frames after it; `number` is the last pending frame."""
    for track in ended:
        for missed in range(track.frame + 1, min(track.frame + gap, number) + 1):
            pending[missed - number - 1].filled.append((track.box, track.score))
