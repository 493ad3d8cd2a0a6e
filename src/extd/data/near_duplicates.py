"""Images that are nearly the same: resized, compressed again, brighter, or slightly cropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from extd.boxes import iou
from extd.data.sample import Sample
from extd.images import Size, image_size, read_reduced
from extd.prefetch import prefetch

SIDE = 16
"""Rows and columns of a hash: with 8, as usual, different photos are as close as crops are."""
BITS = SIDE * SIDE
MAX_DISTANCE = 72
"""Bits in which two hashes of near-duplicates may differ (docs/log.md has the rates)."""
SHRUNKEN = 32
"""Side of the gray thumbnails that are compared where hashes are close, px."""
MAX_DIFFERENCE = 0.5
"""Mean absolute difference of thumbnails of near-duplicates, in standard deviations of each: copies
cropped by 5 % differ by up to 0.44, of unrelated photos 999 in 1,000 by 0.59 and more."""
SMALLEST = 256
"""Px to which the longer side of a JPEG may be reduced while it is decoded."""
AGREEING = 0.5
"""IoU from which on two boxes are at the same place."""
BLOCK = 1024
"""Images that are compared with all others at once, to bound the memory."""


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two images that are nearly the same, and in how many of 256 bits their hashes differ."""

    first: Path
    second: Path
    distance: int


class Signature(NamedTuple):
    """What images are compared by."""

    bits: NDArray[np.bool_]  # perceptual hash, [256]
    pixels: NDArray[np.uint8]  # gray thumbnail, [32, 32]


def find_near_duplicates(
    images: Sequence[Path],
    others: Sequence[Path] | None = None,
    threads: int = 0,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    failed: Callable[[Path, Exception], object] = lambda *_: None,
) -> list[NearDuplicate]:
    """Pairs of near-duplicates within `images`, or of an image and one of `others`.

    Their perceptual hashes (`imagehash.phash`, 256 bits) differ in at most `MAX_DISTANCE` bits, and
    their gray thumbnails by at most `MAX_DIFFERENCE`. Images that cannot be read are left out, and
    so is one that is listed again.

    Args:
        images: files; in a pair of theirs, `first` is listed before `second`.
        others: files, each `second` in its pairs.
        threads: how many images are decoded at once; 0 means one a core.
        progress: wraps the files to show a progress bar.
        failed: gets each file that cannot be read, and its error.

    Raises:
        ImportError: the package imagehash is missing.
    """
    _imagehash()
    listed = [*dict.fromkeys(images)]
    known = len(listed)
    paths = listed if others is None else [*listed, *dict.fromkeys(others)]
    readable, signatures = [], list[Signature]()
    results = prefetch(progress(paths), sign_image, threads)
    for index, (path, result) in enumerate(results):
        if isinstance(result, Exception):
            known -= index < len(listed)
            failed(path, result)
        else:
            readable.append(path)
            signatures.append(result)
    if not signatures:
        return []
    bits = np.array([signature.bits for signature in signatures])
    start = 0 if others is None else known
    return [
        NearDuplicate(readable[i], readable[start + j], distance)
        for i, j, distance in _close(bits[:known], bits[start:])
        if i < start + j
        and thumbnail_difference(signatures[i].pixels, signatures[start + j].pixels)
        <= MAX_DIFFERENCE
    ]


def compare_samples(
    parts: Sequence[Sequence[Sample]],
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    report: Callable[[str], object] = lambda _: None,
) -> tuple[list[list[Sample]], list[NearDuplicate]]:
    """The samples that can be used, and pairs of near-duplicates whose boxes agree, in their order.

    Images that are unreadable, or of another size than their labels say, are left out; `report`
    gets a line about each. Images of one fixed camera look alike, but their boxes differ.

    Raises:
        ImportError: the package imagehash is missing.
        ValueError: no image of a part that has any can be used.
    """
    samples = {sample.path: sample for part in parts for sample in part}
    errors: dict[Path, Exception] = {}
    pairs = find_near_duplicates([*samples], progress=progress, failed=errors.__setitem__)
    for path, sample in samples.items():
        given = sample.width, sample.height
        if path not in errors and (size := image_size(path)) != given:
            said = "its label says {}x{}".format(*given)
            errors[path] = ValueError("{} is {}x{} px; ".format(path, *size) + said)
    for error in errors.values():
        report(str(error))
    usable = [[sample for sample in part if sample.path not in errors] for part in parts]
    for part, left in zip(parts, usable, strict=True):
        if part and not left:
            raise ValueError(f"no image can be used, beginning with: {errors[part[0].path]}")
    pairs = [pair for pair in pairs if errors.keys().isdisjoint((pair.first, pair.second))]
    return usable, [p for p in pairs if boxes_agree(samples[p.first], samples[p.second])]


