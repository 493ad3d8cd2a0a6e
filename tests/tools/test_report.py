from __future__ import annotations

import sys
from pathlib import Path

import pytest
import report

from extd.cli.app import app, with_stdout


@pytest.mark.parametrize("everything", [False, True])
def test_extd_understands_every_command(everything: bool) -> None:
    given = set(report.DATA) if everything else set()
    steps = list(report.steps(given))
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        assert step.needs in {"", *report.DATA}
        for command in step.commands:
            app.parse_args(with_stdout(command), exit_on_error=False, print_error=False)


def test_files_of_a_step_are_kept_but_not_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "ROOT", tmp_path)
    made = tmp_path / "work" / "pr"
    (made / "predictions").mkdir(parents=True)
    for name in ("pr.png", "pr.csv", "note.txt", "predictions/a.csv"):
        (made / name).write_text(name)
    assert report.make(report.Step("pr", ()), tmp_path / "work")
    assert {path.name for path in (tmp_path / "docs/results/pr").iterdir()} == {"pr.png", "pr.csv"}


def test_what_lacks_data_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["report.py", "--only", "pr", "--only", "ablation"])
    assert report.main() == 0
    out = capsys.readouterr().out
    assert "skipped pr: needs --wider" in out
    assert "skipped ablation: needs --ablation" in out


def test_an_unknown_table_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", "--only", "benhc"])
    with pytest.raises(SystemExit):
        report.main()
    assert "--only benhc: choose from" in capsys.readouterr().err
