from __future__ import annotations

from pathlib import Path

import pytest

import extd
from extd.cli.app import main
from extd.cli.doctor import installed_version, provider_report

Captured = pytest.CaptureFixture[str]


def test_the_model_in_the_package_finds_the_face(capsys: Captured) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "CPUExecutionProvider: works, runs 100% of the network" in out
    assert "finds the face" in out


def test_a_model_that_does_not_find_the_face_fails_the_check(toy: str, capsys: Captured) -> None:
    assert main(["doctor", "--model", toy]) == 1
    out, err = capsys.readouterr()
    assert f"extd          {extd.__version__}" in out
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
