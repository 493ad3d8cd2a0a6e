"""The pictures of a recipe: several labelled sets, drawn by their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from extd.data.datasets import read_dataset
from extd.data.sample import Sample
from extd.training.recipe import Data


def read_mixture(data: Data) -> dict[Sample, float]:
    """Every picture of the sets, and how often it is drawn relative to the others.

    Raises:
        FileNotFoundError: a set is missing.
        ValueError: a set is not readable, or a source that the recipe names has no picture.
    """
    weights = {}
    for dataset in data.sets:
        pictures = read_dataset(Path(dataset.path))
        present = {picture.source for picture in pictures}
        for source in dataset.sources:
            if source not in present:
                raise ValueError(
                    f"{dataset.path} has no picture of source {source!r}; "
                    f"it has {', '.join(sorted(map(repr, present)))}"
                )
        for picture in pictures:
            share = dataset.sources.get(picture.source, 0.0) if dataset.sources else 1.0
            if share > 0:
                weights[picture] = dataset.weight * share
    return weights


def fingerprint(pictures: Iterable[Sample]) -> str:
    """A short hash of what is learnt from: names, sizes and boxes, wherever the folder lies."""
    digest = hashlib.sha256()
    for picture in pictures:
        head = f"{picture.path.name} {picture.width} {picture.height} {picture.source}"
        digest.update(head.encode(errors="surrogateescape"))
        digest.update(picture.boxes.tobytes())
        digest.update(b"|" + picture.ignore.tobytes())
    return digest.hexdigest()[:16]
