from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from extd.evaluation.labeled import SIZES
from extd.training.journal import LOG, VALIDATION, open_journal, read_columns
from extd.training.step import Report


def report(loss: float) -> Report:
    return Report(loss, loss / 2, loss / 2, 0.0, 0.0, 30.0, 1.5, stop=False)


def test_a_resumed_journal_drops_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    with open_journal(tmp_path, 0) as journal:
        for step in range(1, 6):
            journal.add(step, 0.1, report(step), step, 0.0)
        journal.measured(3, {"all": 0.5, "small": math.nan, "medium": 0.5, "large": 1.0})
        journal.measured(5, {"all": 0.6, "small": math.nan, "medium": 0.5, "large": 1.0})
    with (tmp_path / LOG).open("a") as file:
        file.write("6,0.1,1")  # as a killed process leaves it
    with open_journal(tmp_path, 4) as journal:
        journal.add(5, 0.1, report(50), 1, 0.0)
    log = read_columns(tmp_path / LOG)
    assert log["step"] == [1, 2, 3, 4, 5]
    assert log["loss"] == [1, 2, 3, 4, 50]
    assert read_columns(tmp_path / VALIDATION)["step"] == [3]


def test_an_error_loses_no_rows(tmp_path: Path) -> None:
    def run() -> None:
        with open_journal(tmp_path, 0) as journal:
            journal.add(1, 0.1, report(7), 1, 0.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert read_columns(tmp_path / LOG)["loss"] == [7]


def test_events_are_what_the_log_says(tmp_path: Path) -> None:
    with open_journal(tmp_path, 0) as journal:
        journal.add(1, 0.25, report(7), 1, 0.0)
        journal.measured(1, {"all": 0.5, "small": 0.4, "medium": 0.5, "large": 1.0})
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert events.Scalars("training/loss")[0].value == 7
    assert events.Scalars("training/rate")[0].step == 1
    assert events.Scalars("AP/small")[0].value == pytest.approx(0.4)


def test_a_resumed_run_keeps_the_events_up_to_its_checkpoint(tmp_path: Path) -> None:
    for begins, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with open_journal(tmp_path, begins) as journal:
            for step in steps:
                journal.measured(step, dict.fromkeys(SIZES, 0.5))
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in events.Scalars("AP/all")] == [1, 2, 3, 4]
    assert read_columns(tmp_path / VALIDATION)["step"] == [1, 2, 3, 4]


def test_a_log_of_another_version_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match="has the columns"), open_journal(tmp_path, 1):
        pass
    assert read_columns(tmp_path / LOG)["loss"] == [2]


def test_an_absent_or_empty_log_has_no_columns(tmp_path: Path) -> None:
    assert read_columns(tmp_path / LOG) == {}
    with open_journal(tmp_path, 0):
        pass
    assert read_columns(tmp_path / LOG) == {}
