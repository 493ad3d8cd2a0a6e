from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from extd.measure.curves import load_official, write_curves


def test_official_curves_are_found_by_name_and_difficulty(tmp_path: Path) -> None:
    points = np.column_stack([np.linspace(1, 0.5, 1000), np.linspace(0, 0.8, 1000)])
    for difficulty in ("easy", "hard"):
        path = tmp_path / "Val" / "setting_int" / "other" / f"wider_pr_info_o_{difficulty}_val.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"pr_cruve": points, "legend_name": "Other"})
    curves = load_official(tmp_path)
    assert list(curves) == ["Other"]
    assert list(curves["Other"]) == ["easy", "hard"]
    assert curves["Other"]["hard"].recall[-1] == pytest.approx(0.8)
    assert curves["Other"]["hard"].ap == pytest.approx(0.6, abs=0.001)
    write_curves(curves, tmp_path / "pr.csv")
    with (tmp_path / "pr.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert rows[-1] == {
        "detector": "Other",
        "difficulty": "hard",
        "recall": "0.8000",
        "precision": "0.5000",
    }


def test_what_is_no_official_curve_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no wider_pr_info"):
        load_official(tmp_path)
    path = tmp_path / "wider_pr_info_a_easy_val.mat"
    savemat(path, {"pr_cruve": np.zeros((3, 3)), "legend_name": "a"})
    with pytest.raises(ValueError, match=r"pr_cruve has the shape \(3, 3\)"):
        load_official(tmp_path)
    savemat(path, {"pr_curve": np.zeros((3, 2)), "legend_name": "a"})
    with pytest.raises(ValueError, match="no variable 'pr_cruve'"):
        load_official(tmp_path)
