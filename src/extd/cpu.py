"""Whether this processor does int8 arithmetic faster than float."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
"""What Linux calls instructions that multiply and add four bytes at once."""


@cache
def has_int8() -> bool:
    """Whether it has VNNI (x86) or dot products (Arm), without which int8 is no gain."""
    try:
        return not DOT_PRODUCTS.isdisjoint(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        # Every Mac with Arm has them; of other systems nothing is known.
        return platform.system() == "Darwin" and platform.machine() == "arm64"
