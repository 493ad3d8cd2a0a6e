"""Begin a changed network with the weights of another: what fits is taken, the rest is fresh.

    python tools/graft.py WEIGHTS.safetensors RECIPE.yaml OUT.safetensors
    python tools/graft.py WEIGHTS.safetensors RECIPE.yaml OUT.safetensors \
        --move backbone.blocks.3 tower.0

RECIPE tells the new network. Tensors of the same name and shape are taken; with --move those of
one part of the old network begin another part of the new one. OUT is for `init` in that recipe.
See docs/lite.md for what it brings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from extd.models.checkpoint import load_network, save_network, unmeasured
from extd.models.network import TorchNetwork, build_network
from extd.training.recipe import load_recipe


def graft(old: TorchNetwork, new: TorchNetwork, moves: list[tuple[str, str]]) -> list[str]:
    """Load what fits of `old` into `new`; the names of the tensors that stay as they were.

    Raises:
        ValueError: a move names no part of `old`, or one whose tensors fit nothing in `new`.
    """
    source = dict(old.state_dict())
    target = new.state_dict()
    for begin, end in moves:
        moved = {
            end + name.removeprefix(begin): source.pop(name)
            for name in list(source)
            if name.startswith(f"{begin}.")
        }
        if not moved:
            raise ValueError(f"the old network has no part {begin!r}, only {', '.join(source)}")
        for name, tensor in moved.items():
            if name not in target or target[name].shape != tensor.shape:
                raise ValueError(f"{begin} does not fit {end}: the new network has no such {name}")
        source |= moved
    fitting = {
        name: tensor
        for name, tensor in source.items()
        if name in target and target[name].shape == tensor.shape
    }
    new.load_state_dict(target | fitting)
    return sorted(target.keys() - fitting.keys())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help=".safetensors file of the old network")
    parser.add_argument("recipe", type=Path, help="a recipe of the new one")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument(
        "--move", nargs=2, action="append", default=[], metavar=("OLD", "NEW"), help="may repeat"
    )
    arguments = parser.parse_args()
    try:
        old, notes = load_network(arguments.weights)
        recipe = load_recipe(arguments.recipe)
        torch.manual_seed(recipe.seed)
        new = build_network(recipe.config)
        fresh = graft(old, new, [tuple(move) for move in arguments.move])
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    save_network(new, arguments.out, unmeasured(notes))
    print(
        f"{len(new.state_dict()) - len(fresh)} tensors taken; fresh: {', '.join(fresh) or 'none'}"
    )


if __name__ == "__main__":
    main()
