from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import extd
from extd.cli.app import COMMANDS as SUMMARIES
from extd.cli.app import main

Captured = pytest.CaptureFixture[str]

COMMANDS = {
    "detect": "--out --json --csv --threshold --min-face --max-faces --longest --scales --flip "
    "--model --threads --provider --from0",
    "blur": "--method --image --shape --margin --strength --keep --out --in-place "
    "--keep-metadata --check --threshold --longest --scales --flip --model --threads --provider",
    "crop": "--out --margin --square --min-face --threshold --longest --scales --flip --model",
    "web": "--port",
    "models": "--all --json",
    "doctor": "--model",
    "eval wider": "--images --ground-truth --predictions --protocol --save-predictions --json "
    "--model",
    "eval labels": "--protocol --json --model --threads --provider",
    "data check": "PATH --format --images --out --labels-only --samples --seed --threads",
    "data convert": "PATH --to --out --from --images --copy",
    "finetune": "LABELS --out --from --minutes --test",
    "train": "--out --data --model --resume --device --threads --profile --print-config",
    "convert": "SOURCE TARGET",
    "export": "SOURCE TARGET",
}


def test_the_help_names_every_command(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"│ {command.split()[0]} " in shown for command in COMMANDS)
    assert main([]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("command", [name for group in SUMMARIES.values() for name in group])
def test_the_help_has_the_summary_of_each_command(command: str, capsys: Captured) -> None:
    assert main([command, "--help"]) == 0
    paragraph = capsys.readouterr().out.split("\n\n")[1]
    (summary,) = (group[command][1] for group in SUMMARIES.values() if command in group)
    assert " ".join(paragraph.split()) == summary


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_describes_every_option(command: str, capsys: Captured) -> None:
    assert main([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: extd {command} ")
    for option in COMMANDS[command].split():
        rows = [line for line in shown.splitlines() if f" {option} " in line and "│" in line]
        assert rows, option
        description = rows[0].strip("│* ").removeprefix(option).strip()
        assert " " in description, option


def test_streams_may_be_closed_as_some_services_do(tmp_path: Path) -> None:
    picture = Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg"
    command = f"extd detect {picture} --json faces.jsonl <&- >&- 2>&-".replace(
        "extd", f"{sys.executable} -m extd", 1
    )
    result = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False)
    assert result.returncode == 0
    assert json.loads((tmp_path / "faces.jsonl").read_text())["faces"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models"]])
def test_help_is_shown_without_loading_what_detection_needs(arguments: list[str]) -> None:
    heavy = {"cv2", "numpy", "onnxruntime", "torch", "scipy"}
    program = (
        f"import sys; from extd.cli.app import main; code = main({arguments!r}); "
        f"print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stderr == "[]\n"


def test_the_version_is_shown(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"extd {extd.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["detct", "a.jpg"], '"detect"'),
        (["eval", "widder"], '"wider"'),
        (["models", "--jsn"], "--json"),
        (["doctor", "--modle", "x"], "--model"),
        (["train", "r.yaml", "--out", "x", "--resum"], "--resume"),
        (["eval", "wider", "--image", "x"], "--images"),
    ],
)
def test_a_typo_names_the_nearest_word(
    arguments: list[str], nearest: str, capsys: Captured
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert f"Did you mean {nearest}" in err


def test_the_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "extd", "detct"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "detect" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "package", "wanted"),
    [
        (["convert", "a.pth", "b.safetensors"], "torch", '"extd[train]"'),
        (["export", "a.safetensors", "b.onnx"], "torch", '"extd[train]"'),
        (["train", "finetune", "--data", "a", "--out", "run"], "torch", '"extd[train]"'),
        (["detect", "a.jpg"], "onnxruntime", "onnxruntime"),
    ],
)
def test_a_missing_package_is_named(arguments: list[str], package: str, wanted: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None; from extd.cli.app import main; "
        f"sys.exit(main({arguments!r}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"error: extd {arguments[0]} needs the package {package}; run: pip install {wanted}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["detect", "a.jpg", "--max-faces", "1.5"], "--max-faces: '1.5'"),
        (["detect", "a.mp4", "--every", "2.5"], "--every: '2.5'"),
        (["blur", "a.mp4", "--out", "b", "--hold", "1e1"], "--hold: '1e1'"),
        (["data", "check", "a", "--samples", "24.0"], "--samples: '24.0'"),
        (["train", "a.yaml", "--out", "b", "--threads", "0.5"], "--threads: '0.5'"),
    ],
)
def test_whole_numbers_are_not_rounded(arguments: list[str], named: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"Invalid value for {named} is no whole number" in told
