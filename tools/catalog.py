"""Write src/extd/catalog.json: count every model, and put trained weights into the package.

    python tools/catalog.py
    python tools/catalog.py --weights RUN/weights.safetensors --evaluation EVAL.json

EVAL.json is what `extd eval wider --json EVAL.json` measured with the exported weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch

from extd.catalog import CATALOG, WEIGHTS
from extd.files import atomic_write
from extd.models.checkpoint import load_network, save_network
from extd.models.config import LITE_CONFIGS, PAPER_CONFIGS, parse_name
from extd.models.export import export_onnx
from extd.models.network import build_network
from extd.models.profile import count_macs, count_parameters

LICENSE = "MIT; trained on photographs released for research"


def counted(records: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """A record for each model of the paper and EXTD-Lite, and for those that `records` add."""
    names = dict.fromkeys([*LITE_CONFIGS, *(config.name for config in PAPER_CONFIGS), *records])
    counted = {}
    for name in names:
        # Counts need shapes alone, so no weights are allocated.
        with torch.device("meta"):
            network = build_network(parse_name(name)).eval()
        counted[name] = {
            "name": name,
            "parameters": count_parameters(network),
            "macs": count_macs(network),
            "weights": records.get(name, {}).get("weights"),
        }
    return counted


def packaged(source: Path, evaluation: Path) -> tuple[str, dict[str, object]]:
    """Export `source` into the package; its model's name and its `weights` record."""
    network, notes = load_network(source)
    measured = json.loads(evaluation.read_text(encoding="utf-8"))
    if None in measured["ap"].values():
        raise SystemExit(f"{evaluation} has no AP for every difficulty; measure more images")
    WEIGHTS.mkdir(exist_ok=True)
    notes |= {"ap": measured["ap"], "ap_images": measured["images"], "license": LICENSE}
    name = network.config.name
    save_network(network, WEIGHTS / f"{name}.safetensors", notes)
    path = WEIGHTS / f"{name}.onnx"
    export_onnx(network, path, notes)
    content = path.read_bytes()
    return name, {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "ap": measured["ap"],
        "images": measured["images"],
        "training_data": "; ".join(
            str(notes[k]) for k in ("training_data", "training") if k in notes
        ),
        "license": LICENSE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="safetensors file of a run")
    parser.add_argument("--evaluation", type=Path, help="JSON of extd eval wider")
    arguments = parser.parse_args()
    if (arguments.weights is None) != (arguments.evaluation is None):
        parser.error("--weights and --evaluation go together")
    records = {}
    if CATALOG.exists():
        records = {r["name"]: r for r in json.loads(CATALOG.read_text(encoding="utf-8"))}
    if arguments.weights:
        name, weights = packaged(arguments.weights, arguments.evaluation)
        records.setdefault(name, {})["weights"] = weights
    text = json.dumps(list(counted(records).values()), indent=1)
    with atomic_write(CATALOG) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
