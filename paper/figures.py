"""The style of the report's figures, and how they are saved."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from extd.files import atomic_write

STYLE = Path(__file__).with_name("paper.mplstyle")


def save_figure(figure: Figure, path: Path) -> None:
    """Save and close a figure."""
    with atomic_write(path) as partial:
        figure.savefig(partial)
    plt.close(figure)
