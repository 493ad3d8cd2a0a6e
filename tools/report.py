"""Regenerate the tables and figures of docs/results from what this machine has.

    python tools/report.py [--wider DIR] [--official DIR] [--peers DIR] [--fddb DIR]
        [--ablation DIR] [--only NAME]

Each is made by a command of extd, which is printed first. What needs data that is not given is
skipped, and the end tells what and why. The exit code is 1 if a command failed.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from extd.catalog import load_catalog

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("docs/results")
WORK = Path("results")
"""Where commands write; also what does not go into the repository, as detections."""
DATA = {
    "wider": "folder with WIDER_val/images, and ground_truth with the official .mat files",
    "official": "folder of official curves, wider_pr_info_*.mat",
    "peers": "folder of other detectors' ONNX files, as for extd bench",
    "fddb": "folder with originalPics and FDDB-folds",
    "ablation": "folder of a run of extd ablate grids/paper.yaml",
}
EXTD = Path(sys.executable).with_name("extd")
SIZES = "320x240,640x480,1280x720,1920x1080,3840x2160"
"""Of pictures for `extd bench`, from a quarter of VGA to 4K."""
KEPT = (".csv", ".json", ".md", ".png")


@dataclass(frozen=True, slots=True)
class Step:
    """A table or figure.

    Attributes:
        name: of it, and of its folder.
        commands: what makes it, each the arguments of `extd`.
        needs: the data without which it cannot be made, as in `DATA`.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: str = ""


def steps(given: Set[str]) -> Iterator[Step]:
    """All tables and figures, each after those that it builds on, with the data that is there."""
    models = [model.name for model in load_catalog() if model.weights]
    pictures = ("--images", "data/wider/WIDER_val/images")
    truth = ("--ground-truth", "data/wider/ground_truth")

    yield Step("models", (("table", "models", "--out", "models"),))

    peers = ("--peers", "data/peers") if "peers" in given else ()
    ap = (*pictures, *truth) if "wider" in given else ()
    bench = ("bench", *models, *peers, "--sizes", SIZES, "--rounds", "10")
    yield Step("bench", ((*bench, *ap, "--out", "bench"),))
    every = ("--threads", "0", "--out", "bench-all-cores")
    yield Step("bench-all-cores", ((*bench, *every),))
    times = ("--bench", "bench/ap.csv") if {"peers", "wider"} <= given else ()
    yield Step("tradeoff", (("plot", "tradeoff", "--out", "tradeoff", *times),))

    measured = []
    for model in models:
        report = ("--json", f"wider/{model}.json", "--save-predictions", f"found/{model}")
        measured.append(("eval", "wider", "--model", model, *pictures, *truth, *report))
    yield Step("wider", tuple(measured), "wider")
    found = tuple(f"found/{model}" for model in models)
    official = ("--official", "data/official") if "official" in given else ()
    for name, more in (("pr", official), ("recall", ()), ("attributes", ())):
        yield Step(name, (("plot", name, *found, *truth, "--out", name, *more),), "wider")

    folds = ("--images", "data/fddb/originalPics", "--annotations", "data/fddb/FDDB-folds")
    for model in models:
        name = f"fddb-{model}"
        curve = ("eval", "fddb", "--model", model, *folds, "--out", name)
        yield Step(name, ((*curve, "--json", f"{name}/rates.json"),), "fddb")
    yield Step("ablation", (), "ablation")


def make(step: Step, work: Path) -> bool:
    """Run the commands of a step in `work`; whether all went well."""
    for command in step.commands:
        print(f"\n$ extd {shlex.join(command)}", flush=True)
        run = subprocess.run([EXTD, *command], cwd=work, check=False)
        if run.returncode:
            return False
    made = work / "data" / "ablation" if step.name == "ablation" else work / step.name
    target = ROOT / RESULTS / step.name
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(made.iterdir()):
        if path.suffix in KEPT:
            shutil.copyfile(path, target / path.name)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, meaning in DATA.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=meaning)
    parser.add_argument("--only", action="append", metavar="NAME", help="make this one alone")
    arguments = parser.parse_args()
    given = {name for name in DATA if getattr(arguments, name) is not None}

    work = ROOT / WORK
    (work / "data").mkdir(parents=True, exist_ok=True)
    for name in given:
        # The commands that stand in results name no folder of this machine.
        folder: Path = getattr(arguments, name)
        if not folder.is_dir():
            parser.error(f"--{name}: there is no folder {folder}")
        link = work / "data" / name
        link.unlink(missing_ok=True)
        link.symlink_to(folder.absolute(), target_is_directory=True)

    known = {step.name for step in steps(set(DATA))}
    for name in arguments.only or ():
        if name not in known:
            parser.error(f"--only {name}: choose from {', '.join(sorted(known))}")
    made, lines = [], []
    for step in steps(given):
        if arguments.only and step.name not in arguments.only:
            continue
        if step.needs and step.needs not in given:
            lines.append(f"skipped {step.name}: needs --{step.needs}, a {DATA[step.needs]}")
        elif make(step, work):
            made.append(step.name)
        else:
            lines.append(f"failed  {step.name}")
    for name, whose in (("peers", "bench and tradeoff"), ("official", "pr")):
        if name not in given and not arguments.only:
            lines.append(f"skipped others in {whose}: needs --{name}, a {DATA[name]}")
    print(f"\nmade in {RESULTS}: {', '.join(made) or 'nothing'}")
    print("\n".join(lines))
    return int(any(line.startswith("failed") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
