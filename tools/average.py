"""Average the weights of several runs of one network (stochastic weight averaging).

    python tools/average.py OUT.safetensors RUN/weights.safetensors RUN/weights.safetensors ...

See docs/lite.md for what it brings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from extd.models.checkpoint import load_network, save_network, unmeasured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("weights", type=Path, nargs="+", help=".safetensors files of one network")
    arguments = parser.parse_args()
    loaded = [load_network(path) for path in arguments.weights]
    mean, notes = loaded[-1]
    if any(network.config != mean.config for network, _ in loaded):
        parser.error(f"the weights are not of one network, as {mean.config.name}")
    states = [network.state_dict() for network, _ in loaded]
    with torch.no_grad():
        for name, value in mean.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name] for state in states]).mean(0))
    save_network(mean, arguments.out, unmeasured(notes))


if __name__ == "__main__":
    main()
