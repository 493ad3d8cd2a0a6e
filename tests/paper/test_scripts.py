"""A smoke test of each script, on a few images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ablation
import cost_table
import cv2
import gallery
import numpy as np
import pandas as pd
import precision_recall
import pytest
import tradeoff
from scipy.io import savemat

from extd.catalog import load_catalog
from extd.evaluation.wider import load_ground_truth
from extd.images import read_image
from extd.models.config import LITE_CONFIGS, S3fdConfig, parse_name


def test_precision_and_recall_of_ours_and_of_official_curves(
    wider_files: Any, tmp_path: Path
) -> None:
    points = np.column_stack([np.linspace(1, 0.5, 1000), np.linspace(0, 0.8, 1000)])
    savemat(tmp_path / "wider_pr_info_x_easy_val.mat", {"pr_cruve": points, "legend_name": "Other"})
    folders = [str(folder) for folder in wider_files.found]
    options = ["--ground-truth", str(wider_files.truth), "--out", str(tmp_path / "out")]
    precision_recall.main([*folders, *options, "--official", str(tmp_path)])
    table = pd.read_csv(tmp_path / "out/pr.csv")
    assert table.groupby("detector")["recall"].max().to_dict() == {
        "good": 1.0,
        "poor": 0.5,
        "Other": 0.8,
    }
    assert read_image(tmp_path / "out/pr.png").std() > 5
    with pytest.raises(FileNotFoundError, match="wider_pr_info"):
        precision_recall.load_official(wider_files.images)


def test_the_gallery_is_a_page_of_images_chosen_by_a_rule(
    wider_files: Any, tmp_path: Path, toy: str
) -> None:
    page = tmp_path / "page.png"
    files = ["--images", str(wider_files.images), "--ground-truth", str(wider_files.truth)]
    gallery.main([*files, "--model", toy, "--threads", "1", "--out", str(page)])
    assert read_image(page).std() > 5
    truth = load_ground_truth(wider_files.truth)
    chosen = gallery.choose(["0--Parade/a", "0--Parade/b"], truth, wider_files.truth)
    # Each image has one large face; only the first has one in an atypical pose.
    assert {name: image.key for name, image in chosen.items()} == {
        ">= 192 px": "0--Parade/a",
    }


def test_a_network_is_counted_and_joined_with_what_is_known() -> None:
    model = next(model for model in load_catalog() if model.name == "extd-fpn-32-prelu")
    assert model.weights is not None
    table = cost_table.cost_table([S3fdConfig(), parse_name(model.name)])
    row = table.iloc[1]
    assert (row["parameters"], row["macs_640x480"]) == (model.parameters, model.macs)
    assert row["macs_640x640"] == pytest.approx(model.macs * 4 / 3, rel=1e-3)
    assert (row["onnx_bytes"], row["images"]) == (model.weights.float32.bytes, model.weights.images)
    text = cost_table.readable(table)
    assert "23.8 (28.3)" in text
    assert f"{model.parameters:,}" in text


@pytest.mark.slow
def test_the_cost_table_has_all_networks_of_the_paper(tmp_path: Path) -> None:
    cost_table.main(["--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "models.csv").set_index("model")
    assert len(table) == 22
    known = pd.read_csv(Path(__file__).parents[2] / "docs/results/models/models.csv")
    known = known.set_index("model").loc[table.index]
    counts = ["parameters", "macs_640x480", "hooked_macs_640x640", "peak_activation_bytes_640x480"]
    pd.testing.assert_frame_equal(table[counts], known[counts])
    assert (tmp_path / "models.png").stat().st_size > 10_000


def test_the_trade_off_takes_what_was_measured_for_what_was_known(tmp_path: Path) -> None:
    ours = next(iter(LITE_CONFIGS))
    rows = [
        {"detector": ours, "images": 363, "network_ms": 12.0, "whole_ms": 13.0},
        {"detector": "yunet_n_dynamic", "images": 363, "network_ms": 6.0, "whole_ms": 7.0},
        {"detector": "unknown", "images": 363, "network_ms": None, "whole_ms": 3.0},
    ]
    ap = {"easy": 0.9, "medium": 0.8, "hard": 0.7}
    pd.DataFrame([row | ap for row in rows]).to_csv(tmp_path / "ap.csv", index=False)
    tradeoff.main(["--accuracy", str(tmp_path / "ap.csv"), "--out", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out/tradeoff.csv")
    measured = table[table["images"] == 363].set_index("name")
    assert measured.loc[[ours, "YuNet-n", "unknown"], "time_yunet_n_1"].tolist() == [2, 1, 0.5]
    assert measured["macs_640x480"][ours] > 1e8
    # Several of the authors' checkpoints are no detector of ours, and none replaces another.
    assert measured.index.is_unique
    assert {"EXTD-32 (authors)", "EXTD-64 (authors)"} <= set(measured.index)
    assert read_image(tmp_path / "out/tradeoff.png").std() > 5
    pd.DataFrame([rows[0] | ap]).to_csv(tmp_path / "ap.csv", index=False)
    with pytest.raises(ValueError, match="no yunet_n_dynamic"):
        tradeoff.with_measured(tradeoff.known_detectors(), tmp_path / "ap.csv")


def test_the_ablation_trains_measures_and_continues(wider_files: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    entry = {"image": "a.png", "width": 160, "height": 120, "boxes": [[40, 30, 90, 90]]}
    (tmp_path / "labels.jsonl").write_text(json.dumps({**entry, "ignore": [], "source": "a"}))
    (tmp_path / "recipe.yaml").write_text(
        "{model: extd-lite-nano, data: {sets: [{path: labels.jsonl}]}, iterations: 1, batch: 2,"
        " augmentation: {crop_sizes: [128]}}"
    )
    (tmp_path / "grid.yaml").write_text(
        "{recipe: recipe.yaml, changes: {compute.precision: fp32},"
        " variants: {first: {}, second: {seed: 1}}}"
    )
    out = tmp_path / "out"
    files = ["--images", str(wider_files.images), "--ground-truth", str(wider_files.truth)]
    command = ["--grid", str(tmp_path / "grid.yaml"), *files, "--out", str(out), "--threads", "1"]
    ablation.main([*command, "--only", "second"])
    assert pd.read_csv(out / "results.csv")["variant"].tolist() == ["second"]
    # What has a result is not trained again.
    (out / "first").mkdir()
    row = json.loads((out / "second/result.json").read_text())
    (out / "first/result.json").write_text(json.dumps(row | {"variant": "first", "hard": 0.5}))
    ablation.main(command)
    assert "| first     | 58,895" in (out / "results.md").read_text(encoding="utf-8")
    assert "0.500 (best)" in (out / "results.md").read_text(encoding="utf-8")
    assert read_image(out / "results.png").std() > 5


def test_every_variant_of_the_paper_is_a_recipe() -> None:
    recipes = ablation.load_variants(ablation.HERE / "ablation.yaml", [Path("labels.jsonl")])
    assert len(recipes) == 18
    assert all(recipe.model == name for name, recipe in recipes.items())
