"""`extd bench`: detectors side by side, by latency and by average precision."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token
from rich.console import Console

from extd.cli.terminal import (
    MACHINE,
    WHOLE_NUMBER,
    Folder,
    UsageError,
    print_error,
    print_line,
    progress_bar,
    train_extra,
    usage,
)

if TYPE_CHECKING:
    from extd.images import Image
    from extd.measure.bench import Latency, Scored
    from extd.measure.contestants import FileContestant
    from extd.measure.wider import Picture as WiderPicture

    Load = Callable[..., FileContestant]
    Entrant = tuple[FileContestant, Load]

Size = tuple[int, int]

PICTURE = Path(__file__).parents[1] / "assets" / "selfcheck.jpg"
SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))
COMPARED = (640, 480)
"""The size at which AP is set against latency, where it is measured."""


def read_sizes(_: object, tokens: Sequence[Token]) -> tuple[Size, ...]:
    """The sizes of one or several `--sizes`, each like `320x240,640x480`."""
    sizes = []
    for word in (word for token in tokens for word in token.value.split(",")):
        sides = word.lower().split("x")
        if len(sides) != 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
            raise UsageError(f"--sizes has {word!r}; give sizes like 320x240,640x480")
        sizes.append((int(sides[0]), int(sides[1])))
    return tuple(dict.fromkeys(sizes))


def bench(
    *models: Annotated[str, Parameter(metavar="MODEL|FILE")],
    out: Folder,
    peers: Folder | None = None,
    sizes: Annotated[
        tuple[Size, ...],
        Parameter(
            metavar="SIZES",
            converter=read_sizes,
            n_tokens=1,
            show_default=",".join(f"{width}x{height}" for width, height in SIZES),
        ),
    ] = SIZES,
    rounds: Annotated[int, WHOLE_NUMBER] = 20,
    batch: Annotated[int | None, WHOLE_NUMBER] = None,
    picture: Annotated[Path | None, Parameter(show_default="a portrait")] = None,
    images: Folder | None = None,
    ground_truth: Folder | None = None,
    threads: Annotated[int, WHOLE_NUMBER, Parameter(group=MACHINE)] = 1,
    device: Annotated[str, Parameter(group=MACHINE)] = "cpu",
) -> int:
    """Measure how long detectors take, and how good they are for it.

    Models and peers take turns in every round, so that other load hits all alike. Times are
    medians with quartiles, of the network alone, of post-processing and of the whole, with faces
    of scores above 0.5. AP on the pictures in --images is that of `extd eval wider`: each is seen
    once in its own size, with scores above 0.02.

        extd bench --peers PEERS --out results/bench
        extd bench extd-fpn-32-prelu mine.onnx --sizes 640x480,3840x2160 --out results/bench

    Args:
        models: What is measured: models that `extd models` lists, .onnx files, or checkpoints,
            which PyTorch runs. Without any, all models whose weights ship. The first is the one
            that others are compared with.
        out: Folder for latency.csv, latency.png, and with --images ap.csv,
            ap_against_latency.png and what was found.
        peers: Measure the .onnx files of this folder too: YuNet, SCRFD, Ultra-Light RFB.
        sizes: Sizes of the picture, as in 640x480,3840x2160.
        rounds: How many times each is measured.
        batch: Measure pictures a second in batches of this many too, at the first size.
        picture: What is looked at, stretched to each size.
        images: Measure AP on WIDER FACE's pictures, as `extd eval wider`. What a file found is
            kept for the next time.
        ground_truth: Folder of its official wider_face_val.mat and lists.
        threads: How many threads compute; 0 is one a core.
        device: What runs checkpoints, as cpu or cuda.
    """
    from extd.images import read_image
    from extd.measure.bench import measure_throughput, resized
    from extd.measure.benchplots import plot_ap, plot_latency
    from extd.measure.benchtables import (
        ap_row,
        ap_table,
        latency_row,
        latency_table,
        throughput_row,
        throughput_table,
        write_csv,
    )
    from extd.measure.figures import import_figure
    from extd.measure.peers import find_peers
    from extd.measure.wider import load_ground_truth

    if (images is None) != (ground_truth is None):
        raise UsageError("AP needs both --images and --ground-truth")
    for option, number, least in (
        ("threads", threads, 0),
        ("rounds", rounds, 1),
        ("batch", 1 if batch is None else batch, 1),
    ):
        if number < least:
            raise UsageError(f"--{option} is {number}; give {least} or more")
    import_figure()
    with usage():
        names = [*(models or packaged()), *(map(str, find_peers(peers)) if peers else ())]
        truth = load_ground_truth(ground_truth) if ground_truth is not None else ()
        bgr = read_image(PICTURE if picture is None else picture)[:, :, ::-1]

    entrants, failed = load_all(names, threads, device)
    contestants = [contestant for contestant, _ in entrants]
    context = {"threads": threads, "processor": processor(), "command": command_line()}
    workers = {0: "a thread a core", 1: "1 thread"}.get(threads, f"{threads} threads")
    caption = f"{workers}, medians of {rounds} rounds in turns, {processor()}"
    console, written = Console(), ["latency.csv", "latency.png"]
    latencies: list[Latency] = []
    for width, height in sizes:
        latencies += measure_size(entrants, resized(bgr, width, height), rounds)
        write_csv(out / "latency.csv", [latency_row(row) | context for row in latencies])
    print_line(console, latency_table(latencies))
    plot_latency(latencies, caption, out / "latency.png")
    if batch is not None:
        with progress_bar(f"batches of {batch}", hidden=False) as bar:
            first = resized(bgr, *sizes[0])
            throughputs = measure_throughput(contestants, first, batch, rounds, bar.track)
        if throughputs:
            print_line(console, throughput_table(throughputs))
            rows = [throughput_row(row) | context for row in throughputs]
            write_csv(out / "throughput.csv", rows)
            written.append("throughput.csv")
        else:
            print_line(console, "none of them takes batches")
    if images is not None:
        size = COMPARED if COMPARED in sizes else sizes[0]
        compared = [latency for latency in latencies if latency.size == size]
        results = score(entrants, compared, images, truth, out / "predictions")
        notes = [context | {"how": result.note} for result in results]
        rows = [ap_row(row) | note for row, note in zip(results, notes, strict=True)]
        write_csv(out / "ap.csv", rows)
        print_line(console, ap_table(results))
        pictures = f"AP on {results[0].images:,} pictures, each seen once in its own size; "
        plot_ap(results, pictures + caption, out / "ap_against_latency.png")
        written += ["ap.csv", "ap_against_latency.png"]
    print_line(console, f"written in {out}: {', '.join(written)}")
    return int(failed)


def packaged() -> list[str]:
    """The models whose weights ship, the default first."""
    from extd.catalog import DEFAULT_MODEL, load_catalog

    names = [model.name for model in load_catalog() if model.weights]
    return sorted(names, key=lambda name: name != DEFAULT_MODEL)


def load_all(names: Sequence[str], threads: int, device: str) -> tuple[list[Entrant], bool]:
    """What could be loaded and tried; whether something could not, which is reported.

    Raises:
        UsageError: two have the same name.
        ValueError: nothing could be loaded.
    """
    import numpy as np

    entrants: list[Entrant] = []
    for name in names:
        try:
            load = loader(name, threads, device)
            contestant = load()
            contestant.detect(np.zeros((96, 128, 3), np.uint8))
        except (ValueError, OSError, ImportError) as error:
            print_error(f"{name}: {error}")
            continue
        entrants.append((contestant, load))
    loaded = [contestant.name for contestant, _ in entrants]
    for name in loaded:
        if loaded.count(name) > 1:
            raise UsageError(f"two detectors are called {name}; rename a file")
    if not loaded:
        raise ValueError("no detector could be loaded")
    return entrants, len(loaded) < len(names)


def loader(name: str, threads: int, device: str) -> Load:
    """What loads a detector, here or in another process.

    Raises:
        ImportError: it is a checkpoint, and torch is missing.
    """
    from extd.measure.peers import load_contestant

    if Path(name).suffix.lower() != ".safetensors":
        return partial(load_contestant, name, threads)
    with train_extra("a checkpoint"):
        from extd.training.contestant import load_torch_contestant
    return partial(load_torch_contestant, Path(name), device, threads)


def measure_size(entrants: Sequence[Entrant], bgr: Image, rounds: int) -> list[Latency]:
    """Time and memory of every detector on one picture."""
    from extd.measure.bench import measure_latency, resident_memory

    height, width = bgr.shape[:2]
    with progress_bar(f"{width}x{height}", hidden=False) as bar:
        contestants = [contestant for contestant, _ in entrants]
        latencies = measure_latency(contestants, bgr, rounds, bar.track)
    return [
        replace(latency, memory=resident_memory(load, bgr))
        for latency, (_, load) in zip(latencies, entrants, strict=True)
    ]


def score(
    entrants: Sequence[Entrant],
    latencies: Sequence[Latency],
    images: Path,
    truth: Sequence[WiderPicture],
    predictions: Path,
) -> list[Scored]:
    """AP of every detector; `latencies` are theirs at the size of comparison."""
    from extd.measure.bench import Scored, measure_ap, predictions_folder
    from extd.measure.protocols import SINGLE

    results = []
    for (_, load), latency in zip(entrants, latencies, strict=True):
        contestant = load(threshold=SINGLE.threshold)
        folder = predictions_folder(predictions, contestant.name, contestant.path)
        with progress_bar(contestant.name, hidden=False) as bar:
            evaluation = measure_ap(contestant, images, truth, folder, bar.track)
        results.append(Scored(latency, contestant.note, evaluation.images, evaluation.ap))
    return results


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def command_line() -> str:
    """The command, as it can be typed."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
