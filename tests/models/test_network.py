from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extd.models.anchors import anchor_boxes
from extd.models.config import ExtdConfig, LiteConfig, NetworkConfig, S3fdConfig
from extd.models.network import (
    build_network,
    convert,
    convert_official,
    load_network,
    save_network,
)


@pytest.mark.parametrize(
    "config",
    [
        ExtdConfig("ssd", 48, "leakyrelu"),
        ExtdConfig("ssd", 48, "leakyrelu", norm_per_pass=True),
        LiteConfig(width=16, stem_width=16, blocks=1),
        S3fdConfig("mobilefacenet"),
    ],
    ids=lambda config: config.name,
)
def test_a_saved_network_comes_back_with_its_notes(tmp_path: Path, config: NetworkConfig) -> None:
    network = build_network(config).eval()
    save_network(network, tmp_path / "a.safetensors", {"ap": {"easy": 0.5}})
    loaded, notes = load_network(tmp_path / "a.safetensors")
    assert loaded.config == network.config
    assert notes == {"ap": {"easy": 0.5}}
    images = torch.rand(1, 3, 70, 90) * 255
    assert torch.equal(loaded(images).logits, network(images).logits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.safetensors"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none.pth"):
        convert_official(tmp_path / "none.pth")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not tensors at all")
    with pytest.raises(ValueError, match=r"junk.safetensors is not a safetensors file"):
        load_network(junk)
    for notes in ({"model": "extd-lite", "network": '{"later": 1}'}, {"notes": "["}):
        save_file({}, tmp_path / "later.safetensors", {"model": "extd-lite", **notes})
        with pytest.raises(ValueError, match=r"later.safetensors is of another version of extd"):
            load_network(tmp_path / "later.safetensors")
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match=r"other.pth is not a checkpoint of EXTD's authors"):
        convert_official(other)
    junk.rename(tmp_path / "junk.pth")
    (tmp_path / "empty.pth").touch()
    for name in ("junk.pth", "empty.pth"):
        with pytest.raises(ValueError, match=f"{name} is not a PyTorch checkpoint"):
            convert_official(tmp_path / name)
    with pytest.raises(ValueError, match="run: extd convert"):
        load_network(other)


@pytest.mark.shared
@pytest.mark.parametrize("width", [32, 48, 64])
def test_the_authors_checkpoints_give_the_authors_outputs(shared: Path, width: int) -> None:
    reference = np.load(shared / "official" / "raw_outputs.npz")
    network = convert_official(shared / "official" / f"EXTD_{width}.pth")
    with torch.no_grad():
        predictions = network(torch.from_numpy(reference["input"]) + network.mean)
    np.testing.assert_allclose(predictions.regression, reference[f"loc{width}"], atol=1e-4)
    np.testing.assert_allclose(predictions.logits, reference[f"conf{width}"], atol=1e-4)


@pytest.mark.shared
def test_the_authors_checkpoints_may_double(shared: Path) -> None:
    fit, double = (
        convert_official(shared / "official" / "EXTD_32.pth", how) for how in ("fit", "double")
    )
    images = torch.rand(1, 3, 128, 256, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        assert torch.equal(fit(images).regression, double(images).regression)
        odd = images[..., :100, :]
        assert not torch.equal(fit(odd).regression, double(odd).regression)


@pytest.mark.shared
def test_our_anchors_are_the_authors(shared: Path) -> None:
    priors = np.load(shared / "official" / "raw_outputs.npz")["priors"]
    size = np.array([150, 101, 150, 101])
    np.testing.assert_allclose(anchor_boxes(ExtdConfig(), 101, 150), priors * size, atol=1e-3)


@pytest.mark.shared
def test_converted_checkpoints_load(shared: Path, tmp_path: Path) -> None:
    convert(shared / "official" / "EXTD_64.pth", tmp_path / "model.safetensors")
    network, notes = load_network(tmp_path / "model.safetensors")
    assert network.config.name == "extd-fpn-64-prelu"
    assert "WIDER FACE" in str(notes["training_data"])
