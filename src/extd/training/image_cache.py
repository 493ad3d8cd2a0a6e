"""The images of a run: labels checked, split and mixed; pixels decoded into a memory map."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from extd.boxes import Boxes
from extd.data.datasets import read_dataset
from extd.data.near_duplicates import NearDuplicate
from extd.data.sample import Sample
from extd.evaluation.comparison import MIN_TEST_IMAGES
from extd.files import atomic_write
from extd.images import read_image
from extd.pixels import Image
from extd.prefetch import prefetch
from extd.training.recipe import Data

SHOWN = 3
"""Images that a message names as examples."""
HELD_OUT = 0.1
"""Share of the images that `split` holds out, at least `MIN_TEST_IMAGES` with faces."""


@dataclass(frozen=True, slots=True)
class ImageCache:
    """Decoded images behind one memory map."""

    samples: list[Sample]  # the images that could be read
    shares: NDArray[np.float64]  # cumulative, by which they are drawn, ascending to 1
    bytes: NDArray[np.uint8]  # all pixels, one image after the other
    offsets: list[int]  # where each image begins, and the end
    unreadable: list[str]  # the error of each image that was left out

    def pixels(self, index: int) -> Image:
        """Image number `index` as H x W x 3 RGB, a view of the map."""
        sample = self.samples[index]
        flat = self.bytes[self.offsets[index] : self.offsets[index + 1]]
        return flat.reshape(sample.height, sample.width, 3)


class CacheError(OSError):
    """Decoded images cannot be written: the folder is read-only, or the disk is full."""


def open_images(data: Data, folder: Path, console: Console) -> ImageCache:
    """The usable images of a recipe, decoded into `folder`.

    Raises:
        FileNotFoundError: a dataset is missing.
        ValueError: a dataset cannot be used, or too many images cannot be read.
        CacheError: `folder` cannot hold them.
    """
    weights = read_mixture(data, console)
    samples, dropped = drop_invalid(list(weights))
    weights = dict(zip(samples, weights.values(), strict=True))
    cache = open_cache(weights, folder, data.max_unreadable, data.max_background)
    for line in (*dropped, *cache.unreadable):
        _tell(console, f"left out: {line}")
    return cache


def _tell(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def read_mixture(data: Data, console: Console) -> dict[Sample, float]:
    """Every image of the datasets, and how often it is drawn; raises as `open_images`."""
    weights = {}
    for dataset in data.sets:
        samples = read_dataset(Path(dataset.path))
        present = {sample.source for sample in samples}
        for source in dataset.sources.keys() - present:
            known = ", ".join(sorted(map(repr, present)))
            raise ValueError(f"{dataset.path} has no image of source {source!r}; it has {known}")
        shares = dataset.sources or data.sources
        other = ", ".join(sorted(map(repr, present - shares.keys())))
        if data.sources and present.isdisjoint(shares):
            _tell(console, f"{dataset.path} has none of the recipe's sources; all images are used")
            shares = {}
        elif shares and other:
            _tell(console, f"{dataset.path}: images of source {other} are left out, as not named")
        factors = weigh_crowds(samples, data.face_count_power)
        for sample, factor in zip(samples, factors, strict=True):
            share = shares.get(sample.source, 0.0) if shares else 1.0
            weights[sample] = dataset.weight * share * factor
    return {sample: weight for sample, weight in weights.items() if weight > 0}


def weigh_crowds(samples: Sequence[Sample], power: float) -> list[float]:
    """Weights in proportion to the number of faces to a power.

    They are 1 on average over the images with faces of each source, so that shares of sources stay.
    """
    crowds = np.array([max(len(sample.boxes), 1) ** power for sample in samples])
    seen = np.array([len(sample.boxes) > 0 for sample in samples], np.bool_)
    sources = np.array([sample.source for sample in samples])
    for source in np.unique(sources[seen]):
        chosen = sources == source
        crowds[chosen] /= crowds[chosen & seen].mean()
    weights: list[float] = crowds.tolist()
    return weights


def fingerprint(samples: Iterable[Sample]) -> str:
    """A short hash of what is learned from: names, sizes and boxes, wherever the folder lies."""
    digest = hashlib.sha256()
    for sample in samples:
        head = f"{sample.path.name} {sample.width} {sample.height} {sample.source}"
        digest.update(head.encode(errors="surrogateescape"))
        digest.update(sample.boxes.tobytes() + b"|" + sample.ignore.tobytes())
    return digest.hexdigest()[:16]


def sampling_shares(
    samples: Sequence[Sample], weights: Sequence[float], max_background: float = 0.0
) -> NDArray[np.float64]:
    """Those of `ImageCache`; images without faces get at most `max_background` of them."""
    drawn = np.array(weights, np.float64)
    empty = np.array([len(sample.boxes) == 0 for sample in samples])
    faces, background = drawn[~empty].sum(), drawn[empty].sum()
    if not 0 < faces < np.inf:
        raise ValueError("no image has both a face and a positive weight")
    if background:
        drawn[empty] *= min(faces * max_background / (1 - max_background) / background, 1.0)
    cumulative = np.cumsum(drawn)
    shares: NDArray[np.float64] = cumulative / cumulative[-1]
    return shares


def drop_invalid(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """The images without boxes that nothing can be learned from, and a line about each of these."""
    kept, dropped = [], []
    for sample in samples:
        faces, ignore = _valid(sample.boxes, sample), _valid(sample.ignore, sample)
        for box in np.concatenate([sample.boxes[~faces], sample.ignore[~ignore]]):
            numbers = box.astype(np.float64).round(2).tolist()
            dropped.append(f"{sample.path}: box {numbers} has no area inside the image")
        boxes, points = sample.boxes[faces], sample.landmarks
        points = None if points is None else points[faces]
        ignored = sample.ignore[ignore]
        kept.append(dataclasses.replace(sample, boxes=boxes, ignore=ignored, landmarks=points))
    return kept, dropped


def check_samples(labels: Path, least: int, smallest: float) -> list[Sample]:
    """Read labels and check that something can be learned from them.

    Raises:
        FileNotFoundError: the labels or an image are missing.
        ValueError: there are fewer than `least` images, or no face of at least `smallest` px.
    """
    samples = read_dataset(labels)
    if len(samples) < least:
        raise ValueError(
            f"{labels} has {len(samples)} images; label at least {least}, better 100 and more"
        )
    for sample in samples:
        if not sample.path.is_file():
            raise FileNotFoundError(f"{labels}: there is no image {sample.path}")
    boxes = sum(len(sample.boxes) for sample in samples)
    if not boxes:
        raise ValueError(
            f"no image of {labels} has a labeled face; see which classes count as faces with: "
            f"extd data check {labels}"
        )
    faces = np.concatenate([sample.boxes for sample in drop_invalid(samples)[0]])
    if not len(faces):
        raise ValueError(
            f"all {boxes} boxes of {labels} are outside of their images or have no area; "
            "give them in px of the upright images"
        )
    largest = float((faces[:, 2:] - faces[:, :2]).min(1).max())
    if largest < smallest:
        raise ValueError(
            f"the largest face of {labels} is {largest:.1f} px wide or high; the network sees "
            f"faces from {smallest:g} px on: label larger images"
        )
    return samples


def check_apart(
    labels: Path,
    samples: Sequence[Sample],
    test: Path,
    held_out: Sequence[Sample],
    pairs: Sequence[NearDuplicate],
) -> None:
    """Raise a ValueError for a test set that has images of the training set, or near-duplicates.

    In each pair, an image of the training set is `first`.
    """
    learned, measured = ({sample.path for sample in part} for part in (samples, held_out))
    shared = {path: path for path in learned & measured}
    shared |= {p.second: p.first for p in pairs if p.first in learned and p.second in measured}
    if shared:
        path = min(shared)
        raise ValueError(
            f"{len(shared)} images of {test} are also in {labels}, or near-duplicates of images "
            f"there, such as {path} and {shared[path]}; AP on training images means nothing. "
            f"Remove them from one set; to list them: extd data check {labels} {test}"
        )


def drop_repeated(
    keep: Path | None,
    general: Sequence[Sample],
    known: Sequence[Sample],
    pairs: Sequence[NearDuplicate],
) -> tuple[list[Sample], list[str]]:
    """The images of `keep` that are not among `known`, and a line about the others.

    Raises:
        ValueError: all are.
    """
    paths = {sample.path for sample in known}
    paths |= {pair.second for pair in pairs if pair.first in paths}
    repeated = [str(sample.path) for sample in general if sample.path in paths]
    if not repeated:
        return [*general], []
    if len(repeated) == len(general):
        raise ValueError(
            f"all images of {keep} with faces are near-duplicates of others; give new ones"
        )
    line = (
        f"{len(repeated)} of {len(general)} images of {keep}, as near-duplicates of other images, "
        f"such as {', '.join(repeated[:SHOWN])}"
    )
    return [sample for sample in general if sample.path not in paths], [line]


def choose_with_faces(samples: Sequence[Sample], count: int, seed: int = 0) -> list[Sample]:
    """`count` of the samples with faces at random, or all of them."""
    faces = [sample for sample in samples if len(sample.boxes)]
    order = np.random.default_rng(seed).permutation(len(faces))[:count]
    return [faces[index] for index in sorted(order.tolist())]


def split(
    samples: Sequence[Sample], groups: Sequence[Sequence[int]], seed: int = 0
) -> tuple[list[Sample], list[Sample]]:
    """A random split into training and test images; both have some with faces and without.

    A group of near-duplicates stays together.

    Raises:
        ValueError: a single group has faces.
    """
    with_faces: list[Sequence[int]] = []
    without: list[Sequence[int]] = []
    for place in np.random.default_rng(seed).permutation(len(groups)):
        has_faces = any(len(samples[index].boxes) for index in groups[place])
        (with_faces if has_faces else without).append(groups[place])
    if len(with_faces) < 2:
        raise ValueError(
            "only one image has a labeled face, or all that do are near-duplicates; label more, or "
            "give --test LABELS"
        )
    held_out = {*_take(with_faces, MIN_TEST_IMAGES), *_take(without)}
    train = [sample for index, sample in enumerate(samples) if index not in held_out]
    return train, [samples[index] for index in sorted(held_out)]


def _take(groups: Sequence[Sequence[int]], least: int = 0) -> list[int]:
    """The images of the first groups: a share of `HELD_OUT` and `least`, but at most half."""
    total = sum(map(len, groups))
    taken: list[int] = []
    for group in groups:
        if len(taken) < max(round(HELD_OUT * total), least):
            taken += group if len(taken) + len(group) <= total // 2 else []
    return taken


def _valid(boxes: Boxes, sample: Sample) -> NDArray[np.bool_]:
    """Which boxes are finite, have an area, and overlap the image."""
    # A label file may not tell the size of an image that cannot be read.
    size = (sample.width or np.inf, sample.height or np.inf)
    near, far = boxes[:, :2], boxes[:, 2:]
    valid = np.isfinite(near) & np.isfinite(far) & (far > near) & (far > 0) & (near < size)
    return np.asarray(valid.all(1), np.bool_)


def open_cache(
    weights: Mapping[Sample, float],
    folder: Path,
    max_unreadable: float = 0.0,
    max_background: float = 0.0,
) -> ImageCache:
    """Open the decoded images in `folder`, 3 bytes a pixel; decode them first if need be.

    Images are drawn by their weights, those without faces as `sampling_shares` says. Those that are
    unreadable, or of another size than their label says, are left out.

    Raises:
        ValueError: the share of these is above `max_unreadable`.
        CacheError: `folder` cannot hold the images.
    """
    samples = list(weights)
    path = folder / f"{_cache_key(samples)}.rgb"
    # Written after the pixels, so that it vouches for them: errors by the index of the image.
    note = path.with_suffix(".json")
    try:
        unreadable: dict[str, str] = json.loads(note.read_text(encoding="utf-8"))
        complete = path.stat().st_size == _offsets(samples, unreadable)[-1]
    except (OSError, ValueError):
        complete = False
    if not complete:
        unreadable = _decode(samples, path, max_unreadable)
        with atomic_write(note) as partial:
            partial.write_text(json.dumps(unreadable), encoding="utf-8")
    _check_share(unreadable, len(samples), max_unreadable)
    kept = [sample for i, sample in enumerate(samples) if str(i) not in unreadable]
    if not kept:
        raise ValueError("there is no image to learn from")
    shares = sampling_shares(kept, [weights[sample] for sample in kept], max_background)
    pixels, offsets = np.memmap(path, np.uint8, "r"), _offsets(samples, unreadable)
    return ImageCache(kept, shares, pixels, offsets, [*unreadable.values()])


def _cache_key(samples: Sequence[Sample]) -> str:
    """A short hash of the files and of the sizes that their labels give."""
    digest = hashlib.sha256()
    for sample in samples:
        stat = sample.path.stat() if sample.path.is_file() else None
        state = (stat.st_size, stat.st_mtime_ns) if stat else None
        line = f"{sample.path} {sample.width} {sample.height} {state}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _offsets(samples: Sequence[Sample], unreadable: dict[str, str]) -> list[int]:
    sizes = [s.width * s.height * 3 for i, s in enumerate(samples) if str(i) not in unreadable]
    return [0, *np.cumsum(sizes, dtype=np.int64).tolist()]


def _check_share(unreadable: dict[str, str], count: int, allowed: float) -> None:
    if len(unreadable) > allowed * count:
        raise ValueError(
            f"{len(unreadable)} of {count} images cannot be read, more than the share of "
            f"{allowed:g} that data.max_unreadable allows, beginning with: "
            f"{'; '.join([*unreadable.values()][:5])}"
        )


def _decode(samples: Sequence[Sample], path: Path, max_unreadable: float) -> dict[str, str]:
    """Write the pixels of all readable images to `path`; return the errors of the others."""
    folder, needed, console = path.parent, _offsets(samples, {})[-1], Console(stderr=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # As in a home folder on a read-only disk.
        raise CacheError(str(error)) from error
    if kept := sum(other.stat().st_size for other in folder.glob("*.rgb")):
        advice = f"keeps {kept / 1e9:.1f} GB of images decoded before; delete what no run needs"
        console.print(f"{folder} {advice}", markup=False, soft_wrap=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CacheError(f"{folder} has {free:,} bytes free and the images take {needed:,}")
    unreadable: dict[str, str] = {}
    decoded = prefetch(samples, _read)
    try:
        # Plain writes, not a memory map: on a full disk they fail with an error, not a signal.
        with atomic_write(path) as partial, partial.open("wb") as file:
            for index, (_, image) in enumerate(
                track(decoded, "Decoding images", len(samples), console=console)
            ):
                if isinstance(image, Exception):
                    unreadable[str(index)] = str(image)
                else:
                    file.write(image.data)
            _check_share(unreadable, len(samples), max_unreadable)
    except OSError as error:
        raise CacheError(f"{path} cannot be written: {error}") from error
    return unreadable


def _read(sample: Sample) -> Image:
    image = read_image(sample.path)
    height, width = image.shape[:2]
    if (width, height) != (sample.width, sample.height):
        said = f"its label says {sample.width}x{sample.height}"
        raise ValueError(f"{sample.path} is {width}x{height} px; {said}")
    return np.ascontiguousarray(image)
