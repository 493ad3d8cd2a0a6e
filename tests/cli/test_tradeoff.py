from __future__ import annotations

import csv
from pathlib import Path

import pytest

from extd.catalog import load_catalog
from extd.cli.app import main

Captured = pytest.CaptureFixture[str]


def test_it_draws_and_lists_our_models_and_published_ones(tmp_path: Path, capsys: Captured) -> None:
    assert main(["plot", "tradeoff", "--out", str(tmp_path), "--difficulty", "easy"]) == 0
    assert "tradeoff.csv" in capsys.readouterr().out
    assert (tmp_path / "tradeoff.png").stat().st_size > 10_000
    with (tmp_path / "tradeoff.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measured = {model.name for model in load_catalog() if model.weights and model.weights.ap}
    assert measured | {"YuNet-n", "EResFD"} <= {row["name"] for row in rows}
    assert all(row["source"] for row in rows)
