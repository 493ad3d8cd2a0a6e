"""From a image to its faces: resize, network, threshold, non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from extd.boxes import VOTERS, area, clip, longer_side
from extd.catalog import DEFAULT_MODEL, Precision
from extd.detections import Augmentation, Detections, apply, pool, rescale, select, suppress, undo
from extd.faces import Faces
from extd.images import Image, ImageSource, read_image, resize
from extd.prefetch import cores, prefetch
from extd.runtime import CPU, OnnxModel
from extd.tiles import LARGE, SIDE, STRIDE, look_in_tiles, shrink

OPTIONAL = ("max_faces", "max_face", "longest", "tile")
WHOLE = ("top_k", "max_faces", "tile")
QUARTERS = (0, 90, 180, 270)


@dataclass(frozen=True, slots=True)
class Options:
    """What to look for in a image, and how thoroughly.

    Attributes:
        threshold: keep boxes whose face probability is above this, 0 to below 1.
        nms_iou: of two boxes that overlap by a greater IoU only the better stays, above 0 to 1.
            Where the network's file asks for votes, as EXTD-Lite's does, it moves to the mean of
            those it suppresses.
        top_k: how many boxes of each pass, or tile, the best, go into the suppression; a face has
            about 12.
        max_faces: how many faces a image gives at most, the best; without it all.
        min_face: smallest face: longer side of its box in pixels of the original image.
        max_face: largest face, likewise.
        longest: resize the image to this longer side, in pixels, before the scales.
        scales: one pass of the network for each factor; 2 finds smaller faces, 0.5 larger ones.
        flip: add a pass of the mirrored image at each scale.
        rotations: the passes are made of the image turned clockwise by each of these degrees,
            0, 90, 180 or 270.
        tile: make a pass in tiles of this side, in pixels of the scaled image, and one of the
            whole shrunk to a tile for large faces: less memory. Without it, tiles of 1024 where
            the scaled image has more than 2^24 pixels; 0 for never.
        overlap: how far tiles reach over each other, as a share of their side, up to 0.5. Faces
            up to 3/4 of it are found as without tiles.
        clip: cut boxes at the border of the image and drop those wholly outside.
    """

    threshold: float = 0.5
    nms_iou: float = 0.3
    top_k: int = 50_000
    max_faces: int | None = None
    min_face: float = 0.0
    max_face: float | None = None
    longest: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    rotations: tuple[int, ...] = (0,)
    tile: int | None = None
    overlap: float = 0.25
    clip: bool = True

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: a value is out of range; the message names it.
        """
        for name, example in (("scales", "(0.5, 1, 2)"), ("rotations", "(0, 90)")):
            values: Any = getattr(self, name)
            if isinstance(values, Real):
                values = (values,)
            elif isinstance(values, Iterable):
                values = tuple(values)
            if not (isinstance(values, tuple) and all(isinstance(v, Real) for v in values)):
                raise ValueError(f"{name} are {values!r}; give numbers, as in {example}")
            object.__setattr__(self, name, values)
        numbers = ("threshold", "nms_iou", "top_k", "min_face", "overlap", *OPTIONAL)
        for name in numbers:
            value = getattr(self, name)
            if not isinstance(value, Real) and not (name in OPTIONAL and value is None):
                raise ValueError(f"{name} is {value!r}; give a number")
        for name in WHOLE:
            value = getattr(self, name)
            if value is not None:
                if value % 1 != 0:
                    raise ValueError(f"{name} is {value}; give a whole number")
                object.__setattr__(self, name, int(value))
        max_face = math.inf if self.max_face is None else self.max_face
        max_faces = 1 if self.max_faces is None else self.max_faces
        longest = 1 if self.longest is None else self.longest
        tile = 0 if self.tile is None else self.tile
        for name, value, right, range_ in (
            ("threshold", self.threshold, 0 <= self.threshold < 1, "0 to below 1"),
            ("nms_iou", self.nms_iou, 0 < self.nms_iou <= 1, "above 0, up to 1"),
            ("top_k", self.top_k, self.top_k >= 1, "1 or more"),
            ("max_faces", self.max_faces, max_faces >= 1, "1 or more"),
            ("min_face", self.min_face, self.min_face >= 0, "0 or more pixels"),
            ("max_face", self.max_face, max_face >= self.min_face, "min_face or more pixels"),
            ("longest", self.longest, 1 <= longest < math.inf, "1 or more pixels"),
            ("scales", self.scales, len(self.scales) > 0, "one or more factors"),
            *(("scales", s, 0 < s < math.inf, "factors above 0") for s in self.scales),
            ("rotations", self.rotations, len(self.rotations) > 0, "one or more angles"),
            *(("rotations", r, r in QUARTERS, "0, 90, 180 or 270") for r in self.rotations),
            ("tile", tile, tile == 0 or tile >= 2 * STRIDE, f"0 or {2 * STRIDE} or more pixels"),
            ("overlap", self.overlap, 0 < self.overlap <= 0.5, "above 0, up to 0.5"),
        ):
            if not right:
                raise ValueError(f"{name} is {value}; give {range_}")
        object.__setattr__(self, "rotations", tuple(map(int, self.rotations)))


