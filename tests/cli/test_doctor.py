from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import extd
from extd.cli import doctor
from extd.cli.app import main
from extd.cli.doctor import installed_version, provider_report

Captured = pytest.CaptureFixture[str]


def test_the_model_in_the_package_finds_the_face(capsys: Captured) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "CPUExecutionProvider: works, runs 100% of the network (--provider cpu)" in out
    assert "finds the face" in out


def test_a_model_that_does_not_find_the_face_fails_the_check(toy: str, capsys: Captured) -> None:
    assert main(["doctor", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert f"extd                   {extd.__version__}\n" in out
    assert err.startswith("error: the self-check failed: toy finds")
    assert err.count("\n") == 1


def test_a_missing_model_fails_the_check(capsys: Captured) -> None:
    assert main(["doctor", "--model", "missing.onnx"]) == 1
    assert "missing.onnx" in capsys.readouterr().err


def test_the_processor_runs_all_of_a_network(toy: str) -> None:
    report = provider_report("CPUExecutionProvider", Path(toy).read_bytes())
    assert report == "works, runs 100% of the network"


def test_a_network_that_does_not_load_is_reported() -> None:
    assert provider_report("CPUExecutionProvider", b"no network").startswith("fails: ")


def test_versions_are_told_also_of_what_is_missing() -> None:
    assert installed_version("pytest") == pytest.__version__
    assert installed_version("extd-no-such-package") == "not installed"


def test_packages_that_overwrite_each_other_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    opencv = ["opencv-python", "opencv-contrib-python"]
    several = {"onnxruntime": ["onnxruntime-gpu", "onnxruntime"], "cv2": [*opencv, *opencv]}
    monkeypatch.setattr(doctor, "packages_distributions", lambda: several)
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    notes = err.splitlines()
    assert notes[0].startswith(
        "note: onnxruntime and onnxruntime-gpu overwrite each other's module onnx"
    )
    assert notes[0].endswith("pip uninstall onnxruntime onnxruntime-gpu, then install one of them")
    assert notes[1].startswith("note: opencv-contrib-python and opencv-python overwrite")
    assert len(notes) == 2
    assert "onnxruntime-gpu        not installed" in out
    monkeypatch.setattr(doctor, "packages_distributions", dict)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("broken", ["None", "types.ModuleType('onnxruntime')"])
def test_a_broken_onnx_runtime_is_told(broken: str) -> None:
    # What is left where one of two packages was uninstalled.
    program = (
        f"import sys, types; sys.modules['onnxruntime'] = {broken}; sys.modules['cv2'] = None;"
        "from extd.cli.app import main; sys.exit(main(['doctor']))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the self-check failed: ")
    assert "onnxruntime" in result.stderr
    assert result.stderr.count("\n") == 1
