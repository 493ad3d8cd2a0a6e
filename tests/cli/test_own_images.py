"""The commands of docs/own_images.md do what the page says, on the set that ships with it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from extd.cli.app import main

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    page = (ROOT / "docs" / "own_images.md").read_text("utf-8")
    section = page[page.index("## Try it") :]
    commands = [shlex.split(line) for line in re.findall(r"^extd (.*)$", section, re.MULTILINE)]
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    ran = [command for command in commands if command[0] != "finetune"]
    assert [command[:2] for command in ran] == [
        ["data", "check"],
        ["data", "convert"],
        ["data", "check"],
        ["eval", "labels"],
    ]
    for command in ran:
        assert main(command) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert out.count("nothing is wrong") == 2
    assert "9 faces" in out
    assert "AP all     1.0000" in out
    assert Path("curves", "thresholds.png").is_file()


def test_the_set_is_small_and_complete() -> None:
    folder = ROOT / "docs" / "example_set"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    lines = [folder.joinpath(f"{name}.jsonl").read_text() for name in ("train", "test")]
    listed = [json.loads(line)["image"] for text in lines for line in text.splitlines()]
    images = [path.relative_to(folder).as_posix() for path in files if path.suffix == ".jpg"]
    assert sorted(listed) == sorted(images)
