"""From the bytes of an image to its faces, the image with them covered, or their crops."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL.ImageFile import ImageFile

from extd.blur import blur_threshold, cover_frame
from extd.boxes import area, clip
from extd.detector import Detector, Options, passes, reduction
from extd.faces import Faces
from extd.images import Reduced, load_reduced, open_bounded
from extd.media.animation import Animation, check_frames
from extd.media.crops import align_all, around, crops
from extd.media.video import Fault, Frame
from extd.media.writers import NO_METADATA, encode_image, encoding_of, json_line, metadata_of
from extd.pipeline import Report
from extd.pixels import Image
from extd.server.limits import Limits, check_work
from extd.server.queries import BlurQuery, CropQuery, DetectQuery
from extd.server.uploads import Upload, unique

SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "AVIF": ".avif",
    "TIFF": ".tif",
}
"""Formats that are kept, by Pillow's names; other images become PNG."""
TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""MIME types by the suffixes that results may have."""
ROWS = "faces.jsonl"
"""Name of the file with the faces in an archive."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an upload.

    Attributes:
        faces: how many were found.
        rows: lines as `extd detect --json` writes them, one for an image, or each of its frames.
        files: images by their names.
    """

    faces: int
    rows: Sequence[str]
    files: Sequence[tuple[str, memoryview]] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Task:
    """An upload, and what its request may cost.

    Attributes:
        upload: the image.
        limits: of the request.
        abandoned: set once nobody waits for the result; no further frame is begun then.
    """

    upload: Upload
    limits: Limits
    abandoned: Event

    def open(self) -> ImageFile:
        """The image with its header read and its size checked, as `open_bounded` does."""
        upload = self.upload
        return open_bounded(io.BytesIO(upload.data), upload.name, self.limits.max_pixels)

    def frames(self, image: ImageFile) -> Iterator[Frame]:
        """The frames or pages of the open image."""
        upload, pixels = self.upload, self.limits.max_pixels
        animation = Animation(Path(upload.name), image, len(upload.data), pixels)
        for frame in animation.frames():
            if isinstance(frame, Fault):
                raise frame.error
            yield frame
            if self.abandoned.is_set():
                return

    def find(self, detector: Detector, image: Reduced) -> Faces:
        """The faces of an image, unless the options ask for too many pixels."""
        width, height = image.size
        factors = [one.factor for one in passes(detector.options, width, height)]
        pixels = float(np.square(factors).sum()) * width * height
        check_work(pixels, f"{self.upload.name}: the passes that the options ask for", self.limits)
        return detector.detect(image)


def detect_faces(task: Task, detector: Detector, query: DetectQuery) -> Result:
    """The faces of an image, or of each of its frames or pages.

    Raises:
        ValueError: the image cannot be read, or it or the options ask for too much.
    """
    detector = _with_options(detector, query.search())
    name, image = task.upload.name, task.open()
    if check_frames(image, name, task.limits.max_pixels) == 1:
        read = load_reduced(image, name, partial(reduction, detector.options))
        faces = task.find(detector, read)
        return Result(len(faces), [json_line(name, faces)])
    found = [
        (task.find(detector, _whole(frame)), frame.index, frame.time)
        for frame in task.frames(image)
    ]
    rows = [json_line(name, faces, (index, time)) for faces, index, time in found]
    return Result(sum(len(faces) for faces, _, _ in found), rows)


def blur_faces(task: Task, detector: Detector, query: BlurQuery) -> Result:
    """An image with its faces covered.

    Raises:
        ValueError: as `detect_faces`; or the image has several frames or pages, or cannot be
            written.
    """
    search = query.search()
    if search.threshold is None:
        search = replace(search, threshold=blur_threshold(detector))
    detector, options = _with_options(detector, search), query.blur()
    name, image = task.upload.name, task.open()
    if (count := check_frames(image, name, task.limits.max_pixels)) > 1:
        raise ValueError(f"{name} has {count:,} frames or pages; run: extd blur {name} --out DIR")
    metadata = metadata_of(image, name) if options.keep_metadata else NO_METADATA
    frame = next(task.frames(image))
    faces = task.find(detector, _whole(frame))
    covers = clip(around(faces, options.cover.margin), faces.width, faces.height)
    check_work(float(area(covers).sum()), f"{name}: the covers", task.limits)
    frame, faces = cover_frame(frame, faces, detector, options, Report())
    target = _named(name, image)
    how = {**encoding_of(target, image, options.quality), **metadata}
    file = (target.name, encode_image(target, frame.pixels, how))
    return Result(len(faces), [json_line(name, faces)], [file])


def crop_faces(task: Task, detector: Detector, query: CropQuery) -> Result:
    """The crops of an image's faces, named as `extd crop` names them.

    Raises:
        ValueError: as `detect_faces`; or faces are to be aligned and the model has no landmarks.
    """
    detector = _with_options(detector, query.search())
    name, image = task.upload.name, task.open()
    several = check_frames(image, name, task.limits.max_pixels) > 1
    target = _named(name, image)
    if target.suffix.lower() in {".avif", ".tif", ".tiff"}:
        target = Path(f"{target.name}.png")
    pixels, found, rows, files = 0.0, 0, [], []
    for frame in task.frames(image):
        faces = task.find(detector, _whole(frame))
        pixels += _crop_pixels(faces, query)
        check_work(pixels, f"{name}: the crops", task.limits)
        place = (frame.index, frame.time) if several else None
        number = f"-{frame.index + 1:04}" if several else ""
        rows.append(json_line(name, faces, place))
        found += len(faces)
        images: Sequence[Image | None]
        if query.align is None:
            cut = crops(frame.image, faces, margin=query.margin, square=query.square)
            images = [crop.image for crop in cut]
        else:
            images = align_all(frame.image, faces, query.align)
        for index, crop in enumerate(images, 1):
            if crop is not None:
                path = target.with_stem(f"{target.stem}{number}-{index:03}")
                files.append((path.name, encode_image(path, crop)))
    return Result(found, rows, files)


def archive(results: Sequence[Result]) -> memoryview:
    """A ZIP of the files of all results, and their rows as `faces.jsonl`."""
    stream, taken = io.BytesIO(), set[str]()
    with ZipFile(stream, "w") as archive:
        # Without a time of their own, files are of 1980.
        archive.writestr(ZipInfo(ROWS), "".join(row for one in results for row in one.rows))
        for name, data in (file for one in results for file in one.files):
            # The results of a.bmp and a.bmp.png have one name.
            name = unique(name, taken)
            taken.add(name.casefold())
            archive.writestr(ZipInfo(name), data)
    return stream.getbuffer()


def _with_options(detector: Detector, options: Options) -> Detector:
    """The same network with other options."""
    other = copy(detector)
    other.options = options
    return other


def _whole(frame: Frame) -> Reduced:
    return Reduced(frame.image, frame.image.shape[1::-1])


def _named(name: str, image: ImageFile) -> Path:
    """The name of an upload with the suffix of the format that its result has."""
    suffix = SUFFIXES.get(str(image.format), ".png")
    same = {".jpg": {".jpg", ".jpeg"}, ".tif": {".tif", ".tiff"}}.get(suffix, {suffix})
    return Path(name if Path(name).suffix.lower() in same else f"{name}{suffix}")


def _crop_pixels(faces: Faces, query: CropQuery) -> float:
    if query.align is not None:
        return len(faces) * float(query.align) ** 2
    regions = around(faces, query.margin).astype(np.float64)
    sides = regions[:, 2:] - regions[:, :2]
    return float((sides.max(axis=1, initial=0) ** 2 if query.square else sides.prod(axis=1)).sum())
