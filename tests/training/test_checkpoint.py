from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from extd.models.network import load_network
from extd.training.checkpoint import new_state, restore, save
from extd.training.recipe import Recipe

CPU = torch.device("cpu")
Change = Callable[..., Recipe]


def test_a_saved_state_is_restored_whole(recipe: Recipe, change: Change, tmp_path: Path) -> None:
    state = new_state(recipe, CPU, "data", "cpu")
    state.network(torch.rand(2, 3, 128, 128)).logits.sum().backward()
    state.optimizers[0].step()
    state.step, state.precision, state.crop_sizes = 7, "fp32", {128, 192}
    save(state, recipe, tmp_path)
    again = new_state(change(recipe, seed=1), CPU, "data", "cpu")
    restore(again, tmp_path / "checkpoint.pt", recipe)
    assert (again.step, again.precision, again.crop_sizes) == (7, "fp32", {128, 192})
    for name, value in state.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert len(again.optimizers[0].state) == len(state.optimizers[0].state) > 0
    # It may go on in another precision.
    half = change(recipe, compute={"precision": "fp16"})
    restore(new_state(half, CPU, "data", "cpu"), tmp_path / "checkpoint.pt", half)


@pytest.mark.parametrize(
    ("changes", "data", "feed", "message"),
    [
        ({"batch": 2}, "1234", "cpu", "made with batch 4, now it is 2"),
        ({"data": {"sets": [{"path": "a", "weight": 2}]}}, "1234", "cpu", "made with data.sets"),
        ({"loss": {"negatives": 2}}, "1234", "cpu", "made with loss"),
        ({"compute": {"channels_last": False}}, "1234", "cpu", "made with compute.channels_last"),
        ({}, "abcd", "cpu", "images of fingerprint 1234, now it is abcd"),
        ({}, "1234", "device", "made with feed cpu, now it is device"),
    ],
)
def test_what_a_resumed_run_may_not_change_is_named(
    recipe: Recipe,
    change: Change,
    tmp_path: Path,
    changes: dict[str, Any],
    data: str,
    feed: str,
    message: str,
) -> None:
    save(new_state(recipe, CPU, "1234", "cpu"), recipe, tmp_path)
    other = change(recipe, **changes)
    with pytest.raises(ValueError, match=message):
        restore(new_state(other, CPU, data, feed), tmp_path / "checkpoint.pt", other)
    moved = {"sets": [{"path": "elsewhere/labels.jsonl"}]}
    allowed = change(recipe, iterations=50, data=moved, save_every=9)
    restore(new_state(allowed, CPU, "1234", "cpu"), tmp_path / "checkpoint.pt", allowed)


def test_files_of_other_kinds_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a PyTorch checkpoint"):
        restore(new_state(recipe, CPU), path, recipe)
    torch.save({"step": 1}, path)
    with pytest.raises(ValueError, match="not a checkpoint of this version of extd train"):
        restore(new_state(recipe, CPU), path, recipe)
    save(new_state(recipe, CPU), recipe, tmp_path)
    content = torch.load(path, weights_only=True)
    begun = json.loads(content["recipe"])
    begun["augmentation"]["former_key"] = 1
    torch.save(content | {"recipe": json.dumps(begun)}, path)
    with pytest.raises(ValueError, match=r"version of extd train: augmentation: .* former_key"):
        restore(new_state(recipe, CPU), path, recipe)


def test_a_key_that_a_checkpoint_does_not_know_was_at_its_default(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    save(new_state(recipe, CPU), recipe, tmp_path)
    content = torch.load(path, weights_only=True)
    before = json.loads(content["recipe"])
    del before["augmentation"]["native_scale_prob"]
    torch.save(content | {"recipe": json.dumps(before)}, path)
    restore(new_state(recipe, CPU), path, recipe)
    other = change(recipe, augmentation={"native_scale_prob": 0.1})
    with pytest.raises(ValueError, match="made with augmentation"):
        restore(new_state(other, CPU), path, other)


def test_a_full_disk_keeps_the_last_files(recipe: Recipe, tmp_path: Path) -> None:
    """A limit on the size of files fails in the middle of a write, as a full disk does."""
    state = new_state(recipe, CPU)
    save(state, recipe, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    state.step = 3
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Enough for the weights alone.
    enough = (tmp_path / "weights.safetensors").stat().st_size + 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (enough, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError)):
            save(state, recipe, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before


def test_a_run_begins_with_the_weights_that_the_recipe_names(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    first = new_state(change(recipe, seed=1), CPU)
    first.step, first.crop_sizes = 2, {128, 192}
    save(first, recipe, tmp_path)
    wanted = load_network(tmp_path / "weights.safetensors")[0].state_dict()
    recipe = change(recipe, init=str(tmp_path / "weights.safetensors"))
    state = new_state(recipe, CPU)
    for network in (state.network, state.average):
        assert all(torch.equal(network.state_dict()[key], wanted[key]) for key in wanted)
    state.step, state.crop_sizes = 3, {128}
    save(state, recipe, tmp_path / "next")
    told = load_network(tmp_path / "next" / "weights.safetensors")[1]["training"]
    assert told == "3 steps, 12 crops of 128 px, after 2 steps, 8 crops of 128, 192 px"
    resumed = new_state(change(recipe, init=""), CPU)
    restore(resumed, tmp_path / "next" / "checkpoint.pt", recipe)
    assert resumed.initial == state.initial
    told = r"is extd-lite-nano, the recipe trains extd-lite; give network: {'width': 32"
    with pytest.raises(ValueError, match=told):
        new_state(change(recipe, model="extd-lite"), CPU)


def test_a_run_with_packaged_weights_keeps_their_notes(
    recipe: Recipe, change: Change, tmp_path: Path
) -> None:
    recipe = change(recipe, model="extd-fpn-32-prelu", init="extd-fpn-32-prelu")
    save(new_state(recipe, CPU), recipe, tmp_path)
    notes = load_network(tmp_path / "weights.safetensors")[1]
    assert str(notes["training_data"]).startswith("labels.jsonl, wider_train, ")
    assert "MIT" in str(notes["license"])
    with pytest.raises(ValueError, match=r"no weights ship for .*; or remove init"):
        new_state(change(recipe, init="extd-ssd-32-relu"), CPU)


def test_a_checkpoint_tells_no_path_of_the_machine(
    recipe: Recipe, change: Change, labels: Path, tmp_path: Path
) -> None:
    recipe = change(recipe, validation={"path": str(labels)})
    save(new_state(recipe, CPU), recipe, tmp_path)
    assert str(tmp_path) not in str(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
