"""Network weights on disk: our safetensors files and the authors' released checkpoints."""

from __future__ import annotations

import dataclasses
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from extd.files import atomic_write
from extd.models.config import (
    WIDTHS,
    ExtdConfig,
    LiteConfig,
    NetworkConfig,
    S3fdConfig,
    Upsampling,
    parse_name,
)
from extd.models.extd import Extd
from extd.models.network import TorchNetwork, build_network


def save_network(network: TorchNetwork, path: Path, notes: dict[str, object] | None = None) -> None:
    """Write the weights with the model's name and `notes` (training data, AP...) as metadata."""
    config = json.dumps(dataclasses.asdict(network.config))
    metadata = {
        "model": network.config.name,
        "network": config,
        "notes": json.dumps(notes or {}),
    }
    state = {key: tensor.cpu().contiguous() for key, tensor in network.state_dict().items()}
    with atomic_write(path) as partial:
        partial.write_bytes(save(state, metadata))


def load_network(path: Path) -> tuple[TorchNetwork, dict[str, object]]:
    """The network in evaluation mode, and its notes, from a file of `save_network`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint of this family.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if path.suffix.lower() in {".pth", ".pt"}:
        raise ValueError(
            f"{path} is a PyTorch checkpoint; a run's weights are in the weights.safetensors "
            "beside it; for one of the paper's authors, run: "
            f"extd convert {path} out.safetensors"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    if "model" not in metadata:
        raise ValueError(f"{path} does not name its model; write it with extd convert or train")
    try:
        network = build_network(_config(metadata))
        notes = dict[str, object](json.loads(metadata.get("notes", "{}")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is of another version of extd: {error}") from error
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {metadata['model']}: {error}") from error
    return network.eval(), notes


def _config(metadata: dict[str, str]) -> NetworkConfig:
    """The configuration that a file's metadata tells in full, or by its name."""
    if "network" not in metadata:
        return parse_name(metadata["model"])
    fields: Any = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json.loads(metadata["network"]).items()
    }
    if "stem_width" in fields:
        return LiteConfig(**fields)
    return S3fdConfig(**fields) if "backbone" in fields else ExtdConfig(**fields)


def unmeasured(notes: dict[str, object]) -> dict[str, object]:
    """The notes without what the weights were measured at, which is not true of changed ones."""
    return {key: value for key, value in notes.items() if not key.startswith("ap")}


def convert_official(path: Path, upsampling: Upsampling = "fit") -> Extd:
    """The network in evaluation mode from an EXTD_32/48/64.pth of the paper's authors.

    Args:
        path: the file.
        upsampling: `fit`, which the authors' code does, or `double`; see `ExtdConfig`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such checkpoint; the message names the first wrong key.
    """
    official = load_torch_file(path)
    head = official.get("loc.0.weight")
    width = head.shape[1] if isinstance(head, Tensor) and head.ndim == 4 else None
    if width not in WIDTHS:
        raise ValueError(f"{path} is not a checkpoint of EXTD's authors: no head of {WIDTHS}")
    network = Extd(ExtdConfig("fpn", width, "prelu", upsampling=upsampling))
    keys = official_keys(network.config)
    if set(keys.values()) != set(official):
        odd = sorted(set(keys.values()) ^ set(official))[0]
        raise ValueError(f"{path} is not a checkpoint of EXTD's authors: unexpected key {odd!r}")
    state = {ours: official[theirs] for ours, theirs in keys.items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} is not a checkpoint of EXTD's authors: {error}") from error
    return network.eval()


def load_torch_file(path: Path) -> dict[str, Any]:
    """The mapping in a file of `torch.save`, on the CPU, without running code from it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    broken = (RuntimeError, LookupError, EOFError, ValueError, pickle.UnpicklingError, struct.error)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except broken as error:
        # PyTorch's message is a page on how to run code from a file.
        raise ValueError(
            f"{path} is not a PyTorch checkpoint, or holds more than tensors"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a PyTorch checkpoint: it holds a {type(content).__name__}")
    return content


def official_keys(config: ExtdConfig) -> dict[str, str]:
    """Our key of every tensor of an FPN-PReLU network, and the authors' key of the same one."""
    prefixes = {
        "backbone.stem.": "base.0.",
        **{f"heads.regression.{level}.": f"loc.{level}." for level in range(6)},
        **{f"heads.classification.{level}.": f"conf.{level}." for level in range(6)},
    }
    for i in range(5):
        prefixes[f"upsampling.{i}.depthwise."] = f"upfeat.{i}.0."
        prefixes[f"upsampling.{i}.pointwise."] = f"upfeat.{i}.1."
        prefixes[f"upsampling.{i}.norm."] = f"upfeat.{i}.2."
    blocks = ["backbone.stem_block."]
    blocks += [f"backbone.blocks.{i}." for i in range(len(config.block_expansions))]
    for i, block in enumerate(blocks):
        stages = ["depthwise", "project"] if i == 0 else ["expand", "depthwise", "project"]
        for s, stage in enumerate(stages):
            for layer in range(3):
                norm = "norms.0." if layer == 1 else ""
                prefixes[f"{block}{stage}.{layer}.{norm}"] = f"base.{i + 1}.conv.{3 * s + layer}."
    keys = {}
    for key in Extd(config).state_dict():
        prefix = max((p for p in prefixes if key.startswith(p)), key=len)
        keys[key] = prefixes[prefix] + key.removeprefix(prefix)
    return keys


def convert(source: Path, target: Path, upsampling: Upsampling = "fit") -> None:
    """Write the authors' checkpoint `source` as the safetensors file `target`."""
    notes: dict[str, object] = {
        "training_data": "WIDER FACE train, by the authors of the paper",
        "license": "MIT, NAVER Corp.",
    }
    save_network(convert_official(source, upsampling), target, notes)
