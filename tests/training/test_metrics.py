from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from extd.data.datasets import read_dataset
from extd.data.labels import write_jsonl
from extd.evaluation.labeled import SIZES
from extd.images import read_image
from extd.models.config import parse_name
from extd.models.network import build_network
from extd.training.metrics import (
    LOG,
    VALIDATION,
    StepMetrics,
    detect_exported,
    open_log,
    open_validation,
    plot_run,
    read_columns,
    smooth,
)


def metrics(loss: float) -> StepMetrics:
    return StepMetrics(loss, loss / 2, loss / 2, 0.0, 30.0, 1.5)


def test_a_resumed_log_drops_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    with open_log(tmp_path, 0) as log:
        for step in range(1, 6):
            log.add(step, 0.1, metrics(step), step, 0.0)
        log.add_validation(3, {"all": 0.5, "small": math.nan, "medium": 0.5, "large": 1.0})
        log.add_validation(5, {"all": 0.6, "small": math.nan, "medium": 0.5, "large": 1.0})
    with (tmp_path / LOG).open("a") as file:
        file.write("6,0.1,1")  # as a killed process leaves it
    with open_log(tmp_path, 4) as log:
        log.add(5, 0.1, metrics(50), 1, 0.0)
    columns = read_columns(tmp_path / LOG)
    assert columns["step"] == [1, 2, 3, 4, 5]
    assert columns["loss"] == [1, 2, 3, 4, 50]
    assert read_columns(tmp_path / VALIDATION)["step"] == [3]


def test_an_error_loses_no_rows(tmp_path: Path) -> None:
    def run() -> None:
        with open_log(tmp_path, 0) as log:
            log.add(1, 0.1, metrics(7), 1, 0.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert read_columns(tmp_path / LOG)["loss"] == [7]


def test_events_are_what_the_log_says(tmp_path: Path) -> None:
    for begins, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with open_log(tmp_path, begins) as log:
            for step in steps:
                log.add(step, 0.25, metrics(7), 1, 0.0, flush=True)
                log.add_validation(step, dict.fromkeys(SIZES, 0.4))
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert events.Scalars("training/loss")[0].value == 7
    assert events.Scalars("training/lr")[0].value == 0.25
    # A resumed run keeps those up to its checkpoint.
    assert [event.step for event in events.Scalars("AP/small")] == [1, 2, 3, 4]
    assert read_columns(tmp_path / VALIDATION)["step"] == [1, 2, 3, 4]


def test_a_log_of_another_version_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match="has the columns"), open_log(tmp_path, 1):
        pass
    assert read_columns(tmp_path / LOG)["loss"] == [2]


def test_an_absent_or_empty_log_has_no_columns(tmp_path: Path) -> None:
    assert read_columns(tmp_path / LOG) == {}
    with open_log(tmp_path, 0):
        pass
    assert read_columns(tmp_path / LOG) == {}


def test_a_run_becomes_an_image(tmp_path: Path) -> None:
    assert plot_run(tmp_path) is None
    with open_log(tmp_path, 0) as log:
        for step in range(1, 100):
            log.add(step, 1 / step, metrics(1 / step), step, 0)
    path = plot_run(tmp_path)
    assert path is not None
    low = read_image(path).shape
    with open_log(tmp_path, 99) as log:
        log.add_validation(99, dict.fromkeys(SIZES, 0.5))
    plot_run(tmp_path)
    assert read_image(path).shape[0] > low[0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_smoothing_stays_among_the_values(values: list[float]) -> None:
    averaged = smooth(np.array(values))
    assert averaged.shape == (len(values),)
    assert averaged[0] == values[0]
    assert averaged.min() >= min(values) - 1e-9
    assert averaged.max() <= max(values) + 1e-9


def test_a_fresh_network_finds_nothing(labels: Path) -> None:
    network = build_network(parse_name("extd-lite-nano")).eval()
    ap = detect_exported(network, read_dataset(labels)).ap
    assert ap["all"] == pytest.approx(0, abs=0.05)
    assert set(ap) == set(SIZES)


def test_images_that_could_not_be_measured_are_named_before_training(labels: Path) -> None:
    samples = read_dataset(labels)
    assert [one.path for one in open_validation(str(labels))] == [one.path for one in samples]
    samples[-1].path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=samples[-1].path.name):
        open_validation(str(labels))
    samples[-1].path.unlink()
    with pytest.raises(FileNotFoundError, match=samples[-1].path.name):
        open_validation(str(labels))
    write_jsonl([dataclasses.replace(one, boxes=one.boxes[:0]) for one in samples], labels)
    with pytest.raises(ValueError, match="labeled face"):
        open_validation(str(labels))
