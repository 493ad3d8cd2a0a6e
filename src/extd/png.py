"""PNG files that browsers show and Pillow refuses, for what is not about their pixels."""

from __future__ import annotations

import struct
from typing import IO

from PIL import PngImagePlugin

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
