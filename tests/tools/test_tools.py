from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import catalog
import pytest

from extd.catalog import AveragePrecision, ModelInfo, Weights, WeightsFile, load_catalog
from extd.models.config import LiteConfig
from extd.models.network import build_network, save_network
from extd.runtime import OnnxModel


@pytest.mark.slow
def test_the_catalog_is_what_the_tool_counts() -> None:
    for model in load_catalog():
        assert catalog.count_model(model.name, model.weights) == model


def test_a_run_is_packaged_in_float_and_int8(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(LiteConfig(width=16, stem_width=16, blocks=1)).eval()
    save_network(network, tmp_path / "weights.safetensors", {"training": "no steps"})
    monkeypatch.setattr(catalog, "WEIGHTS", tmp_path)
    options = argparse.Namespace(calibrate=examples, images=None)
    name, weights = catalog.package(tmp_path, options)
    assert (name, weights.training_data, weights.images) == ("extd-custom", "no steps", None)
    assert weights.int8 is not None
    for file, precision in ((weights.float32, "float"), (weights.int8, "int8")):
        assert OnnxModel(tmp_path / file.file).precision == precision
        assert (tmp_path / file.file).stat().st_size == file.bytes


def test_a_card_gets_the_facts_and_keeps_the_rest(tmp_path: Path) -> None:
    file = WeightsFile("a.onnx", "0", 1234, AveragePrecision(0.9, 0.8, 0.7))
    weights = Weights(file, dataclasses.replace(file, bytes=567), 363, "WIDER FACE", "MIT")
    model = ModelInfo("extd-a", 1000, 2_000_000, weights)
    card = tmp_path / "extd-a.md"
    card.write_text(f"# extd-a\n\n{catalog.BEGIN}\nold\n{catalog.END}\n\nLimits.\n")
    for _ in range(2):
        catalog.write_card(model, tmp_path)
        text = card.read_text()
        assert text.startswith("# extd-a\n")
        assert text.endswith("Limits.\n")
        assert text.count("| int8 | 567 | 0.900 | 0.800 | 0.700 |") == 1
        assert "old" not in text
    card.write_text("# extd-a\n")
    with pytest.raises(ValueError, match=r"extd-a\.md has no place for the facts"):
        catalog.write_card(model, tmp_path)
