"""Make Table 1 of the paper: what each network costs beside S3FD, and how good its weights are.

    python paper/cost_table.py --out results/models

Writes models.csv with every number, models.md to read, and models.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from adjustText import adjust_text
from costs import count_hooked_macs, peak_activations
from figures import STYLE, save_figure

from extd.catalog import load_catalog
from extd.files import atomic_write
from extd.models.config import BASELINE_CONFIGS, LITE_CONFIGS, PAPER_CONFIGS, NetworkConfig
from extd.models.network import build_network, count_macs, count_parameters

HERE = Path(__file__).parent
S3FD = "s3fd-vgg16"
"""The network that the paper compares with."""

NOTES = """
- times fewer: than S3FD (`s3fd-vgg16`); in brackets what the paper claims.
- weights: the parameters in float32, 4 bytes each. The ONNX file holds the graph too.
- multiply-adds: of the convolutions, counted as operators run. A counter that hooks modules and
  keeps one figure for each, as "hooked" does, sees only the last of the six passes through F.
- peak maps: most bytes of images and maps at once at 640x480. Every operator writes a new tensor,
  which lives until its last reader has run. Runtimes that fuse operators need less.
- AP: WIDER FACE's validation set, {images:,.0f} images, one scale (protocol `single`).
"""


def count_network(config: NetworkConfig) -> dict[str, object]:
    """What a network costs, as a row of models.csv."""
    # Counts need shapes alone, so no weights are allocated.
    with torch.device("meta"):
        network = build_network(config).eval()
    parameters = count_parameters(network)
    return {
        "model": config.name,
        "parameters": parameters,
        "float32_bytes": 4 * parameters,
        "macs_640x480": count_macs(network),
        "macs_640x640": count_macs(network, 640, 640),
        "hooked_macs_640x640": count_hooked_macs(network, 640, 640),
        "peak_activation_bytes_640x480": peak_activations(network),
    }


def cost_table(configs: Sequence[NetworkConfig]) -> pd.DataFrame:
    """A row per network, with the AP in the catalog and the paper's claims in published.csv.

    `configs` must include S3FD, which the others are compared with.
    """
    table = pd.DataFrame([count_network(config) for config in configs])
    s3fd = table[table["model"] == S3FD].iloc[0]
    for name, column in (("parameters", "parameters"), ("macs", "macs_640x640")):
        table[f"s3fd_{name}_ratio"] = (s3fd[column] / table[column]).round(2)
    shipped = [
        {
            "model": model.name,
            "onnx_bytes": model.weights.float32.bytes,
            "images": model.weights.images,
            "easy": model.weights.float32.ap.easy,
            "medium": model.weights.float32.ap.medium,
            "hard": model.weights.float32.ap.hard,
        }
        for model in load_catalog()
        if model.weights and model.weights.float32.ap
    ]
    claims = pd.read_csv(HERE / "published.csv").dropna(subset="s3fd_macs")
    claims = claims[["detector", "s3fd_macs", "s3fd_parameters"]]
    claims.columns = pd.Index(["model", "s3fd_macs_ratio_paper", "s3fd_parameters_ratio_paper"])
    return table.merge(pd.DataFrame(shipped), "left", "model").merge(claims, "left", "model")


def readable(table: pd.DataFrame) -> str:
    """The table in Markdown, with what its columns mean."""

    def times(count: str) -> list[str]:
        columns = table[f"s3fd_{count}_ratio"], table[f"s3fd_{count}_ratio_paper"]
        return [
            f"{ours:.3g}" + (f" ({paper:g})" if pd.notna(paper) else "")
            for ours, paper in zip(*columns, strict=True)
        ]

    def number(column: str, unit: float, spec: str = ",.0f") -> list[str]:
        return [format(v / unit, spec) if pd.notna(v) else "-" for v in table[column]]

    columns = {
        "model": table["model"],
        "parameters": number("parameters", 1),
        "times fewer": times("parameters"),
        "weights, kB": number("float32_bytes", 1e3),
        "ONNX file, kB": number("onnx_bytes", 1e3),
        "M multiply-adds, 640x480": number("macs_640x480", 1e6),
        "640x640": number("macs_640x640", 1e6),
        "times fewer ": times("macs"),
        "hooked, 640x640": number("hooked_macs_640x640", 1e6),
        "peak maps, MB": number("peak_activation_bytes_640x480", 1e6, ".1f"),
        "AP easy": number("easy", 1, ".3f"),
        "medium": number("medium", 1, ".3f"),
        "hard": number("hard", 1, ".3f"),
    }
    markdown = pd.DataFrame(columns).to_markdown(index=False, disable_numparse=True)
    return f"{markdown}\n{NOTES.format(images=table['images'].max())}"


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw multiply-adds and peak memory of maps against parameters."""
    # LeakyReLU and ReLU would lie on top of PReLU.
    drawn = table[~table["model"].str.contains("-leakyrelu|-relu")]
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.2))
    values = {
        "billion multiply-adds at 640x640": drawn["macs_640x640"] / 1e9,
        "peak MB of maps at 640x480": drawn["peak_activation_bytes_640x480"] / 1e6,
    }
    parameters = drawn["parameters"] / 1e6
    colors = ["C3" if name.startswith("extd") else "C0" for name in drawn["model"]]
    for axis, (label, heights) in zip(axes, values.items(), strict=True):
        axis.scatter(parameters, heights, c=colors)
        axis.set(xscale="log", yscale="log", xlabel="million parameters", ylabel=label)
        names = drawn["model"].str.removesuffix("-prelu")
        texts = [axis.text(*at, fontsize=8) for at in zip(parameters, heights, names, strict=True)]
        adjust_text(texts, ax=axis, arrowprops={"arrowstyle": "-", "color": "0.7"})
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    options = parser.parse_args(arguments)
    plt.style.use(STYLE)
    table = cost_table([*BASELINE_CONFIGS, *PAPER_CONFIGS, *LITE_CONFIGS.values()])
    text = readable(table)
    print(text)
    with atomic_write(options.out / "models.csv") as partial:
        table.to_csv(partial, index=False)
    with atomic_write(options.out / "models.md") as partial:
        partial.write_text(text, encoding="utf-8")
    plot(table, options.out / "models.png")


if __name__ == "__main__":
    main()
