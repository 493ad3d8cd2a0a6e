from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from extd.images import read_image
from extd.training.journal import open_journal
from extd.training.plots import plot_run, smooth
from extd.training.step import Report


def test_a_run_becomes_a_picture(tmp_path: Path) -> None:
    assert plot_run(tmp_path) is None
    with open_journal(tmp_path, 0) as journal:
        for step in range(1, 100):
            loss = 1 / step
            journal.add(step, loss, Report(loss, loss, 0, 0, 0, 1, 1, stop=False), step, 0)
    path = plot_run(tmp_path)
    assert path is not None
    low = read_image(path).shape
    with open_journal(tmp_path, 99) as journal:
        journal.measured(99, {"all": 0.5, "small": 0.4, "medium": 0.5, "large": 1.0})
    plot_run(tmp_path)
    assert read_image(path).shape[0] > low[0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_smoothing_stays_among_the_values(values: list[float]) -> None:
    averaged = smooth(np.array(values))
    assert averaged.shape == (len(values),)
    assert averaged[0] == values[0]
    assert averaged.min() >= min(values) - 1e-9
    assert averaged.max() <= max(values) + 1e-9
