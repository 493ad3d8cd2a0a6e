from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from extd.catalog import find_weights, load_catalog
from extd.cli.app import main
from extd.detector import Detector, Options
from extd.models.config import LiteConfig
from extd.models.network import build_network, save_network
from extd.runtime import OnnxModel

Captured = pytest.CaptureFixture[str]
Draw = Callable[..., Path]


@pytest.mark.shared
def test_a_checkpoint_of_the_authors_is_converted(
    shared: Path, tmp_path: Path, capsys: Captured
) -> None:
    weights = tmp_path / "model.safetensors"
    assert main(["convert", str(shared / "official" / "EXTD_32.pth"), str(weights)]) == 0
    assert f"written: {weights}" in capsys.readouterr().out
    assert weights.stat().st_size > 4 * 62_939
    assert main(["detect", "a.jpg", "--model", str(weights)]) == 2
    assert f"run: extd export {weights} model.onnx" in capsys.readouterr().err


@pytest.mark.shared
@pytest.mark.slow
def test_a_checkpoint_of_the_authors_becomes_a_model_that_detects(
    shared: Path, examples: Path, tmp_path: Path, capsys: Captured
) -> None:
    weights, model = str(tmp_path / "model.safetensors"), str(tmp_path / "model.onnx")
    assert main(["convert", str(shared / "official" / "EXTD_32.pth"), weights]) == 0
    assert main(["export", weights, model]) == 0
    out = capsys.readouterr().out
    assert f"written: {weights}" in out
    assert f"written: {model}" in out

    assert main(["detect", str(examples / "astronaut.jpg"), "--model", model, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["faces"]) == 1
    assert main(["doctor", "--model", model]) == 0
    assert "finds the face" in capsys.readouterr().out


def test_a_person_may_do_without_votes(tmp_path: Path) -> None:
    weights = Path(str(find_weights("extd-lite-nano", load_catalog()))).with_suffix(".safetensors")
    assert main(["export", str(weights), str(tmp_path / "plain.onnx"), "--no-box-voting"]) == 0
    assert OnnxModel("extd-lite-nano").box_voting
    assert not OnnxModel(tmp_path / "plain.onnx").box_voting


def test_a_threshold_is_stored_and_used(tmp_path: Path, toy: str, draw: Draw) -> None:
    draw("a.png", 255, 100)

    def faces(*arguments: str) -> int:
        assert main(["detect", "a.png", *arguments, "--json", "found.jsonl"]) == 0
        return len(json.loads(Path("found.jsonl").read_text())["faces"])

    assert faces("--model", toy) == 1
    assert main(["export", toy, "low.onnx", "--threshold", "0.37"]) == 0
    assert OnnxModel("low.onnx").threshold == 0.37
    assert faces("--model", "low.onnx") == 2
    assert faces("--model", "low.onnx", "--threshold", "0.5") == 1
    assert len(Detector("low.onnx", options=Options(flip=True)).detect("a.png")) == 2
    assert len(Detector("low.onnx", threshold=0.5).detect("a.png")) == 1
    assert main(["export", "low.onnx", "low.onnx", "--threshold", "0.99"]) == 0
    assert Detector("low.onnx").threshold() == 0.99


def test_a_threshold_stored_for_few_false_alarms_leaves_no_face_uncovered(
    toy: str, draw: Draw
) -> None:
    draw("a.png", 255, 100, 70)
    arguments = ["blur", "a.png", "--no-check", "--json", "found.jsonl"]
    for stored, covered in (("0.9", 2), ("0.2", 3)):
        assert main(["export", toy, "stored.onnx", "--threshold", stored]) == 0
        assert main([*arguments, "--model", "stored.onnx", "--out", stored]) == 0
        assert len(json.loads(Path("found.jsonl").read_text())["faces"]) == covered


def test_weights_are_exported_with_a_threshold(tmp_path: Path, capsys: Captured) -> None:
    weights, target = tmp_path / "a.safetensors", tmp_path / "a.onnx"
    save_network(build_network(LiteConfig(width=16, stem_width=16, blocks=1)).eval(), weights)
    assert main(["export", str(weights), str(target), "--threshold", "0.6"]) == 0
    assert OnnxModel(target).threshold == 0.6
    assert main(["export", str(weights), str(target), "--threshold", "1"]) == 2
    assert "--threshold" in capsys.readouterr().err
    assert main(["export", str(target), str(target), "--threshold", "0.6", "--decoded"]) == 2
    assert main(["export", str(target), str(target)]) == 2
    assert "--threshold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "better"),
    [
        (["convert", "a.pth", "model.pt"], "model.safetensors"),
        (["export", "a.safetensors", "model"], "model.onnx"),
    ],
)
def test_a_target_with_another_suffix_is_refused(
    arguments: list[str], better: str, capsys: Captured
) -> None:
    assert main(arguments) == 2
    assert f"call it {better}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "missing.pth", "model.safetensors"],
        ["export", "missing.safetensors", "model.onnx"],
    ],
)
def test_a_missing_file_is_named(arguments: list[str], capsys: Captured) -> None:
    assert main(arguments) == 1
    assert arguments[1] in capsys.readouterr().err


def test_int8_is_calibrated_and_detects(
    tmp_path: Path, examples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, target = tmp_path / "a.safetensors", tmp_path / "a.onnx"
    save_network(build_network(LiteConfig(width=16, stem_width=16, blocks=1)).eval(), weights)
    for options in (["--int8"], ["--calibrate", "x"], ["--int8", "--decoded", "--calibrate", "x"]):
        assert main(["export", str(weights), str(target), *options]) == 2
    assert "--int8" in capsys.readouterr().err
    command = ["export", str(weights), str(target), "--int8", "--calibrate"]
    assert main([*command, str(tmp_path / "nowhere")]) == 1
    assert not target.exists()
    assert main([*command, str(examples)]) == 0
    model = OnnxModel(target)
    assert (model.precision, model.landmarks) == ("int8", True)
    with pytest.raises(ValueError, match="computes in int8, not in float"):
        OnnxModel(target, precision="float")
    assert main(["detect", str(examples / "astronaut.jpg"), "--model", str(target)]) == 0
