"""What Pillow refuses or ignores: PNG files with damaged notes, the clean aperture of AVIF."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import IO

from PIL import PngImagePlugin

Rectangle = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""
ANCILLARY = 0x20
"""Set in the first letter of a chunk that readers may skip."""
FRAMES = frozenset({b"acTL", b"fcTL", b"fdAT"})
"""Those that hold pixels of an animation nevertheless."""
MAX_TEXT = 1 << 24
"""Bytes of a color profile or text; in Pillow it is 1 MB, which printers' and editors' exceed."""


class LenientStream(PngImagePlugin.PngStream):
    """Skips chunks of notes that are damaged or too long, instead of refusing the file."""

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Read a chunk; one that is skipped is empty."""
        try:
            return super().call(cid, pos, length)
        except (ValueError, SyntaxError, IndexError, struct.error):
            if not _is_note(cid) or self.fp is None:
                raise
            self.fp.seek(pos + length)
            return b""

    def crc(self, cid: bytes, data: bytes) -> None:
        """Check a chunk's checksum, if its content matters."""
        (self.crc_skip if _is_note(cid) else super().crc)(cid, data)


def make_lenient() -> None:
    """Let Pillow, in the whole process, read such files."""
    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_TEXT)
    PngImagePlugin.PngStream = LenientStream  # type: ignore[misc]


def late_exif(file: IO[bytes]) -> bytes:
    """The EXIF behind the pixels of an open PNG file, which Pillow finds by decoding them."""
    position = file.tell()
    exif, at = b"", 8
    while file.seek(at) and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            exif = file.read(length)
        at += length + 12
    file.seek(position)
    return exif


def _is_note(kind: bytes) -> bool:
    return bool(kind[0] & ANCILLARY) and kind not in FRAMES


def clean_aperture(data: bytes, width: int, height: int) -> Rectangle | None:
    """What an AVIF file, whose pixels are `width` x `height`, shows of them; None for all.

    Sides between two pixels are rounded inwards. See ISO/IEC 14496-12, 12.1.4.

    Raises:
        ValueError: the aperture is not within the pixels, or it is that of a sequence.
        struct.error: a box is cut off.
    """
    boxes = dict(_boxes(data))
    if b"clap" in boxes.get(b"moov", b""):
        raise ValueError("it is a cropped image sequence, which is not read")
    found = [content for kind, content in _properties(boxes.get(b"meta", b"")) if kind == b"clap"]
    if not found:
        return None
    numbers = struct.unpack_from(">4I", found[0]), struct.unpack_from(">iIiI", found[0], 16)
    if 0 in (*numbers[0][1::2], *numbers[1][1::2]):
        raise ValueError("its clean aperture divides by 0")
    sides = [Fraction(*numbers[0][i : i + 2]) for i in (0, 2)]
    shifts = [Fraction(*numbers[1][i : i + 2]) for i in (0, 2)]
    near = [
        (full - side) / 2 + shift
        for full, side, shift in zip((width, height), sides, shifts, strict=True)
    ]
    x1, y1 = (math.ceil(value) for value in near)
    x2, y2 = (math.floor(value + side) for value, side in zip(near, sides, strict=True))
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"its clean aperture {x1},{y1},{x2},{y2} is not in {width} x {height} px")
    return x1, y1, x2, y2


def _properties(meta: bytes) -> list[tuple[bytes, bytes]]:
    """The properties of the primary item (ISO/IEC 23008-12, 9.3), as kind and content."""
    boxes = dict(_boxes(meta[4:]))
    lists = dict(_boxes(boxes.get(b"iprp", b"")))
    if not lists.keys() >= {b"ipco", b"ipma"} or b"pitm" not in boxes:
        return []
    pitm, ipma = boxes[b"pitm"], lists[b"ipma"]
    (primary,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    properties = list(_boxes(lists[b"ipco"]))
    wide = ipma[3] & 1
    (items,) = struct.unpack_from(">I", ipma, 4)
    position, used = 8, []
    for _ in range(items):
        kind = ">IB" if ipma[0] else ">HB"
        item, count = struct.unpack_from(kind, ipma, position)
        position += struct.calcsize(kind)
        indices = struct.unpack_from(f">{count}{'H' if wide else 'B'}", ipma, position)
        position += count * (2 if wide else 1)
        if item == primary:
            # The highest bit says whether a reader must know the property.
            used += [index & (0x7FFF if wide else 0x7F) for index in indices]
    return [properties[index - 1] for index in used if 0 < index <= len(properties)]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and content of each box; those that are cut off or broken end it."""
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if length == 1 and position + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        end = position + length if length else len(data)
        if end < position + header:
            return
        yield kind, data[position + header : end]
        position = end
