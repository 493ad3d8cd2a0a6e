"""What an image file says beside its pixels: EXIF and color profile, without other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
from PIL.ExifTags import IFD, Base

from extd.images import ORIENTATION, catch_warnings, open_file, open_pil

FORMATS = frozenset({"JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF"})
"""Pillow's names of the formats whose metadata is kept; MPO is JPEG of several images."""
LONGEST = 512
"""Values that a tag may have: longer ones, as Photoshop's, can hold a small image."""
DROPPED = frozenset(
    {
        0x014A,  # further directories of images
        Base.JpegIFOffset,
        Base.JpegIFByteCount,
        Base.MakerNote,  # often with a preview
    }
)
DIRECTORIES = frozenset({IFD.Exif, IFD.GPSInfo, IFD.Interop})


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is written into an image file beside the pixels.

    Attributes:
        exif: `Exif`, two zeros and a TIFF structure (CIPA DC-008, 4.5), or nothing.
        profile: an ICC color profile, or nothing.
    """

    exif: bytes = b""
    profile: bytes = b""


NO_METADATA = Metadata()


def read_metadata(path: Path) -> Metadata:
    """The EXIF and color profile of an image, fit for its upright pixels.

    JPEG, PNG, WebP, AVIF and HEIC have them; of other formats nothing is kept. Thumbnails,
    makers' notes and values over 512 bytes or numbers, which may show the image as it was, are
    left out, and so is XMP. The orientation is reset. Profiles for other than RGB pixels do not
    fit.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the EXIF is broken, or `path` is a pipe, which can be read only once.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; write it without metadata")
    with open_file(path) as file:
        image = open_pil(file, str(path))
    if image.format not in FORMATS:
        return NO_METADATA
    profile = image.info.get("icc_profile") or b""
    try:
        exif = upright_exif(image.info.get("exif") or b"")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; write it without metadata") from error
    return Metadata(exif, profile if profile[16:20] == b"RGB " else b"")


def upright_exif(exif: bytes) -> bytes:
    """EXIF for pixels that were turned upright, without images in it.

    It is written anew, tag by tag, so that nothing is left of what is dropped.

    Raises:
        ValueError: the structure is broken.
    """
    if not exif:
        return b""
    try:
        # Pillow warns of damage, and goes on without the tag.
        with catch_warnings() as caught:
            written = _rewrite(exif)
    except Exception as error:  # SyntaxError, struct.error, KeyError, ...
        raise ValueError(f"its EXIF is broken: {error}") from error
    if caught:
        raise ValueError(f"its EXIF is broken: {caught[0].message}")
    return written


def _rewrite(exif: bytes) -> bytes:
    old, new = PIL.Image.Exif(), PIL.Image.Exif()
    old.load(exif)
    new.endian = old.endian
    for tag, value in _kept(old).items():
        new[tag] = value
    details = _kept(old.get_ifd(IFD.Exif))
    if interoperability := _kept(old.get_ifd(IFD.Interop)):
        details[IFD.Interop] = interoperability
    if new.get(ORIENTATION, 1) in {5, 6, 7, 8}:
        sides = Base.ExifImageWidth, Base.ExifImageHeight
        if all(side in details for side in sides):
            width, height = (details[side] for side in sides)
            details |= {Base.ExifImageWidth: height, Base.ExifImageHeight: width}
    if ORIENTATION in new:
        new[ORIENTATION] = 1
    for tag, directory in ((IFD.Exif, details), (IFD.GPSInfo, _kept(old.get_ifd(IFD.GPSInfo)))):
        if directory:
            new[tag] = directory
    return new.tobytes()


def _kept(directory: Mapping[int, Any]) -> dict[int, Any]:
    """The tags that may stay, without those that lead to other directories."""
    return {
        int(tag): value
        for tag, value in directory.items()
        if tag not in DROPPED | DIRECTORIES
        and not (isinstance(value, bytes | tuple) and len(value) > LONGEST)
    }
