"""Faces followed through a video, so that one missed for a few frames is still known there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from extd.boxes import Boxes, iou
from extd.faces import Faces

SAME_FACE = 0.2
"""Least IoU of a track's last box with the box that goes on: faces move while they are missed."""

Item = TypeVar("Item")
Box = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A face that is followed.

    Attributes:
        box: its last box, float32 [4] of x1, y1, x2, y2 in pixels.
        score: that box's.
        seen: number of the frame of that box.
    """

    box: Box
    score: float
    seen: int


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[Item]):
    """A frame whose faces are not settled: `held` are those that it gets from other frames."""

    item: Item
    found: Faces
    held: list[tuple[Box, float]]

    def settled(self) -> tuple[Item, Faces]:
        if not self.held:
            return self.item, self.found
        boxes = [*self.found.boxes, *(box for box, _ in self.held)]
        scores = [*self.found.scores, *(score for _, score in self.held)]
        return self.item, Faces(boxes, scores, self.found.width, self.found.height)


def hold(found: Iterable[tuple[Item, Faces]], frames: int) -> Iterator[tuple[Item, Faces]]:
    """Keep faces where they are missed for a few frames, and just before and after they are seen.

    Boxes of successive frames whose IoU is highest, and at least 0.2, are one track. Where a track
    goes on after at most `frames` frames without it, it gets boxes between, interpolated linearly.
    It also gets its first box in the `frames` frames before, and its last box in those after.

    Args:
        found: what belongs to each frame of a video, as its image, and the faces found in it.
        frames: how many; as many frames are read ahead, and held in memory.

    Yields:
        One pair for each of `found`, in order; the faces found come first and as they are.

    Raises:
        ValueError: `frames` is negative.
    """
    if frames < 0:
        raise ValueError(f"hold is {frames}; give 0 or more frames")
    waiting: deque[_Waiting[Item]] = deque()
    tracks: list[Track] = []
    first = 0
    for number, (item, faces) in enumerate(found):
        waiting.append(_Waiting(item, faces, []))
        here = [
            Track(box, float(score), number)
            for box, score in zip(faces.boxes, faces.scores, strict=True)
        ]
        before = follow([track.box for track in tracks], faces.boxes)
        for track, index in zip(here, before, strict=True):
            if index < 0:
                for missed in range(max(first, number - frames), number):
                    waiting[missed - first].held.append((track.box, track.score))
            else:
                for missed in range(tracks[index].seen + 1, number):
                    box = _between(tracks[index], track, missed)
                    score = min(tracks[index].score, track.score)
                    waiting[missed - first].held.append((box, score))
        missing = [track for index, track in enumerate(tracks) if index not in before]
        ended = [track for track in missing if number - track.seen > frames]
        _hold_still(ended, frames, waiting, first)
        tracks = here + [track for track in missing if number - track.seen <= frames]
        if len(waiting) > frames:
            yield waiting.popleft().settled()
            first += 1
    _hold_still(tracks, frames, waiting, first)
    for last in waiting:
        yield last.settled()


def follow(tracks: list[Box], boxes: Boxes) -> list[int]:
    """Which track each box [N, 4] carries on, -1 for none; a track goes on in one box at most.

    The pair with the greatest IoU is joined first.
    """
    carried = [-1] * len(boxes)
    if not tracks or not len(boxes):
        return carried
    overlap = iou(np.stack(tracks), boxes)
    for pair in np.argsort(-overlap, axis=None, kind="stable").tolist():
        track, box = divmod(pair, len(boxes))
        if overlap[track, box] < SAME_FACE:
            break
        if carried[box] < 0 and track not in carried:
            carried[box] = track
    return carried


def _between(before: Track, after: Track, number: int) -> Box:
    """The box of a frame between those of two boxes of a track."""
    share = np.float32((number - before.seen) / (after.seen - before.seen))
    return before.box + share * (after.box - before.box)


def _hold_still(
    ended: list[Track], frames: int, waiting: deque[_Waiting[Item]], first: int
) -> None:
    """Give the frames after a track's end its last box; `first` is the number of `waiting[0]`."""
    for track in ended:
        for number in range(track.seen + 1, min(track.seen + frames, first + len(waiting) - 1) + 1):
            waiting[number - first].held.append((track.box, track.score))
