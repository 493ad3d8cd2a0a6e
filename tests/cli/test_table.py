from __future__ import annotations

import csv
from pathlib import Path

import pytest

from extd.catalog import load_catalog
from extd.cli.app import main
from extd.cli.table import count_networks
from extd.models.config import parse_name

Captured = pytest.CaptureFixture[str]


def test_a_network_is_counted_and_joined_with_what_is_known() -> None:
    (row,) = count_networks([parse_name("extd-fpn-32-prelu")])
    model = next(model for model in load_catalog() if model.name == row.cost.name)
    assert model.weights is not None
    assert (row.cost.parameters, row.cost.macs) == (model.parameters, model.macs)
    assert row.cost.macs_square == pytest.approx(model.macs * 4 / 3, rel=1e-3)
    assert (row.onnx_bytes, row.ap) == (model.weights.bytes, model.weights.ap)
    assert (row.paper_macs, row.paper_parameters) == (28.3, None)


@pytest.mark.slow
def test_the_table_has_all_networks_and_agrees_with_the_catalog(
    tmp_path: Path, capsys: Captured
) -> None:
    assert main(["table", "models", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "23.8 (28.3)" in out
    with (tmp_path / "models.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert len(rows) == 22
    for model in load_catalog():
        assert int(rows[model.name]["parameters"]) == model.parameters
        assert int(rows[model.name]["macs_640x480"]) == model.macs
        if model.weights is not None:
            assert int(rows[model.name]["onnx_bytes"]) == model.weights.bytes
    text = (tmp_path / "models.md").read_text(encoding="utf-8")
    assert text.count("\n| extd-") == 20
    assert (tmp_path / "models.png").stat().st_size > 10_000
