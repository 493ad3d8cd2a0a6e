"""The built page of extd."""

from pathlib import Path

DIST = Path(__file__).parent / "dist"
"""A static folder that any host can serve."""
