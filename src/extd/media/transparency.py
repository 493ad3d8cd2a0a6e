"""Images with transparent parts: what is seen of them, covered and kept apart from the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from extd.faces import Faces
from extd.files import open_file
from extd.images import load_upright, open_pil, read_image
from extd.media.anonymize import AnonymizeOptions, anonymize
from extd.pixels import GRAY, Image

PARTLY = 0.1
"""Share of a face's pixels that must be half transparent for its opacity to show the face, too."""
ONE_CELL = 100.0
"""A strength at which `pixelate` leaves one cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The colors and the opacity of an image that is transparent somewhere."""

    color: Image  # uint8 [H, W, 3], RGB; mid gray wherever alpha is 0, so that nothing hides there
    alpha: NDArray[np.uint8]  # uint8 [H, W], from 0, transparent, to 255, opaque

    def __post_init__(self) -> None:
        """Remove the colors that are not seen."""
        self.color[self.alpha == 0] = GRAY

    @property
    def rgba(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 4]."""
        return np.dstack([self.color, self.alpha])

    def flatten(self) -> Image:
        """The image on mid gray, as detectors see it; uint8 [H, W, 3], RGB."""
        return read_image(self.rgba)

    def anonymize(self, faces: Faces, options: AnonymizeOptions) -> Layers:
        """Cover faces; also in the opacity, where that alone can show a face."""
        color = anonymize(self.color, faces, options)
        shown = faces[np.array([self._is_partly(box) for box in faces.boxes], np.bool_)]
        gray = np.repeat(self.alpha[..., None], 3, axis=2)
        if options.method != "blur":
            strength = options.strength if options.method == "pixelate" else ONE_CELL
            options = replace(options, method="pixelate", strength=strength, image=None)
        return Layers(color, anonymize(gray, shown, options, out=gray)[..., 0])

    def _is_partly(self, box: NDArray[np.float32]) -> bool:
        """Whether a part of the box is neither transparent nor opaque."""
        x1, y1, x2, y2 = box.clip(0).astype(int)
        alpha = self.alpha[y1 : y2 + 1, x1 : x2 + 1]
        return bool(alpha.size and ((alpha > 0) & (alpha < 255)).mean() > PARTLY)


def layers_of(image: PIL.Image.Image, name: str) -> Layers | None:
    """The layers of an image, upright; None if it is opaque. Errors are those of `read_image`."""
    if not image.has_transparency_data or image.mode.startswith(("F", "I")):
        return None
    layers = split(np.array(load_upright(image, name).convert("RGBA")))
    return None if layers.alpha.min() == 255 else layers


def split(pixels: NDArray[np.uint8]) -> Layers:
    """The layers of RGBA pixels, uint8 [H, W, 4], which are copied."""
    return Layers(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]))


def read_layers(path: Path) -> Layers | None:
    """The layers of an image file; None if it is opaque, or a pipe, which is read only once."""
    if not path.is_file():
        return None
    with open_file(path) as file:
        return layers_of(open_pil(file, str(path)), str(path))
