"""What a picture file tells beside its pixels: EXIF and colour profile, without other pictures.

EXIF is a TIFF structure (CIPA DC-008, 4.5): directories of entries with a tag, a type, a count and
a value. Here it is read and written anew, so that nothing is left of what is dropped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

BYTE_ORDERS = {b"II": "<", b"MM": ">"}
VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value of each TIFF type."""
SHORT, LONG = 3, 4
BINARY = frozenset({1, 6, 7})
"""Types of values that may hold any bytes."""
LONGEST = 512
"""Bytes that a binary value may have: longer ones, as Photoshop's, can hold a small picture."""

ORIENTATION, WIDTH, HEIGHT = 0x0112, 0xA002, 0xA003
EXIF = 0x8769
DIRECTORIES = frozenset({EXIF, 0x8825, 0xA005})
"""Tags that point to a directory: EXIF, GPS and interoperability."""
DROPPED = frozenset({0x014A, 0x0201, 0x0202, 0x927C})
"""Further directories of pictures, a thumbnail, and a maker's own notes, often with previews."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is written into a picture file beside the pixels.

    Attributes:
        exif: a TIFF structure, or nothing.
        profile: an ICC colour profile, or nothing.
    """

    exif: bytes = b""
    profile: bytes = b""


NO_METADATA = Metadata()

Entry = tuple[int, int, bytes]
"""Type, count and value."""
Directory = dict[int, "Entry | Directory"]
"""By tag."""


def read_metadata(path: Path) -> Metadata:
    """The EXIF and colour profile of a picture, fit for its upright pixels.

    JPEG, PNG and WebP give both, AVIF EXIF alone, the other formats nothing. Thumbnails, makers'
    notes and binary values over 512 bytes, which may show the picture as it was, are left out,
    and so is XMP. The orientation is reset. Profiles for other than RGB pixels do not fit.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the EXIF is broken, or `path` is a pipe, which can be read only once.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file; write it without metadata")
    data = np.frombuffer(path.read_bytes(), np.uint8)
    # Only the metadata is wanted, so decoding may be cheap.
    _, kinds, chunks = cv2.imdecodeWithMetadata(data, flags=cv2.IMREAD_REDUCED_GRAYSCALE_8)
    found = {
        int(kind): np.asarray(chunk, np.uint8).tobytes()
        for kind, chunk in zip(kinds, chunks, strict=True)
    }
    exif = found.get(cv2.IMAGE_METADATA_EXIF, b"").removeprefix(b"Exif\0\0")
    profile = found.get(cv2.IMAGE_METADATA_ICCP, b"")
    try:
        return Metadata(upright_exif(exif), profile if profile[16:20] == b"RGB " else b"")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; write it without metadata") from error


def upright_exif(exif: bytes) -> bytes:
    """EXIF for pixels that were turned upright, without pictures in it.

    Raises:
        ValueError: the structure is broken.
    """
    if not exif:
        return b""
    order = BYTE_ORDERS.get(exif[:2])
    if order is None:
        raise ValueError(f"its EXIF begins with {exif[:4]!r}")
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        # What follows the first directory is the thumbnail's.
        directory = _read(exif, order, start, DIRECTORIES)
    except struct.error as error:
        raise ValueError("its EXIF is cut off") from error
    orientation = directory.get(ORIENTATION)
    if isinstance(orientation, tuple):
        lying = orientation[2] in {struct.pack(order + "H", value) for value in range(5, 9)}
        sizes = directory.get(EXIF)
        if lying and isinstance(sizes, dict) and WIDTH in sizes and HEIGHT in sizes:
            sizes[WIDTH], sizes[HEIGHT] = sizes[HEIGHT], sizes[WIDTH]
        directory[ORIENTATION] = SHORT, 1, struct.pack(order + "H", 1)
    return exif[:4] + struct.pack(order + "I", 8) + _pack(order, directory, 8)


def _read(exif: bytes, order: str, start: int, below: frozenset[int]) -> Directory:
    """The directory at `start`, with those that its tags among `below` point to."""
    directory: Directory = {}
    total = 0
    (count,) = struct.unpack_from(order + "H", exif, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number, offset = struct.unpack_from(order + "HHII", exif, place)
        length = VALUE_SIZES.get(kind, 0) * number
        if tag in below:
            # Without its own tag, so that directories that point to each other come to an end.
            directory[tag] = _read(exif, order, offset, below - {tag})
        elif tag not in DROPPED and not (kind in BINARY and length > LONGEST):
            first = place + 8 if length <= 4 else offset
            if first + length > len(exif):
                raise ValueError(f"its EXIF is cut off at tag {tag:#06x}")
            total += length
            if total > len(exif):
                raise ValueError(f"its EXIF of {len(exif):,} bytes has values of more")
            directory[tag] = kind, number, exif[first : first + length]
    return directory


def _pack(order: str, directory: Directory, start: int) -> bytes:
    """The bytes of a directory that begins at `start`, with its values and those below it."""
    table, values = struct.pack(order + "H", len(directory)), b""
    end = start + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        place = struct.pack(order + "I", end + len(values))
        if isinstance(entry, dict):
            kind, number = LONG, 1
            values += _pack(order, entry, end + len(values))
        else:
            kind, number, value = entry
            if len(value) <= 4:
                place = value.ljust(4, b"\0")
            else:
                # Values begin at even places.
                values += value + b"\0" * (len(value) % 2)
        table += struct.pack(order + "HHI", tag, kind, number) + place
    return table + bytes(4) + values
