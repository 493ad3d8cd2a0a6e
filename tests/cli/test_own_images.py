"""The worked example of docs/training.md does what the page says, on the set in docs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from extd.cli.app import main
from extd.training.finetune import plan_finetune

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the page on the example set, which is in the working directory."""
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    return [shlex.split(line) for line in re.findall(r"^extd (.*example_set.*)$", page, re.M)]


def test_the_example_is_checked_and_evaluated(commands: list[list[str]], capsys: Captured) -> None:
    check, evaluate, _ = commands
    assert check[:2] == ["data", "check"]
    assert evaluate[:2] == ["eval", "labels"]
    for command in (check, evaluate):
        assert main(command) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "nothing is wrong" in out
    assert "9 faces" in out
    assert "AP all     1.0000" in out
    assert Path("curves", "thresholds.png").is_file()


def test_the_example_passes_the_checks_of_finetune(commands: list[list[str]]) -> None:
    command = commands[2]
    plan = plan_finetune(Path(command[1]), Path("out"), test=Path(command[3]))
    assert (len(plan.train), len(plan.test), plan.notes) == (11, 4, [])


@pytest.mark.slow
def test_the_example_is_fine_tuned(commands: list[list[str]], capsys: Captured) -> None:
    *command, minutes = commands[2]
    assert (command[0], command[-1], minutes) == ("finetune", "--minutes", "2")
    assert main([*command, "0.01"]) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "AP before: 1.000" in out
    assert "Fewer than 5 test images have faces: this may be noise" in out
    assert "Not recommended" in Path("example_model", "not-better.md").read_text("utf-8")


def test_the_set_is_small_and_complete() -> None:
    folder = ROOT / "docs" / "example_set"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    lines = [folder.joinpath(f"{name}.jsonl").read_text() for name in ("train", "test")]
    listed = [json.loads(line)["image"] for text in lines for line in text.splitlines()]
    images = [path.relative_to(folder).as_posix() for path in files if path.suffix == ".jpg"]
    assert sorted(listed) == sorted(images)
