"""Pixels of any kind as uint8 [H, W, 3] RGB: those of PIL images, arrays and tensors."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""
CHANNELS = (1, 3, 4)
GRAY = 128
"""Shown through transparent pixels: neither black nor white faces vanish in it."""
BAND = 1 << 16
"""Pixels converted at a time, to avoid a second copy; with more, malloc's mmap doubles the time."""
ROUNDING = 1e-3
"""How far outside 0 to 1 a float image may be, as after resampling."""


@runtime_checkable
class Tensor(Protocol):
    """The part of `torch.Tensor` used here; torch is optional."""

    def detach(self) -> Any: ...  # noqa: D102
    def is_floating_point(self) -> bool: ...  # noqa: D102


class OtherArray(Protocol):
    """An array of another library, as JAX or xarray; some have `__dlpack__` instead."""

    def __array__(self) -> NDArray[Any]: ...


def to_rgb(image: PIL.Image.Image) -> Image:
    """The pixels of an 8-bit image of any mode, those that are transparent blended with gray."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = image.crop((0, top, width, bottom))
        if band.has_transparency_data:
            background = PIL.Image.new("RGBA", band.size, (GRAY, GRAY, GRAY))
            band = PIL.Image.alpha_composite(background, band.convert("RGBA"))
        rgb[top:bottom] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return rgb


def from_tensor(source: Tensor) -> Image:
    """The pixels of a torch tensor on any device, channels first unless that cannot be."""
    tensor = source.detach().cpu()
    pixels: NDArray[Any] = (tensor.float() if source.is_floating_point() else tensor).numpy()
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    return from_array(pixels)


def from_array(array: NDArray[Any]) -> Image:
    """The pixels of an array, channels last unless that cannot be."""
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNELS and pixels.shape[0] in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS or pixels.size == 0:
        raise ValueError(
            f"an array of shape {array.shape} is not an image; expected (H, W), (H, W, 3), "
            "(H, W, 4) or (3, H, W) with at least one pixel"
        )
    pixels = _to_uint8(pixels)
    if pixels.shape[2] == 4:
        return to_rgb(PIL.Image.fromarray(np.ascontiguousarray(pixels)))
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels)


def _to_uint8(pixels: NDArray[Any]) -> Image:
    """The 256 levels: of uint16 or float of 0 to 1 the nearest, of other integers themselves."""
    # The name, because a type of the other byte order is not equal to its native twin.
    kind = pixels.dtype.name
    if kind == "uint8":
        return pixels
    if pixels.dtype.kind not in "iuf":
        raise ValueError(f"an array of {kind} is not an image; expected integers or float")
    most = 1 if pixels.dtype.kind == "f" else 65535 if kind == "uint16" else 255
    low, high = pixels.min(), pixels.max()
    # Written so that NaN fails too.
    if not (low >= -ROUNDING and high <= most + ROUNDING):
        hint = "; divide by 255 where it holds 0 to 255" if most == 1 else ""
        shown = f"{low:g} to {high:g}{hint}"
        raise ValueError(f"an image of {kind} holds 0 to {most}, but this one {shown}")
    return np.asarray(np.rint(pixels.clip(0, most) * (255 / most)), np.uint8)
