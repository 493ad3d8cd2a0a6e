"""Compare the time of an exported file with that of the same network in eager PyTorch.

    python benchmarks/eager_vs_onnx.py [--widths 32 48 64] [--threads 1] [--device cuda]

Both take turns on one 640x480 image, so that other load hits both alike. The weights are fresh:
they do not change the time. The ONNX file always runs on the CPU; --device is PyTorch's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from extd.models.config import ExtdConfig
from extd.models.export import export_onnx
from extd.models.extd import Extd
from extd.runtime import OnnxModel


def compare(width: int, threads: int, rounds: int, device: str) -> dict[str, object]:
    """Median milliseconds of the network of that width, in eager PyTorch and as ONNX file."""
    config = ExtdConfig("fpn", width, "prelu")
    network = Extd(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(network, path)
        exported = OnnxModel(path, threads=threads)
    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), np.uint8)
    inputs = torch.from_numpy(image).permute(0, 3, 1, 2).float().contiguous().to(device)
    network.to(device)
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        with torch.inference_mode():
            # Reading a number waits until the device is done.
            network(inputs).regression.sum().item()
        middle = time.perf_counter()
        exported.run(image)
        times.append((middle - began, time.perf_counter() - middle))
    # The first round warms up.
    eager, onnx = 1000 * np.median(times[1:], axis=0)
    row = {"model": config.name, "eager PyTorch, ms": eager, "extd's ONNX file, ms": onnx}
    return row | {"ratio": eager / onnx}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 48, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = [
        compare(width, options.threads, options.rounds, options.device) for width in options.widths
    ]
    print(f"640x480, {options.threads} thread(s), median of {options.rounds} rounds")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".1f"))


if __name__ == "__main__":
    main()
