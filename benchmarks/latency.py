"""Time detectors side by side on one thread, at several image sizes.

    python benchmarks/latency.py --peers PEERS --out results/bench
    python benchmarks/latency.py extd-lite mine.onnx --sizes 640x480 3840x2160 --out results/bench

Detectors take turns in every round, in a new order, so that other load hits all alike. Times are
medians with quartiles, in milliseconds: of the network, from the image to its outputs, of the whole
detection at threshold 0.5, and of the post-processing between. Memory is the peak of a process that
does nothing else (Linux only). Writes latency.csv and latency.png.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from adapters import FaceDetector, open_detectors
from memory import THRESHOLD, portrait

from extd.files import atomic_write
from extd.pixels import Image

HERE = Path(__file__).resolve().parent
STYLE = HERE.with_name("paper") / "paper.mplstyle"
SIZES = ["320x240", "640x480", "1280x720", "1920x1080"]
WARM_UP = 2
"""Rounds that do not count."""


def measure_latency(
    detectors: Sequence[FaceDetector], image: Image, rounds: int
) -> list[dict[str, object]]:
    """A row of latency.csv for each detector, without memory."""
    times = np.empty((len(detectors), WARM_UP + rounds, 2))
    order = np.random.default_rng(0)
    for turn in range(WARM_UP + rounds):
        # Always after the same neighbor, a detector would find its caches.
        for index in order.permutation(len(detectors)):
            began = time.perf_counter()
            _, network = detectors[index].detect(image, THRESHOLD)
            times[index, turn] = network, time.perf_counter() - began
    height, width = image.shape[:2]
    rows = []
    for detector, seconds in zip(detectors, times[:, WARM_UP:], strict=True):
        row: dict[str, object] = {"detector": detector.name, "width": width, "height": height}
        network, whole = 1000 * seconds.T
        columns = {"network": network, "postprocessing": whole - network, "whole": whole}
        for name, values in columns.items():
            lower, median, upper = np.percentile(values, (25, 50, 75)).round(4)
            row[f"{name}_ms"] = median
            row[f"{name}_ms_lower_quartile"] = lower
            row[f"{name}_ms_upper_quartile"] = upper
        rows.append(row)
    return rows


def peak_memory(model: str, size: str, threads: int) -> int | None:
    """What memory.py prints; None where the system does not tell."""
    if platform.system() != "Linux":
        return None
    options = ["--size", size, "--threads", str(threads)]
    command = [sys.executable, str(HERE / "memory.py"), model, *options]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def plot(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw the network's time, and that of post-processing, against the size of the image.

    A detector whose network cannot be timed alone is drawn by its whole time, dashed.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.6))
    for index, (name, rows) in enumerate(table.groupby("detector", sort=False)):
        whole = bool(rows["network_ms"].isna().all())
        for axis, stage in zip(
            axes, ("whole" if whole else "network", "postprocessing"), strict=True
        ):
            median = rows[f"{stage}_ms"]
            bars = [
                median - rows[f"{stage}_ms_lower_quartile"],
                rows[f"{stage}_ms_upper_quartile"] - median,
            ]
            label = f"{name} (whole)" if whole else f"{name}"
            axis.errorbar(
                rows["width"] * rows["height"] / 1e6,
                median,
                yerr=bars,
                label=label if axis is axes[0] else None,
                color=f"C{index}",
                marker="os^v"[index // 10 % 4],
                linestyle="--" if whole else "-",
                capsize=2,
            )
    for axis, title in zip(axes, ("network", "post-processing"), strict=True):
        axis.set(
            title=title, xlabel="megapixels", ylabel="milliseconds", xscale="log", yscale="log"
        )
    figure.legend(loc="outside lower center", ncols=4)
    figure.suptitle(caption)
    with atomic_write(path) as partial:
        figure.savefig(partial)
    plt.close(figure)


def processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="models or .onnx files; all that ship")
    parser.add_argument("--peers", type=Path, help="folder of .onnx files to compare with")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="0 is one per core")
    parser.add_argument("--out", type=Path, required=True, help="folder for figure and table")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    detectors = open_detectors(options.models, options.peers, options.threads)
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        measured = measure_latency(detectors, portrait(size), options.rounds)
        for row, detector in zip(measured, detectors, strict=True):
            row["memory_bytes"] = peak_memory(detector.model, size, options.threads)
        rows += measured
    table = pd.DataFrame(rows).assign(threads=options.threads, processor=processor())
    shown = ["detector", "width", "height", "network_ms", "postprocessing_ms", "whole_ms"]
    print(table[[*shown, "memory_bytes"]].to_string(index=False))
    with atomic_write(options.out / "latency.csv") as partial:
        table.to_csv(partial, index=False)
    threads = options.threads or "one per core"
    caption = f"threads: {threads}, medians of {options.rounds} rounds in turns, {processor()}"
    plot(table, caption, options.out / "latency.png")


if __name__ == "__main__":
    main()