def boxes_agree(a: Sample, b: Sample) -> bool:
    """Whether two images have the same number of boxes at the same places of the image."""
    if len(a.boxes) != len(b.boxes) or not len(a.boxes):
        return len(a.boxes) == len(b.boxes)
    first, second = (sample.boxes / np.tile((sample.width, sample.height), 2) for sample in (a, b))
    same = iou(first, second) >= AGREEING
    return bool(same.any(0).all() and same.any(1).all())


def group_near_duplicates(
    images: Sequence[Path], pairs: Iterable[NearDuplicate]
) -> list[list[int]]:
    """Indices of the images, those that are near-duplicates together, also by way of others."""
    leader = {path: path for path in images}

    def find(path: Path) -> Path:
        while leader[path] != path:
            path = leader[path]
        return path

    for pair in pairs:
        if pair.first in leader and pair.second in leader:
            leader[find(pair.second)] = find(pair.first)
    groups: dict[Path, list[int]] = {}
    for index, path in enumerate(images):
        groups.setdefault(find(path), []).append(index)
    return list(groups.values())


def describe_duplicates(samples: Iterable[Sample], pairs: Iterable[NearDuplicate]) -> list[str]:
    """A line with the number of samples that are near-duplicates of others, if there are any."""
    paths = {sample.path for sample in samples}
    first = {pair.second: pair.first for pair in pairs if {pair.first, pair.second} <= paths}
    return [
        f"{len(first)} training images are near-duplicates of others, such as {one} of {other}"
        for one, other in [*first.items()][:1]
    ]


def sign_image(path: Path) -> Signature:
    """The perceptual hash and the thumbnail of an image file.

    Raises:
        OSError, ValueError: as `extd.read_image`.
    """
    image = Pillow.fromarray(read_reduced(path, _reduction).pixels)
    bits: NDArray[np.bool_] = _imagehash().phash(image, hash_size=SIDE).hash
    thumbnail = image.convert("L").resize((SHRUNKEN, SHRUNKEN), Pillow.Resampling.BILINEAR)
    return Signature(bits.ravel(), np.asarray(thumbnail))


def thumbnail_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """The mean absolute difference, whatever the brightness and contrast of each.

    It is 0 for equal images, about 1.1 for unrelated ones.
    """
    first, second = ((one - one.mean()) / max(one.std(), 1.0) for one in (a, b))
    return float(np.abs(first - second).mean())


def _reduction(size: Size) -> int:
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or max(size) >= SMALLEST * factor)


def _close(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """Rows of `a` and `b` that differ in few bits, and in how many, ordered by `a`."""
    # Products of signs: equal bits count 1, others -1. Float32 is exact here, and fast.
    left, right = (np.where(bits, 1, -1).astype(np.float32) for bits in (a, b))
    for begin in range(0, len(a), BLOCK):
        distances = (BITS - left[begin : begin + BLOCK] @ right.T) / 2
        for row, column in np.argwhere(distances <= MAX_DISTANCE).tolist():
            yield begin + row, column, int(distances[row, column])


def _imagehash() -> Any:
    """An optional package; without it an ImportError says what to install."""
    try:
        import imagehash
    except ModuleNotFoundError as error:
        raise ImportError(
            f'near-duplicates are found by the package {error.name}; run: pip install "extd[eval]"'
        ) from error
    return imagehash
