"""A page of pictures under hard conditions, chosen by a rule, with the faces that are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extd.boxes import iou
from extd.faces import Faces
from extd.images import Image, read_image
from extd.measure.figures import import_figure, save
from extd.measure.subsets import Subsets
from extd.measure.wider import IOU, Picture
from extd.media.annotate import annotate

CONDITIONS = {
    "< 16 px": ("< 8", "8-12", "12-16"),
    ">= 192 px": ("192-256", "256-384", ">= 384"),
    "heavy blur": ("heavy blur",),
    "heavy occlusion": ("heavy occlusion",),
    "atypical pose": ("atypical pose",),
    "extreme light": ("extreme light",),
}
"""Names of conditions, and of the groups of `extd.measure.subsets` that make them up."""
MOST_FACES = 40
"""In a picture that is to be looked at."""
COLUMNS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """A picture on the page.

    Attributes:
        condition: why it is there.
        picture: its ground truth.
        path: its file.
    """

    condition: str
    picture: Picture
    path: Path


def choose(paths: Mapping[str, Path], groups: Sequence[Subsets]) -> list[Exhibit]:
    """For each condition the picture with the most faces of it.

    Of pictures with at most 40 faces that count; the first by name where several have as many,
    and none twice. A condition that no face fulfils is left out.

    Args:
        paths: the pictures there are, by `event/name`.
        groups: of `by_size` and `by_attribute`, of the same ground truth.
    """
    chosen: dict[str, Exhibit] = {}
    for condition, names in CONDITIONS.items():
        best, most = None, 0
        for alike in zip(*(subsets.pictures for subsets in groups), strict=True):
            key = alike[0].key
            if key not in paths or key in chosen or alike[0].keep[0].sum() > MOST_FACES:
                continue
            count = sum(
                int(picture.keep[subsets.names.index(name)].sum())
                for picture, subsets in zip(alike, groups, strict=True)
                for name in names
                if name in subsets.names
            )
            if count > most or (count == most > 0 and best and key < best.key):
                best, most = alike[0], count
        if best is not None:
            chosen[best.key] = Exhibit(condition, best, paths[best.key])
    return list(chosen.values())


def draw_gallery(
    exhibits: Sequence[Exhibit],
    detect: Callable[[Image], Faces],
    caption: str,
    path: Path,
    progress: Callable[[Sequence[Exhibit]], Iterable[Exhibit]] = iter,
) -> None:
    """Draw the pictures with the faces that are found, and how many of those that count.

    Args:
        exhibits: the pictures.
        detect: finds the faces of uint8 [H, W, 3] RGB.
        caption: what was looked at, and by what.
        path: of the page; its suffix is the format.
        progress: wraps the pictures as they are worked through, to show a bar.

    Raises:
        ImportError: Matplotlib is missing.
        FileNotFoundError, ValueError: a picture cannot be read.
    """
    rows = -(-len(exhibits) // COLUMNS)
    figure = import_figure()(figsize=(4 * COLUMNS, 3.4 * rows), layout="constrained")
    figure.suptitle(caption, fontsize=9, color="0.35")
    axes = np.ravel(figure.subplots(rows, COLUMNS, squeeze=False))
    for axis, exhibit in zip(axes, progress(exhibits), strict=False):
        image = read_image(exhibit.path)
        faces = detect(image)
        wanted = exhibit.picture.boxes[exhibit.picture.keep[0]]
        corners = np.concatenate([wanted[:, :2], wanted[:, :2] + wanted[:, 2:]], 1)
        overlap = iou(corners.astype(np.float32), faces.boxes)
        hits = int((overlap.max(1, initial=0) >= IOU).sum())
        axis.imshow(annotate(image, faces))
        axis.set_title(f"{exhibit.condition}: {hits} of {len(wanted)} found", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    save(figure, path)