class Detector:
    """Finds faces in images.

    Attributes:
        network: the loaded network.
        options: used where a call gives none.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        options: Options | None = None,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        precision: Precision = "auto",
    ) -> None:
        """Load a network.

        Args:
            model: name of a model whose weights ship (any letter case), or an `.onnx` file.
            options: used where a call gives none; the defaults of `Options` without it.
            threads: how many threads compute; 0 is one for each core.
            providers: ONNX Runtime's execution providers, preferred first; without it the CPU.
            precision: `int8` or `float` weights of a model; `auto` is int8 where the model has
                such weights and the processor is faster with them. A file has its own.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be opened, as without permission.
            ValueError: the name is unknown or has no weights, the file is no exported detector,
                the first provider does not run here, or `options` are not `Options`.
        """
        self.options = _given(options) or Options()
        self.network = OnnxModel(model, threads=threads, providers=providers, precision=precision)

    def detect(self, image: ImageSource, options: Options | None = None) -> Faces:
        """Find the faces of one image.

        Args:
            image: anything that `extd.read_image` takes; arrays are RGB.
            options: instead of the detector's own.

        Returns:
            Faces in pixels of the image, upright, best first.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be opened, as without permission.
            ValueError: the image cannot be read, the message names it; `options` are not
                `Options`.
        """
        return self._find(read_image(image), _given(options) or self.options)

    def detect_many(
        self, images: Iterable[ImageSource], options: Options | None = None
    ) -> Generator[Faces, None, None]:
        """Find the faces of many images of any sizes, one result a image, in order.

        Lazy: images are read ahead of need, and looked at side by side, by `at_once` threads,
        each of which holds one. A image that cannot be read ends the iteration after the
        results of all before it. To skip such images, call `detect` in a loop and catch its
        errors.

        Args:
            images: anything that `extd.read_image` takes, each.
            options: instead of the detector's own.

        Raises:
            FileNotFoundError: there is no such file; the message gives its position, from 0.
            OSError: it cannot be opened, as without permission; likewise.
            ValueError: a image cannot be read; likewise.
        """
        if isinstance(images, str | bytes):
            raise ValueError(f"{images!r} is one image; detect_many takes several, as in a list")
        begin = partial(self._begin, options=_given(options) or self.options)
        with closing(prefetch(enumerate(images), begin, self.at_once)) as begun:
            for _, rest in begun:
                if isinstance(rest, Exception):
                    raise rest
                faces = rest()
                del rest
                yield faces

    @cached_property
    def at_once(self) -> int:
        """How many of many images are looked at side by side: as many as threads compute."""
        return self.network.threads or cores()

    @cached_property
    def serial(self) -> Detector:
        """The same detector, computing in the calling thread alone; elsewhere than on CPUs itself.

        Threads that each look at a image of their own finish more of them than threads that
        share each image.
        """
        if self.network.provider != CPU or self.at_once == 1:
            return self
        alone = Detector.__new__(Detector)
        alone.options, alone.network = self.options, self.network.in_threads(1)
        return alone

    def of_many(self, image: Image) -> Detector:
        """What looks at `image`, one of many: `serial`, or this one where memory forbids it.

        Images looked at side by side have no more pixels together than one without tiles.
        """
        return self.serial if image[..., 0].size * self.at_once <= LARGE else self

    def _begin(self, numbered: tuple[int, ImageSource], options: Options) -> Callable[[], Faces]:
        """Do what can be done ahead for a image, and give the rest."""
        position, source = numbered
        try:
            image = read_image(source)
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"image {position}: {error}") from error
        except OSError as error:
            if error.errno is None:
                raise OSError(f"image {position}: {error}") from error
            raise OSError(error.errno, f"image {position}: {error.strerror}", source) from error
        chosen = self.of_many(image)
        if chosen is self:
            return partial(self._find, image, options)
        faces = chosen._find(image, options)
        return lambda: faces

    def _find(self, image: Image, options: Options) -> Faces:
        """Pool the boxes of all passes, suppress the worse of overlapping ones, apply limits."""
        height, width = image.shape[:2]
        fit = options.longest / max(height, width) if options.longest else 1.0
        passes = []
        for rotation in options.rotations:
            for scale in options.scales:
                for mirrored in (False, True) if options.flip else (False,):
                    augmentation = Augmentation(rotation // 90, mirrored)
                    found = self._one_pass(image, fit * scale, augmentation, options)
                    passes.append(undo(found, augmentation, width, height))
        limits = options.threshold, options.nms_iou
        found = suppress(pool(passes), *limits, votes=self.network.votes)
        if options.clip:
            found = found._replace(boxes=clip(found.boxes, width, height))
            found = select(found, area(found.boxes) > 0)
        size = longer_side(found.boxes)
        fitting = size >= options.min_face
        if options.max_face is not None:
            fitting &= size <= options.max_face
        chosen = np.flatnonzero(fitting)[: options.max_faces]
        boxes, scores, landmarks = select(found, chosen)
        return Faces(boxes, scores, width, height, landmarks if self.network.landmarks else None)

    def _one_pass(
        self, image: Image, factor: float, augmentation: Augmentation, options: Options
    ) -> Detections:
        """The likely boxes at one scale, in pixels of the augmented `image`."""
        turned = apply(image, augmentation)
        # No side may vanish.
        height, width = (max(round(side * factor), 1) for side in turned.shape[:2])
        ratio = turned.shape[1] / width, turned.shape[0] / height
        turned = resize(turned, (width, height))
        side = SIDE if options.tile is None and width * height > LARGE else options.tile or 0
        look = partial(self._likely, options=options)
        if 0 < side < max(width, height):
            side = int(side) // STRIDE * STRIDE
            # Shrunk first: the whole augmented image would be copied.
            overview = apply(shrink(image, side), augmentation)
            found = look_in_tiles(turned, overview, side, options.overlap, options.nms_iou, look)
        else:
            found = look(turned)
        return rescale(found, *ratio)

    def _likely(self, image: Image, options: Options) -> Detections:
        """Best `top_k` boxes above the threshold, or with a vote, in pixels of `image`."""
        threshold = options.threshold * (VOTERS if self.network.votes else 1)
        (found,) = self.network.run(image[None], threshold)
        # The exponential of an untrained network's size can overflow.
        found = select(found, np.flatnonzero(np.isfinite(found.boxes).all(1)))
        return select(found, np.argsort(-found.scores, kind="stable")[: options.top_k])

    def __repr__(self) -> str:
        network = self.network
        return f"Detector({network.name!r}, {network.provider}, threads={network.threads})"


def _given(options: Options | None) -> Options | None:
    """The options, which are no other type."""
    if not isinstance(options, Options | None):
        raise ValueError(f"options are {options!r}; give extd.Options(threshold=0.5)")
    return options
