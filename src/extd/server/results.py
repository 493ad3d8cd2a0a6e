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

from extd.blur import BlurOptions, blur_threshold, cover_frame
from extd.boxes import area, clip
from extd.detector import Detector, Options, passes, reduction
from extd.faces import Faces
from extd.images import Reduced, load_reduced, open_bounded
from extd.media.animation import Animation, check_frames, encode_animation
from extd.media.crops import align_all, around, crops
from extd.media.sources import Source
from extd.media.tracking import fill_gaps, track
from extd.media.video import Fault, Frame
from extd.media.writers import (
    ENCODERS,
    NO_METADATA,
    encode_image,
    encoding_of,
    json_line,
    metadata_of,
)
from extd.pipeline import Report
from extd.pixels import Image
from extd.server.limits import MAX_PASSES, Limits, check_work
from extd.server.queries import BlurQuery, CropQuery, DetectQuery
from extd.server.uploads import Upload, unique

SUFFIXES_KEPT = {how["format"]: suffix for suffix, how in reversed(ENCODERS.items())}
SUFFIXES_KEPT["MPO"] = SUFFIXES_KEPT["JPEG"]
"""Of the formats that are kept, by Pillow's names; other images become PNG."""
ROWS = "faces.jsonl"
"""Name of the file with the faces in an archive."""


@dataclass(frozen=True, slots=True)
class Processed:
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
class Job:
    """An upload, and what its request may cost.

    Attributes:
        upload: the image.
        limits: of the request.
        abandoned: set once nobody waits for the result; no further frame or crop is begun then.
    """

    upload: Upload
    limits: Limits
    abandoned: Event

    def open(self) -> ImageFile:
        """The image with its header read and its size checked, as `open_bounded` does."""
        upload = self.upload
        return open_bounded(io.BytesIO(upload.data), upload.name, self.limits.max_pixels)

    def animation(self, image: ImageFile) -> Animation:
        """The open image as one of several frames or pages, even if it has a single one."""
        upload = self.upload
        return Animation(Path(upload.name), image, len(upload.data), self.limits.max_pixels)

    def frames(self, animation: Animation) -> Iterator[Frame]:
        """The frames or pages.

        Raises:
            ValueError: one of them cannot be read, or nobody waits any more.
        """
        for frame in animation.frames():
            if isinstance(frame, Fault):
                raise frame.error
            yield frame
            self.go_on()

    def go_on(self) -> None:
        """Raise ValueError if nobody waits any more."""
        if self.abandoned.is_set():
            raise ValueError("the request was given up")

    def find(self, detector: Detector, image: Reduced) -> Faces:
        """The faces of an image, unless the options ask for too many pixels."""
        width, height = image.size
        options = detector.options
        factors = [one.factor for one in passes(options, width, height)]
        if len(factors) > MAX_PASSES:
            raise ValueError(
                f"scales, rotations and flip ask for {len(factors):,} passes; up to {MAX_PASSES} "
                "are made"
            )
        # What tiles have in common is searched several times.
        overlapping = ((1 - Options().overlap) / (1 - options.overlap)) ** 2
        pixels = float(np.square(factors).sum()) * width * height * max(overlapping, 1)
        check_work(pixels, f"{self.upload.name}: the passes that the options ask for", self.limits)
        return detector.detect(image)

    def located(self, detector: Detector, animation: Animation) -> Iterator[tuple[Frame, Faces]]:
        """The frames or pages with their faces."""
        return ((frame, self.find(detector, _whole(frame))) for frame in self.frames(animation))


def detect_faces(job: Job, detector: Detector, query: DetectQuery) -> Processed:
    """The faces of an image, or of each of its frames or pages.

    Raises:
        ValueError: the image cannot be read, or it or the options ask for too much.
    """
    detector = _with_options(detector, query.search())
    name, image = job.upload.name, job.open()
    if check_frames(image, name, job.limits.max_pixels) == 1:
        read = load_reduced(image, name, partial(reduction, detector.options))
        faces = job.find(detector, read)
        return Processed(len(faces), [json_line(name, faces)])
    animation = job.animation(image)
    located = job.located(detector, animation)
    if query.track and not animation.paged:
        located = track(located)
    rows, found = [], 0
    for frame, faces in located:
        rows.append(json_line(name, faces, (frame.index, frame.time)))
        found += len(faces)
    return Processed(found, rows)


