"""Refuse files above 300 kB, since the history would keep them for good; run by pre-commit."""

import sys
from pathlib import Path

MAX_BYTES = 300_000

sizes = {path: Path(path).stat().st_size for path in sys.argv[1:]}
sys.exit(
    "\n".join(
        f"{path} has {size:,} bytes; commit at most {MAX_BYTES:,}"
        for path, size in sizes.items()
        if size > MAX_BYTES
    )
    or None
)
