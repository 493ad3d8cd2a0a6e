"""From an image to its faces: resize, network, threshold, non-maximum suppression."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np

from extd.boxes import VOTE_SHARE, area, clip, longer_side
from extd.catalog import DEFAULT_MODEL, Precision
from extd.cpu import cores
from extd.faces import Faces
from extd.images import ImageSource, Reduced, Size, read_reduced, resize
from extd.passes import (
    LARGE,
    SIDE,
    STRIDE,
    Pass,
    add_uncovered,
    look_in_tiles,
    pool,
    pyramid,
    rescale,
    suppress,
)
from extd.pixels import Image
from extd.prefetch import prefetch
from extd.runtime import CPU, OnnxModel

Many = list[Any] | tuple[Any, ...]
"""Images, each of which `read_image` takes."""
OPTIONAL = ("threshold", "max_faces", "max_face", "longest", "tile")
RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "threshold": (lambda score: 0 <= score < 1, "0 to below 1"),
    "nms_iou": (lambda iou: 0 < iou <= 1, "above 0, up to 1"),
    "top_k": (lambda count: count >= 1 and count % 1 == 0, "a whole number, 1 or more"),
    "max_faces": (lambda count: count >= 1 and count % 1 == 0, "a whole number, 1 or more"),
    "min_face": (lambda px: px >= 0, "0 or more pixels"),
    "max_face": (lambda px: px >= 0, "min_face or more pixels"),
    "longest": (lambda px: 1 <= px < math.inf, "1 or more pixels"),
    "scales": (
        lambda factor: 0 < factor < math.inf,
        "'auto' or factors above 0, as in (0.5, 1, 2)",
    ),
    "rotations": (lambda angle: angle in {0, 90, 180, 270}, "0, 90, 180 or 270, as in (0, 90)"),
    "tile": (
        lambda px: (px == 0 or px >= 2 * STRIDE) and px % 1 == 0,
        f"0 or {2 * STRIDE} or more pixels, a whole number",
    ),
    "overlap": (lambda share: 0 < share <= 0.5, "above 0, up to 0.5"),
}
"""For each number of `Options` what it must fulfil, and how an error says so."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to look for in an image, and how thoroughly.

    Attributes:
        threshold: keep boxes with a face probability above this, 0 to below 1. None for the one
            stored in the model's file (`extd export --threshold`), 0.5 if there is none.
        nms_iou: of two boxes that overlap by more than this IoU only the better stays; above 0, at
            most 1. If the model asks for votes, as EXTD-Lite does, that box moves to the mean of
            those it suppresses.
        top_k: how many of the best boxes of each pass or tile enter non-maximum suppression; a
            face has about 12.
        max_faces: return at most this many faces of an image, the best; None for all.
        min_face: smallest face: longer side of its box in pixels of the original image.
        max_face: largest face, likewise.
        longest: resize the image to this longer side in pixels, before the scales.
        scales: make a pass at each of these factors; 2 finds smaller faces, 0.5 larger ones.
            `auto` halves the image until its longer side is at most 640 px; each pass answers for
            the sizes that it sees well, and all cost at most 1.34 times the first. It leaves out
            the finest passes where they only serve faces below `min_face`.
        flip: add a pass over the mirrored image at each scale.
        rotations: make the passes over the image turned clockwise by each of these angles: 0, 90,
            180 or 270 degrees.
        tile: to save memory, make each pass in tiles of this side in pixels of the scaled image.
            None takes tiles of 1024 if the scaled image has more than 2^24 pixels; 0 never does.
        overlap: how far tiles overlap, as a share of their side, up to 0.5. Faces up to 3/4 of
            the overlap are found as without tiles; larger ones need passes at smaller scales.
        clip: cut boxes off at the border of the image and drop those wholly outside.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    threshold: float | None = None
    nms_iou: float = 0.3
    top_k: int = 50_000
    max_faces: int | None = None
    min_face: float = 0.0
    max_face: float | None = None
    longest: int | None = None
    scales: tuple[float, ...] | Literal["auto"] = "auto"
    flip: bool = False
    rotations: tuple[int, ...] = (0,)
    tile: int | None = None
    overlap: float = 0.25
    clip: bool = True

    def __post_init__(self) -> None:
        for name, (fits, expected) in RANGES.items():
            value = getattr(self, name)
            if (value is None and name in OPTIONAL) or (name == "scales" and value == "auto"):
                continue
            many = name in {"scales", "rotations"}
            values = tuple(value) if many and isinstance(value, Iterable) else (value,)
            wrong = [one for one in values if not (isinstance(one, Real) and fits(one))]
            if wrong or not values:
                shown = wrong[0] if wrong else values
                raise ValueError(f"{name} is {shown!r}; give {expected}")
            if name in {"top_k", "max_faces", "tile", "rotations"}:
                values = tuple(map(int, values))
            object.__setattr__(self, name, values if many else values[0])
        if self.max_face is not None and self.max_face < self.min_face:
            raise ValueError(f"max_face is {self.max_face}; give min_face or more pixels")


