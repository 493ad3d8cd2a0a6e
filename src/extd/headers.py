"""The size of a picture from the first bytes of its file, without decoding it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

TIFF_WIDTH, TIFF_HEIGHT = 256, 257
TIFF_SHORT, TIFF_LONG, TIFF_LONG8 = 3, 4, 16

Size = tuple[int, int]
Buffer = bytes | bytearray | memoryview


HEAD = 1 << 16
"""Bytes in which the size of a picture is looked for first."""


def encoded_size(data: Buffer) -> Size | None:
    """Width and height in px as they are stored, before EXIF or the like turns the picture.

    None where the bytes are too few, are damaged, or begin no JPEG, PNG, WebP, AVIF, TIFF, BMP or
    GIF.
    """
    head = bytes(data[:32])
    try:
        if head.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _numbers(">II", data, 16)
        if head.startswith((b"GIF87a", b"GIF89a")):
            return _numbers("<HH", data, 6)
        if head.startswith(b"BM"):
            return _bmp(data)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp(data)
        if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
            return _tiff(data)
        if head[4:8] == b"ftyp":
            return _avif(data)
    # BigTIFF can point further than any file reaches.
    except (struct.error, IndexError, OverflowError):
        pass
    return None


def _numbers(layout: str, data: Buffer, start: int) -> Size:
    """Two numbers at a place; `struct.error` where the bytes end before."""
    width, height = struct.unpack_from(layout, data, start)
    return width, height


def _jpeg(data: Buffer) -> Size | None:
    """From the frame header (ITU-T T.81, B.2)."""
    start = 2
    while True:
        # Decoders pass over fill, and over stray bytes between segments.
        while data[start] != 0xFF or data[start + 1] in {0x00, 0xFF}:
            start += 1
        marker = data[start + 1]
        # 01 and D0 to D7 stand alone.
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            start += 2
            continue
        # C4, C8 and CC are tables and an extension.
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = _numbers(">HH", data, start + 5)
            return width, height
        if marker == 0xDA:
            return None
        start += 2 + struct.unpack_from(">H", data, start + 2)[0]


def _bmp(data: Buffer) -> Size:
    """From the information header, which has 12 bytes in OS/2's; the height may be negative."""
    (length,) = struct.unpack_from("<I", data, 14)
    width, height = _numbers("<HH" if length == 12 else "<ii", data, 18)
    return width, abs(height)


def _webp(data: Buffer) -> Size | None:
    """From the first chunk (RFC 9649, 2.7)."""
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return 1 + width, 1 + height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _numbers("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: Buffer) -> Size | None:
    """From the first directory (TIFF 6.0, section 2); BigTIFF has longer counts and offsets."""
    order = "<" if data[0] == ord("I") else ">"
    big = ord("+") in bytes(data[2:4])
    count_layout, entry_layout, word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + count_layout, data, start)
    start += struct.calcsize(order + count_layout)
    head = struct.calcsize(order + entry_layout)
    sides: dict[int, int] = {}
    length = head + (8 if big else 4)
    for place in range(start, min(start + count * length, len(data)), length):
        tag, kind, _ = struct.unpack_from(order + entry_layout, data, place)
        if tag in {TIFF_WIDTH, TIFF_HEIGHT}:
            value = {TIFF_SHORT: "H", TIFF_LONG: "I", TIFF_LONG8: "Q"}.get(kind)
            if value is None:
                return None
            (sides[tag],) = struct.unpack_from(order + value, data, place + head)
        if len(sides) == 2:
            return sides[TIFF_WIDTH], sides[TIFF_HEIGHT]
    return None


def _avif(data: Buffer) -> Size | None:
    """The largest of the extents `ispe`: those of thumbnails and of a grid's cells are smaller."""
    sizes = [_numbers(">II", value, 4) for kind, value in avif_properties(data) if kind == b"ispe"]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def avif_properties(data: Buffer) -> Sequence[tuple[bytes, bytes]]:
    """Type and content of the item properties of an AVIF file (ISO/IEC 23008-12, 9.3)."""
    content = bytes(dict(iso_boxes(data)).get(b"meta", b"")[4:])
    for kind in (b"iprp", b"ipco"):
        content = bytes(dict(iso_boxes(content)).get(kind, b""))
    return [(kind, bytes(value)) for kind, value in iso_boxes(content)]


def iso_boxes(data: Buffer) -> list[tuple[bytes, memoryview]]:
    """Type and content of the boxes in a row (ISO/IEC 14496-12, 4.2)."""
    view = memoryview(data)
    boxes = []
    start = 0
    while start + 8 <= len(view):
        size = int.from_bytes(view[start : start + 4], "big")
        # A size of 0 means up to the end, 1 a 64-bit size after the type.
        if size == 1:
            size = int.from_bytes(view[start + 8 : start + 16], "big")
        end = start + size if size else len(view)
        if end < start + 8:
            break
        boxes.append((bytes(view[start + 4 : start + 8]), view[start + 8 : end]))
        start = end
    return boxes
