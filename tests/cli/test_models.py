from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from extd.catalog import AveragePrecision, ModelInfo, Weights, WeightsFile, load_catalog
from extd.cli.app import main
from extd.cli.models import model_table

Captured = pytest.CaptureFixture[str]


def test_the_table_has_the_models_that_can_be_run(capsys: Captured) -> None:
    assert main(["models"]) == 0
    *table, note, rest = capsys.readouterr().out.splitlines()[1:]
    assert note == "AP on 363 of WIDER FACE's 3,226 validation images"
    catalog = load_catalog()
    shipped = [model.name for model in catalog if model.weights]
    assert [line.split()[0] for line in table] == shipped
    assert rest == f"{len(catalog) - len(shipped)} more models without weights: extd models --all"


def test_all_models_are_listed_with_their_size(capsys: Captured) -> None:
    assert main(["models", "--all"]) == 0
    *table, note = capsys.readouterr().out.splitlines()[1:]
    assert note.startswith("AP on 363")
    rows = [line.split() for line in table]
    assert [row[0] for row in rows] == [model.name for model in load_catalog()]
    assert ["extd-fpn-64-prelu", "162,352", "10,059", "M"] in [row[:4] for row in rows]


def test_the_table_tells_of_weights_and_their_ap() -> None:
    ap = AveragePrecision(0.9, 0.8512, 0.7)
    weights = Weights(WeightsFile("a.onnx", "0" * 64, 345_678, ap), None, 363, "WIDER", "MIT")
    console = Console(width=100)
    with console.capture() as capture:
        console.print(model_table((ModelInfo("extd-a", 1234, 5_600_000_000, weights),)))
    row = capture.get().splitlines()[1].split()
    assert row == ["extd-a", "1,234", "5,600", "M", "346", "kB", "0.900", "0.851", "0.700"]


def test_json_is_the_catalog(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "models.json"
    assert main(["models", "--all", "--json"]) == 0
    assert main(["models", "--all", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert path.read_text() == out
    every = [dataclasses.asdict(model) for model in load_catalog()]
    assert json.loads(out) == every
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [one for one in every if one["weights"]]
