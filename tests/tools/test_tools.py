from __future__ import annotations

import json
from pathlib import Path

import card
import catalog
import numpy as np
import pytest

from extd.catalog import CATALOG, load_catalog


@pytest.mark.slow
def test_the_catalog_is_what_the_tool_writes() -> None:
    records = json.loads(CATALOG.read_text(encoding="utf-8"))
    counted = catalog.counted({record["name"]: record for record in records})
    assert list(counted.values()) == records


def test_a_long_log_is_thinned_to_means() -> None:
    steps = np.arange(1.0, 2001)
    columns = {"step": steps.tolist(), "loss": (2 * steps).tolist(), "seconds": steps.tolist()}
    header, *rows = card.thinned(columns)
    assert header == ["step", "loss"]
    assert len(rows) == card.LOG_ROWS
    assert rows[0] == ["4", "5"]
    assert rows[-1] == ["2000", f"{2 * 1998.5:.5g}"]


def test_a_continued_run_took_the_time_of_all_its_processes() -> None:
    assert card.hours_of([600, 1800, 900, 3600]) == pytest.approx(1.5)


def test_every_model_that_ships_has_a_card_that_lists_its_runs() -> None:
    for model in load_catalog():
        if model.weights:
            assert card.runs_of(card.CARDS / f"{model.name}.md").startswith("- ")
    with pytest.raises(SystemExit, match="it lists no runs"):
        card.runs_of(Path(__file__))
