"""How much faster is the exported file than the same network in eager PyTorch?

    python benchmarks/eager_vs_onnx.py [--widths 32 48 64] [--threads 1] [--rounds 7]

Both take turns on one 640x480 picture, so that other load hits both alike. The weights are
fresh: they do not change the time. Eager runs plain nn.PReLU and batch norms.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from extd.models.config import ExtdConfig
from extd.models.export import export_onnx
from extd.models.extd import Extd
from extd.runtime import OnnxModel


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(width: int, threads: int, rounds: int) -> tuple[float, float]:
    """Median milliseconds of the eager network and of the ONNX file."""
    network = Extd(ExtdConfig("fpn", width, "prelu")).eval()
    picture = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), np.uint8)
    images = torch.from_numpy(picture).permute(0, 3, 1, 2).float().contiguous()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(network, path)
        exported = OnnxModel(path, threads=threads)

    def eager() -> None:
        with torch.inference_mode():
            network(images)

    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for kept, call in zip(times, (eager, lambda: exported.run(picture)), strict=True):
            taken = seconds(call)
            if turn:  # the first turn warms up
                kept.append(1000 * taken)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 48, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"640x480, {arguments.threads} thread(s), median of {arguments.rounds} rounds")
    print("| model | eager PyTorch, ms | extd's ONNX file, ms | ratio |")
    print("|---|---|---|---|")
    for width in arguments.widths:
        eager, exported = compare(width, arguments.threads, arguments.rounds)
        name = ExtdConfig("fpn", width, "prelu").name
        print(f"| {name} | {eager:.0f} | {exported:.0f} | {eager / exported:.1f} |", flush=True)


if __name__ == "__main__":
    main()