def blur_faces(job: Job, detector: Detector, query: BlurQuery) -> Processed:
    """An image with its faces covered, in all of its frames or pages.

    Raises:
        ValueError: as `detect_faces`; or the image cannot be written.
    """
    search = query.search()
    if search.threshold is None:
        search = replace(search, threshold=blur_threshold(detector))
    detector, options = _with_options(detector, search), query.blur()
    name, image = job.upload.name, job.open()
    several = check_frames(image, name, job.limits.max_pixels) > 1
    metadata = metadata_of(image, name) if options.keep_metadata else NO_METADATA
    target, animation = _named(name, image), job.animation(image)
    covered = _covered(job, detector, options, animation, several=several)
    rows, found, encoded = [], 0, io.BytesIO()
    if not several:
        frame, faces = next(covered)
        how = {**encoding_of(target, image, options.quality), **metadata}
        file = (target.name, encode_image(target, frame.pixels, how))
        return Processed(len(faces), [json_line(name, faces)], [file])
    with encode_animation(encoded, target, animation, metadata) as write:
        for frame, faces in covered:
            write(frame.pixels)
            rows.append(json_line(name, faces, (frame.index, frame.time)))
            found += len(faces)
    return Processed(found, rows, [(target.name, encoded.getbuffer())])


def _covered(
    job: Job, detector: Detector, options: BlurOptions, animation: Animation, *, several: bool
) -> Iterator[tuple[Frame, Faces]]:
    """The frames or pages with their faces covered, and these faces."""
    name, limits = job.upload.name, job.limits
    located = job.located(detector, animation)
    if several and not animation.paged:
        located = fill_gaps(track(located), options.gap)
    pixels, covers = 0, 0.0
    for frame, faces in located:
        # Of pages, only each was checked, and all results are held in memory.
        pixels += frame.image[..., 0].size
        if pixels > limits.max_pixels:
            raise ValueError(
                f"{name}: its pages have more than {limits.max_pixels:,} pixels together; "
                "raise max_pixels (--max-pixels) if it is to be trusted"
            )
        regions = clip(around(faces, options.cover.margin), faces.width, faces.height)
        covers += float(area(regions).sum())
        check_work(covers, f"{name}: the covers", limits)
        yield cover_frame(frame, faces, detector, options, Report())


def crop_faces(job: Job, detector: Detector, query: CropQuery) -> Processed:
    """The crops of an image's faces, named as `extd crop` names them.

    Raises:
        ValueError: as `detect_faces`; or faces are to be aligned and the model has no landmarks.
    """
    detector = _with_options(detector, query.search())
    name, image = job.upload.name, job.open()
    several = check_frames(image, name, job.limits.max_pixels) > 1
    named = _named(name, image)
    target = Source(named, named).crop
    pixels, found, rows, files = 0.0, 0, [], []
    for frame, faces in job.located(detector, job.animation(image)):
        pixels += _crop_pixels(faces, query)
        check_work(pixels, f"{name}: the crops", job.limits)
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
            job.go_on()
            if crop is not None:
                path = target.with_stem(f"{target.stem}{number}-{index:03}")
                files.append((path.name, encode_image(path, crop)))
    return Processed(found, rows, files)


def archive(results: Sequence[Processed]) -> memoryview:
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
    suffix = SUFFIXES_KEPT.get(str(image.format), ".png")
    same = ENCODERS.get(Path(name).suffix.lower()) == ENCODERS[suffix]
    return Path(name if same else f"{name}{suffix}")


def mime_type(name: str) -> str:
    """The MIME type of a result of that name."""
    return f"image/{ENCODERS[Path(name).suffix.lower()]['format'].lower()}"


def _crop_pixels(faces: Faces, query: CropQuery) -> float:
    if query.align is not None:
        return len(faces) * float(query.align) ** 2
    regions = around(faces, query.margin).astype(np.float64)
    sides = regions[:, 2:] - regions[:, :2]
    return float((sides.max(axis=1, initial=0) ** 2 if query.square else sides.prod(axis=1)).sum())
