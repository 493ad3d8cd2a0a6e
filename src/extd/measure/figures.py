"""One style for the pictures of everything that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DPI = 130
MARKERS = "osD^vPX*<>"
"""With the ten colours they tell apart a hundred detectors."""


def import_figure() -> type[Figure]:
    """Matplotlib's figure.

    Raises:
        ImportError: Matplotlib is missing; the message tells what to install.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('drawing needs Matplotlib; run: pip install "extd[eval]"') from error
    return Figure


def look_of(index: int) -> tuple[str, str]:
    """Colour and marker of a detector."""
    return f"C{index % 10}", MARKERS[index % len(MARKERS)]


def tidy(axis: Axes) -> None:
    """A pale grid, and no frame above and on the right."""
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def plain_ticks(line: Axis) -> None:
    """Numbers as 0.5, 1, 2, 5, 10 rather than powers of ten on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    line.set_major_locator(LogLocator(subs=(1, 2, 5)))
    line.set_major_formatter(StrMethodFormatter("{x:g}"))
    line.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write the picture, whole or not at all; its suffix is the format."""
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=DPI)