class Detector:
    """Finds faces in images.

    Attributes:
        network: the loaded network.
        options: for calls that give none.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        threshold: float | None = None,
        min_face: float | None = None,
        max_faces: int | None = None,
        options: Options | None = None,
        threads: int = 0,
        providers: str | Sequence[str] = "cpu",
        precision: Precision = "auto",
    ) -> None:
        """Load a network.

        Args:
            model: name of a model whose weights ship, in any letter case, or an `.onnx` file.
            threshold: instead of that of `options`.
            min_face: likewise.
            max_faces: likewise.
            options: for calls that give none.
            threads: how many threads compute; 0 means one per core.
            providers: what runs the network: `cpu`, `cuda`, `tensorrt`, `coreml`, `openvino`,
                `directml`, or any name of an ONNX Runtime execution provider, or several, preferred
                first. `auto` takes an accelerator if one starts, else the CPU.
            precision: `int8` or `float` weights; `auto` takes int8 if the model has such weights
                and the processor is faster with them. A file has only its own.

        Raises:
            OSError: there is no such file, or it cannot be opened.
            ValueError: the name is unknown or has no such weights, the file is not an exported
                detector or has another precision, the first provider does not run here, or
                `options` are not `Options`.
        """
        given = {"threshold": threshold, "min_face": min_face, "max_faces": max_faces}
        changes: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        self.options = replace(_given(options) or Options(), **changes)
        self.network = OnnxModel(model, threads=threads, providers=providers, precision=precision)

    @overload
    def detect(self, image: ImageSource | Reduced, options: Options | None = None) -> Faces: ...
    @overload
    def detect(self, image: Many, options: Options | None = None) -> list[Faces]: ...
    def detect(
        self, image: ImageSource | Reduced | Many, options: Options | None = None
    ) -> Faces | list[Faces]:
        """Find the faces in an image, best first, in pixels of the upright image.

        Args:
            image: anything that `extd.read_image` takes; arrays are RGB. A list or tuple of these
                gives a list, as from `detect_many`.
            options: instead of the detector's own.

        Raises:
            OSError: there is no such file, or it cannot be opened.
            ValueError: the image cannot be read; the message names it.
        """
        if isinstance(image, list | tuple):
            return list(self.detect_many(image, options))
        options = _given(options) or self.options
        return self._find_in(read_reduced(image, partial(reduction, options)), options)

    def detect_many(
        self, images: Iterable[ImageSource], options: Options | None = None
    ) -> Generator[Faces, None, None]:
        """Find the faces in many images of any size: one result per image, in order.

        Lazy: `workers` threads read images ahead of need and detect side by side, so that up to
        `workers` + 2 decoded images, or their results, are in memory. An image that
        cannot be read ends the iteration after the results of all before it; to skip it, call
        `detect` in a loop and catch its errors.

        Raises:
            OSError, ValueError: as `detect`; the message gives the image's index, from 0.
        """
        if isinstance(images, str | bytes | Path) or getattr(images, "ndim", 4) < 4:
            what = "an array" if hasattr(images, "ndim") else repr(images)
            raise ValueError(f"{what} is one image; give detect_many a list of images")
        return self._detect_many(images, _given(options) or self.options)

    def _detect_many(
        self, images: Iterable[ImageSource], options: Options
    ) -> Generator[Faces, None, None]:
        begin = partial(self._begin, options=options)
        # Made here, or several threads would make one each.
        _ = self.single_threaded
        with closing(prefetch(enumerate(images), begin, self.workers)) as begun:
            for (position, source), rest in begun:
                if isinstance(rest, OSError) and rest.errno is not None:
                    message = f"image {position}: {rest.strerror}"
                    raise OSError(rest.errno, message, source) from rest
                if isinstance(rest, Exception):
                    raise type(rest)(f"image {position}: {rest}") from rest
                faces = rest()
                del rest
                yield faces

    @cached_property
    def workers(self) -> int:
        """How many images are processed side by side: as many as there are threads."""
        return self.network.threads or cores()

    @cached_property
    def single_threaded(self) -> Self:
        """This detector, computing only in the calling thread; off the CPU, itself.

        Threads with an image each finish more of them than threads that share each image.
        """
        if self.network.provider != CPU or self.workers == 1:
            return self
        alone = type(self).__new__(type(self))
        alone.options, alone.network = self.options, self.network.in_threads(1)
        return alone

    def for_batch(self, image: Image) -> Self:
        """The detector for one image of many: `single_threaded`, or itself if memory forbids it.

        Images side by side have no more pixels together than one without tiles.
        """
        return self.single_threaded if image[..., 0].size * self.workers <= LARGE else self

    def _begin(self, numbered: tuple[int, ImageSource], options: Options) -> Callable[[], Faces]:
        """Do what can be done ahead for an image, and return the rest as a function."""
        image = read_reduced(numbered[1], partial(reduction, options))
        chosen = self.for_batch(image.pixels)
        if chosen is self:
            return partial(self._find_in, image, options)
        faces = chosen._find_in(image, options)
        return lambda: faces

    def _find_in(self, image: Reduced, options: Options) -> Faces:
        """The faces of an image that may be reduced, in pixels of the whole one."""
        width, height = image.size
        factor = max(image.pixels.shape[:2]) / max(width, height)
        faces = self._find(image.pixels, _scaled(options, factor))
        return faces if factor == 1 else rescale(faces, width, height)

    def _find(self, image: Image, options: Options) -> Faces:
        """Pool the faces of all passes, suppress overlapping ones, apply the limits."""
        height, width = image.shape[:2]
        scaled: dict[float, Image] = {}
        whole, parts = [], []
        for one in passes(options, width, height):
            if one.factor not in scaled:
                # Halving what was halved already costs little.
                larger = scaled.get(2 * one.factor, image)
                scaled[one.factor] = resize(larger, Pass(one.factor).size(width, height))
            view = one.orient(scaled[one.factor])
            seen, cut = self._look(view, one, options)
            whole.append(one.undo(seen, width, height))
            if len(cut):
                parts.append(one.undo(cut, width, height))
        choose = partial(
            suppress,
            threshold=self.threshold(options),
            nms_iou=options.nms_iou,
            box_voting=self.network.box_voting,
        )
        found = choose(pool(whole))
        if parts:
            found = add_uncovered(found, choose(pool(parts)))
        boxes = found.boxes
        if options.clip:
            boxes = clip(boxes, width, height)
        size = longer_side(boxes)
        chosen = size >= options.min_face
        if options.max_face is not None:
            chosen &= size <= options.max_face
        if options.clip:
            chosen &= area(boxes) > 0
        faces = Faces(boxes, found.scores, width, height, found.landmarks)
        return faces[np.flatnonzero(chosen)[: options.max_faces]]

    def _look(self, view: Image, one: Pass, options: Options) -> tuple[Faces, Faces]:
        """The likely faces of one pass, and those that tiles cut, in pixels of its `view`."""
        height, width = view.shape[:2]
        side = SIDE if options.tile is None and width * height > LARGE else options.tile or 0
        look = partial(self._likely, options=options)
        if 0 < side < max(width, height):
            found, parts = look_in_tiles(view, side // STRIDE * STRIDE, options.overlap, look)
        else:
            found = look(view)
            parts = found[:0]
        return found[one.answers_for(found.boxes)], parts

    def _likely(self, image: Image, options: Options) -> Faces:
        """The best `top_k` faces that may stay or vote, in pixels of `image`."""
        threshold = self.threshold(options) * (VOTE_SHARE if self.network.box_voting else 1)
        (found,) = self.network.run(image[None], threshold)
        return found[np.argsort(-found.scores, kind="stable")[: options.top_k]]

    def threshold(self, options: Options | None = None) -> float:
        """The threshold that holds with these options, by default the detector's own."""
        chosen = (options or self.options).threshold
        return self.network.threshold if chosen is None else chosen

    def __repr__(self) -> str:
        network = self.network
        return f"Detector({network.name!r}, {network.provider}, threads={network.threads})"


