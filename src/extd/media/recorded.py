"""Faces that `extd detect --json` wrote, perhaps edited since, for the frames they belong to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extd.data.sample import at, read_text
from extd.faces import Faces
from extd.files import real_path
from extd.media.video import Frame

Timeline = Mapping[float, Mapping[int, Faces]]
"""Faces by the time of their frame in seconds, and by its index."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFaces:
    """The faces of images and videos, read from a file; see `read_faces`."""

    path: Path  # that file
    files: Mapping[Path, Timeline]  # the faces of each image file and video

    def find(self, frame: Frame) -> Faces | None:
        """The faces of a frame; None if it has no line.

        The time decides: the index counts from where reading began. Frames of the same time, such
        as pages, are told apart by the index.

        Raises:
            ValueError: there is no line about the file at all, or the frame has another size.
        """
        at_time = self.of_file(frame.name).get(round(frame.time, 6), {})
        faces = at_time.get(frame.index)
        if faces is None and frame.time > 0:
            faces = next(iter(at_time.values()), None)
        height, width = frame.image.shape[:2]
        if faces is not None and (faces.width, faces.height) != (width, height):
            raise ValueError(
                f"{frame.name} has {width} x {height} px, "
                f"but {faces.width} x {faces.height} in {self.path}; detect its faces again"
            )
        return faces

    def of_file(self, name: str) -> Timeline:
        """The faces of a file's frames; a ValueError if there are none."""
        try:
            return self.files[real_path(Path(name))]
        except KeyError:
            raise ValueError(
                f"{self.path} has no line about {name}; "
                "its paths must lead there from the current folder"
            ) from None

    def ids(self, name: str) -> set[int]:
        """The ids of the faces of a file; none if they were not tracked."""
        timeline = self.of_file(name).values()
        found = (face for at_time in timeline for faces in at_time.values() for face in faces)
        return {face.id for face in found if face.id is not None}


def read_faces(path: str | Path) -> RecordedFaces:
    """Read what `extd detect --json` wrote: a JSON object for each image or frame.

    Its keys are `path`, `width`, `height`, `faces` and, for frames, `frame` and `time` in seconds.
    A face has a `box`, and may have a `score` and an `id`. Lines about errors are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is malformed; the message gives its number.
    """
    path = Path(path)
    files: dict[Path, dict[float, dict[int, Faces]]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        with at(path, f"line {number}"):
            entry = _parse(line)
            if "error" in entry:
                continue
            name, time, index, faces = _read_entry(entry)
            at_time = files.setdefault(real_path(Path(name)), {}).setdefault(time, {})
            if at_time.setdefault(index, faces) is not faces:
                raise ValueError(f"an earlier line is about the same frame of {name}")
    return RecordedFaces(path, files)


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    return entry


def _read_entry(entry: dict[str, Any]) -> tuple[str, float, int, Faces]:
    name, index, time = entry["path"], entry.get("frame", 0), entry.get("time", 0.0)
    width, height, rows = entry["width"], entry["height"], entry["faces"]
    if not isinstance(name, str) or not name:
        raise ValueError(f"path is {name!r}; give a file")
    if not _is_whole(index):
        raise ValueError(f"frame is {index!r}; give a whole number from 0")
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise ValueError(f"time is {time!r}; give seconds")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError('faces is not a list of objects, as in [{"box": [10, 20, 30, 40]}]')
    ids = [row.get("id", -1) for row in rows]
    for number in ids:
        if number != -1 and not _is_whole(number):
            raise ValueError(f"id is {number!r}; give a whole number from 0")
    boxes = np.array([row["box"] for row in rows], np.float32) if rows else np.empty((0, 4))
    scores = [row.get("score", 1.0) for row in rows]
    tracked = ids if max(ids, default=-1) >= 0 else None
    faces = Faces(boxes, scores, width, height, ids=tracked)
    return name, round(float(time), 6), index, faces


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
