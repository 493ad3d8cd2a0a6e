from __future__ import annotations

import csv
from pathlib import Path

import pytest

from extd.catalog import AveragePrecision, ModelInfo, Weights, load_catalog
from extd.images import read_image
from extd.measure.tradeoff import (
    WHOLE,
    benched_points,
    catalog_points,
    load_published,
    plot_tradeoff,
    tradeoff_row,
)

AP = AveragePrecision(0.8, 0.7, 0.6)
WEIGHTS = Weights("a.onnx", "0" * 64, 1, AP, 363, "", "")
MODELS = [ModelInfo("extd-a", 1000, 2_000_000, WEIGHTS), ModelInfo("extd-b", 1, 2, None)]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "ap.csv"
    rows = [
        ("yunet_n_dynamic", 363, 0.86, 0.85, 0.8, 6.0, 7.0),
        ("extd-a", 363, 0.81, 0.71, 0.61, 9.0, 10.0),
        ("opencv", 363, 0.5, 0.4, 0.3, "", 12.0),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["detector", "images", "easy", "medium", "hard", "network_ms", "whole_ms"])
        table.writerows(rows)
    return path


def test_every_published_point_has_a_source_and_plausible_numbers() -> None:
    points = load_published()
    assert len({(point.name, point.images) for point in points}) == len(points)
    models = {model.name: model for model in load_catalog()}
    for point in points:
        assert point.source
        assert point.images in (363, WHOLE)
        assert all(0 < ap < 1 for ap in point.ap.values())
        if point.detector in models:
            assert point.macs == models[point.detector].macs
            assert point.parameters == models[point.detector].parameters


def test_models_with_measured_weights_are_points() -> None:
    (point,) = catalog_points(MODELS)
    assert (point.name, point.images, point.parameters, point.macs) == ("extd-a", 363, 1000, 2e6)
    assert point.ap == {"easy": 0.8, "medium": 0.7, "hard": 0.6}


def test_a_bench_replaces_what_was_known_and_gives_times(bench: Path) -> None:
    before = [*catalog_points(MODELS), *load_published()]
    after = benched_points(bench, before)
    named = {(point.name, point.images): point for point in after}
    assert named["extd-a", 363].time == 1.5
    assert named["extd-a", 363].ap["hard"] == 0.61
    assert named["extd-a", 363].macs == 2_000_000
    assert named["opencv", 363].time == 2
    assert named["YuNet-n", 363].ap["easy"] == 0.86
    assert named["YuNet-n", WHOLE] in before
    assert len(after) == len(before) + 1


def test_a_bench_without_the_unit_of_time_is_refused(bench: Path) -> None:
    text = bench.read_text(encoding="utf-8")
    bench.write_text(text.replace("yunet_n_dynamic", "other"), encoding="utf-8")
    with pytest.raises(ValueError, match="yunet_n_dynamic"):
        benched_points(bench, [])
    bench.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no ap\.csv of extd bench"):
        benched_points(bench, [])
    with pytest.raises(FileNotFoundError, match="extd bench"):
        benched_points(bench.with_name("none.csv"), [])


def test_the_picture_has_a_panel_a_cost(bench: Path, tmp_path: Path) -> None:
    points = benched_points(bench, [*catalog_points(MODELS), *load_published()])
    plot_tradeoff(points, "hard", tmp_path / "three.png")
    plot_tradeoff(catalog_points(MODELS), "easy", tmp_path / "two.png")
    three, two = (read_image(tmp_path / f"{name}.png").shape for name in ("three", "two"))
    assert (three[0], 2 * three[1]) == (two[0], 3 * two[1])
    with pytest.raises(ValueError, match="hard"):
        plot_tradeoff([], "hard", tmp_path / "none.png")
    row = tradeoff_row(points[0])
    assert (row["name"], row["time_yunet_n_1"]) == ("YuNet-n", 1)
