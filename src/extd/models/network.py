"""A network from its configuration, from a file of ours, or from a checkpoint of the authors."""

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
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from extd.files import atomic_write
from extd.models.config import (
    ExtdConfig,
    LiteConfig,
    NetworkConfig,
    S3fdConfig,
    Upsampling,
    parse_name,
)
from extd.models.extd import Extd
from extd.models.lite import Lite
from extd.models.s3fd import S3fd

TorchNetwork = Extd | Lite | S3fd


def build_network(config: NetworkConfig) -> TorchNetwork:
    """A fresh network."""
    if isinstance(config, ExtdConfig):
        return Extd(config)
    return Lite(config) if isinstance(config, LiteConfig) else S3fd(config)


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters; weights that several passes share count once."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, height: int = 480, width: int = 640) -> int:
    """Multiply-adds of the convolutions for one image of `height` x `width` px.

    A network built within `torch.device("meta")` has no numbers, and is counted in no time.
    """
    image = torch.zeros(1, 3, height, width, device=next(network.parameters()).device)
    # As operators run: counters hooked on modules count a shared module once.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return int(counter.get_total_flops()) // 2


def save_network(network: TorchNetwork, path: Path, notes: dict[str, object] | None = None) -> None:
    """Write the weights with the model's name and `notes` (training data, AP...) as metadata."""
    metadata = {
        "model": network.config.name,
        "network": json.dumps(dataclasses.asdict(network.config)),
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
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {metadata['model']}: {error}") from error
    return network.eval(), notes


def _config(metadata: dict[str, str]) -> NetworkConfig:
    """The configuration that a file's metadata tells in full, or by its name."""
    if "network" not in metadata:
        return parse_name(metadata["model"])
    fields: dict[str, Any] = json.loads(metadata["network"])
    if "stem_width" in fields:
        return LiteConfig(**fields)
    return S3fdConfig(**fields) if "backbone" in fields else ExtdConfig(**fields)


def convert_official(path: Path, upsampling: Upsampling = "fit") -> Extd:
    """The network in evaluation mode from an EXTD_32/48/64.pth of the paper's authors.

    By default it upsamples as the authors' code does; see `ExtdConfig`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such checkpoint; the message says what is wrong.
    """
    official = load_torch_file(path)
    try:
        width = official["loc.0.weight"].shape[1]
        network = Extd(ExtdConfig("fpn", width, "prelu", upsampling=upsampling))
        # The authors' tensors have other names, but come in the order of ours.
        names = network.state_dict()
        network.load_state_dict(dict(zip(names, official.values(), strict=True)))
    except (AttributeError, LookupError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not a checkpoint of EXTD's authors: {error}") from error
    return network.eval()


def load_torch_file(path: Path) -> dict[str, Any]:
    """The mapping in a file of `torch.save`, on the CPU, without running code from it.

    Raises what `convert_official` raises.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    broken = (RuntimeError, LookupError, EOFError, ValueError, pickle.UnpicklingError, struct.error)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except broken as error:
        # PyTorch's message is a page on how to run code from a file.
        content = error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a PyTorch checkpoint of tensors by name")
    return content


def convert(source: Path, target: Path, upsampling: Upsampling = "fit") -> None:
    """Write the authors' checkpoint `source` as the safetensors file `target`."""
    notes: dict[str, object] = {
        "training_data": "WIDER FACE train, by the authors of the paper",
        "license": "MIT, NAVER Corp.",
    }
    save_network(convert_official(source, upsampling), target, notes)
