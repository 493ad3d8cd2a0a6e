from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import recall
from hypothesis import given
from hypothesis import strategies as st
from recall import EDGES, SIZES, VALUES, find_faces, group_by_attribute, group_by_size

from extd.evaluation.predictions import Prediction, write_predictions
from extd.evaluation.wider import GroundTruth, evaluate, load_ground_truth
from extd.images import read_image

sides = st.lists(st.floats(2, 600), min_size=1, max_size=8)


def row_of_faces(name: str, sizes: list[float]) -> GroundTruth:
    """Square faces side by side, which all count in the hard set."""
    left = np.cumsum([0.0, *(size + 5 for size in sizes[:-1])])
    boxes = np.column_stack([left, np.zeros(len(sizes)), sizes, sizes])
    return GroundTruth(f"0--Parade/{name}", boxes, np.ones((3, len(sizes)), np.bool_))


def found(truth: GroundTruth, scores: list[float], false: int = 0, score: float = 0) -> Prediction:
    """A detection of each face with a score above 0, and some of no face."""
    faces = truth.boxes[np.array(scores) > 0]
    nothing = np.array([[0.0, 5000.0 + 50 * i, 20, 20] for i in range(false)]).reshape(-1, 4)
    values = [*(one for one in scores if one > 0), *([score] * false)]
    return Prediction(np.concatenate([faces, nothing]), np.array(values))


@given(sides)
def test_every_face_has_one_size(sizes: list[float]) -> None:
    (grouped,) = group_by_size([row_of_faces("a", sizes)])
    assert grouped.keep[0].all()
    assert (grouped.keep[1:].sum(0) == 1).all()
    for size, column in zip(sizes, grouped.keep[1:].T, strict=True):
        index = int(column.argmax())
        # The area is the square of the side but for rounding.
        low, high = [0, *EDGES][index], [*EDGES, np.inf][index]
        assert low * 0.9999 < size < high * 1.0001


def test_faces_that_do_not_count_are_in_no_group() -> None:
    keep = np.array([[True, True], [True, True], [True, False]])
    truth = GroundTruth("0--Parade/a", row_of_faces("a", [10, 20]).boxes, keep)
    (grouped,) = group_by_size([truth])
    assert grouped.keep[0].sum() == grouped.keep[1:].sum() == 1


def test_recall_is_taken_where_false_positives_are_as_many_as_allowed() -> None:
    truth = [row_of_faces("a", [10, 100, 100]), row_of_faces("b", [10, 100])]
    grouped = group_by_size(truth)
    predictions = {
        "0--Parade/a": found(truth[0], [0.9, 0.8, 0.2], 2, 0.5),
        "0--Parade/b": found(truth[1], [0.0, 0.3]),
    }
    groups = ("all", *SIZES)
    strict, loose = (
        find_faces(predictions, grouped, allowed).set_index(pd.Index(groups))
        for allowed in (0.5, 1.0)
    )
    columns = ["all", "8-12", "96-128"]
    assert strict.loc[columns, "recall"].tolist() == [0.4, 0.5, 0.3333]
    assert loose.loc[columns, "recall"].tolist() == [0.8, 0.5, 1]
    assert (strict["false_alarms"] == 0).all()
    assert (loose["false_alarms"] == 1).all()
    assert np.isnan(loose.loc["16-24", "recall"])
    hard = evaluate(predictions, truth).ap["hard"]
    assert loose.loc["all", "ap"] == pytest.approx(hard, abs=1e-4)
    noise = {
        "0--Parade/a": found(truth[0], [0.5] * 3, 9, 0.5),
        "0--Parade/b": found(truth[1], [0.5] * 2),
    }
    assert find_faces(noise, grouped, 1.0)["recall"][0] == 0


def test_attributes_are_read_from_the_official_file(wider_files: Any) -> None:
    truth = load_ground_truth(wider_files.truth)
    grouped = group_by_attribute(truth, wider_files.truth)
    faces = dict(zip(("all", *VALUES), sum(image.keep.sum(1) for image in grouped), strict=True))
    assert faces["all"] == 4
    assert (faces["clear"], faces["normal blur"], faces["heavy blur"]) == (3, 1, 0)
    assert (faces["typical pose"], faces["atypical pose"]) == (3, 1)


@pytest.mark.parametrize(("by", "name"), [("size", "recall"), ("attributes", "attributes")])
def test_a_figure_and_a_table_of_all_detectors(
    wider_files: Any, tmp_path: Path, by: str, name: str
) -> None:
    folders = [str(folder) for folder in wider_files.found]
    recall.main(
        [by, *folders, "--ground-truth", str(wider_files.truth), "--out", str(tmp_path / "out")]
    )
    table = pd.read_csv(tmp_path / "out" / f"{name}.csv")
    best = table[table["group"] == "all"].set_index("detector")["recall"]
    assert best.to_dict() == {"good": 1.0, "poor": 0.5}
    assert read_image(tmp_path / "out" / f"{name}.png").std() > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder, folder / ".." / folder.name), "two folders have the same name"),
        (lambda folder: (folder, folder.with_name("other")), "0--Parade/b is in one alone"),
        (lambda folder: (folder.with_name("odd"),), "'0--Parade/c' is predicted but is not in"),
        (lambda folder: (folder.with_name("none"),), "there are no predictions in"),
    ],
)
def test_predictions_must_be_of_the_same_images(
    wider_files: Any, change: Callable[[Path], tuple[Path, ...]], message: str
) -> None:
    good = wider_files.found[0]
    one = Prediction([[1, 2, 3, 4]], [0.5])
    write_predictions(good.with_name("other"), {"0--Parade/a": one, "0--Parade/b": one})
    write_predictions(good.with_name("odd"), {"0--Parade/c": one})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        recall.read_all(change(good), load_ground_truth(wider_files.truth))