@overload
def detect(
    image: ImageSource, threshold: float | None = None, model: str | Path = DEFAULT_MODEL
) -> Faces: ...
@overload
def detect(
    image: Many, threshold: float | None = None, model: str | Path = DEFAULT_MODEL
) -> list[Faces]: ...
def detect(
    image: ImageSource | Many, threshold: float | None = None, model: str | Path = DEFAULT_MODEL
) -> Faces | list[Faces]:
    """`Detector.detect` in one call; a model is loaded by the first call and kept.

    Raises:
        OSError, ValueError: as `Detector` and `Detector.detect`.
    """
    return _loaded(model, os.getpid()).detect(image, Options(threshold=threshold))


@cache
def _loaded(model: str | Path, process: int) -> Detector:
    """One for each process: a network does not survive a fork."""
    return Detector(model)


def passes(options: Options, width: int, height: int) -> list[Pass]:
    """The passes that the options ask for over an image of that size."""
    fit = options.longest / max(width, height) if options.longest else 1.0
    if options.scales == "auto":
        levels = pyramid(fit * max(width, height), fit * options.min_face)
    else:
        levels = [Pass(scale) for scale in options.scales]
    return [
        replace(one, factor=fit * one.factor, quarters=rotation // 90, mirrored=mirrored)
        for one, rotation in product(levels, options.rotations)
        for mirrored in ((False, True) if options.flip else (False,))
    ]


def reduction(options: Options, size: Size) -> int:
    """By which of 1, 2, 4 and 8 an image may be smaller, since the options ask for no more."""
    finest = max(one.factor for one in passes(options, *size))
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor * finest <= 1)


def _scaled(options: Options, factor: float) -> Options:
    """What means the same in the image resized by `factor`."""
    if factor == 1:
        return options
    scales = options.scales
    if scales != "auto" and options.longest is None:
        scales = tuple(scale / factor for scale in scales)
    most = None if options.max_face is None else options.max_face * factor
    return replace(options, scales=scales, min_face=options.min_face * factor, max_face=most)


def _given(options: Options | None) -> Options | None:
    if not isinstance(options, Options | None):
        raise ValueError(f"options are {options!r}; give extd.Options(threshold=0.5)")
    return options
