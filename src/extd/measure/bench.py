"""Detectors timed side by side: latency, memory, throughput, and AP on the same pictures.

All contestants take turns in every round, so that other load on the machine hits all alike.
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from extd.images import Image, read_image
from extd.measure.contestants import Contestant, OnnxContestant, StagedContestant
from extd.measure.evaluation import find_pictures
from extd.measure.predictions import (
    Prediction,
    read_prediction,
    to_prediction,
    write_predictions,
)
from extd.measure.wider import Evaluation, Picture, evaluate

WARM_UP = 2
"""Rounds that are run first and not counted."""
STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of repeated measurements, in milliseconds."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one detector takes for one picture of one size.

    Attributes:
        name: the detector.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        network_input: width and height of what the network took, padded or resized; None where
            the detector shows no stages.
        network: time of the network alone; None likewise.
        postprocessing: time of decoding and non-maximum suppression; None likewise.
        whole: time of the whole detection, from pixels to faces.
        memory: peak resident memory of a process that does nothing else, in bytes; None where
            it was not measured.
    """

    name: str
    width: int
    height: int
    network_input: tuple[int, int] | None
    network: Spread | None
    postprocessing: Spread | None
    whole: Spread
    memory: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, in pixels."""
        return self.width, self.height

    @property
    def compared(self) -> Spread:
        """What it is compared by: the network alone, or the whole where no stages are shown."""
        return self.network or self.whole

    @property
    def label(self) -> str:
        """The name, which tells where it is compared by the whole."""
        return self.name if self.network else f"{self.name} (whole)"


@dataclass(frozen=True, slots=True)
class Scored:
    """A detector's average precision, and how long it takes.

    Attributes:
        latency: at the size at which detectors are compared.
        note: how it is run.
        images: how many pictures the AP covers.
        ap: 0 to 1, by difficulty: easy, medium, hard.
    """

    latency: Latency
    note: str
    images: int
    ap: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """How many pictures a second one network takes, in batches.

    Attributes:
        name: the detector.
        width: of the pictures, in pixels.
        height: of the pictures, in pixels.
        batch: pictures in one run.
        network: time of the network alone for one batch.
    """

    name: str
    width: int
    height: int
    batch: int
    network: Spread

    @property
    def pictures_a_second(self) -> float:
        """At the median time."""
        return 1000 * self.batch / self.network.median


def spread(milliseconds: Sequence[float]) -> Spread:
    """Median and quartiles; `milliseconds` must not be empty."""
    lower, median, upper = np.percentile(milliseconds, (25, 50, 75)).tolist()
    return Spread(median, lower, upper)


def resized(picture: Image, width: int, height: int) -> Image:
    """`picture` stretched to that size in pixels."""
    return np.asarray(cv2.resize(picture, (width, height)), np.uint8)


def interleaved(
    runs: Sequence[Callable[[], Sequence[float]]],
    rounds: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[NDArray[np.float64]]:
    """Repeat measurements that take turns, in a new order each round.

    Args:
        runs: each measures once and gives S durations.
        rounds: how often each is counted; two more rounds warm up and are not.
        progress: wraps the numbers of the rounds as they are worked through, to show a bar.

    Returns:
        For each run its durations, float64 [rounds, S].

    Raises:
        ValueError: `rounds` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds are {rounds}; give 1 or more")
    order = np.random.default_rng(0)
    times: list[list[Sequence[float]]] = [[] for _ in runs]
    for turn in progress(range(WARM_UP + rounds)):
        # Always in the wake of the same neighbour, a contestant would find its caches.
        for index in order.permutation(len(runs)):
            taken = runs[index]()
            if turn >= WARM_UP:
                times[index].append(taken)
    return [np.array(durations, np.float64) for durations in times]


def measure_latency(
    contestants: Sequence[Contestant],
    picture: Image,
    rounds: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Latency]:
    """Time every contestant on one picture.

    Args:
        contestants: detectors in any mixture; a `StagedContestant` has its stages timed.
        picture: uint8 [H, W, 3] BGR.
        rounds: as for `interleaved`.
        progress: likewise.

    Returns:
        A latency for each contestant, without memory.

    Raises:
        ValueError: `rounds` is below 1, or a network cannot run on such a picture.
    """
    height, width = picture.shape[:2]
    runs = [_timed_run(contestant, picture) for contestant in contestants]
    latencies = []
    for contestant, times in zip(contestants, interleaved(runs, rounds, progress), strict=True):
        whole = spread(times.sum(axis=1).tolist())
        latency = Latency(contestant.name, width, height, None, None, None, whole)
        if isinstance(contestant, StagedContestant):
            rows, columns = contestant.prepare(picture).shape[2:]
            latency = replace(
                latency,
                network_input=(int(columns), int(rows)),
                network=spread(times[:, 1].tolist()),
                postprocessing=spread(times[:, 2].tolist()),
            )
        latencies.append(latency)
    return latencies


def _timed_run(contestant: Contestant, picture: Image) -> Callable[[], Sequence[float]]:
    """A function that detects once and gives the milliseconds of each stage, or of the whole."""

    def whole() -> Sequence[float]:
        began = time.perf_counter()
        contestant.detect(picture)
        return [1000 * (time.perf_counter() - began)]

    def stages() -> Sequence[float]:
        assert isinstance(contestant, StagedContestant)
        began = time.perf_counter()
        inputs = contestant.prepare(picture)
        prepared = time.perf_counter()
        outputs = contestant.infer(inputs)
        inferred = time.perf_counter()
        contestant.finish(outputs, picture)
        ended = time.perf_counter()
        return [1000 * (prepared - began), 1000 * (inferred - prepared), 1000 * (ended - inferred)]

    return stages if isinstance(contestant, StagedContestant) else whole


def measure_throughput(
    contestants: Sequence[Contestant],
    picture: Image,
    batch: int,
    rounds: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Throughput]:
    """Time the networks that take batches, on copies of one picture.

    Args:
        contestants: those whose files take one input at a time are left out.
        picture: uint8 [H, W, 3] BGR.
        batch: copies in one run.
        rounds: as for `interleaved`.
        progress: likewise.

    Raises:
        ValueError: `batch` or `rounds` is below 1, or a network cannot run on such a batch.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; give 1 or more")
    height, width = picture.shape[:2]
    chosen = [one for one in contestants if isinstance(one, OnnxContestant) and one.takes_batches]
    runs = [_timed_batch(contestant, picture, batch) for contestant in chosen]
    return [
        Throughput(contestant.name, width, height, batch, spread(times[:, 0].tolist()))
        for contestant, times in zip(chosen, interleaved(runs, rounds, progress), strict=True)
    ]


def _timed_batch(
    contestant: OnnxContestant, picture: Image, batch: int
) -> Callable[[], Sequence[float]]:
    """A function that runs the network once on a batch and gives its milliseconds."""
    inputs = np.repeat(contestant.prepare(picture), batch, axis=0)

    def run() -> Sequence[float]:
        began = time.perf_counter()
        contestant.infer(inputs)
        return [1000 * (time.perf_counter() - began)]

    return run


def resident_memory(load: Callable[[], Contestant], picture: Image) -> int | None:
    """Peak resident memory, in bytes, of a fresh process that detects in one picture.

    It includes Python and the libraries. None where the system does not tell (only Linux does).

    Args:
        load: gives the detector; it is pickled for the new process.
        picture: uint8 [H, W, 3] BGR.

    Raises:
        ValueError: the process failed, as when memory runs out.
    """
    if not STATUS.is_file():
        return None
    module = _print_peak_memory.__module__
    program = f"from {module} import {_print_peak_memory.__name__} as run; run()"
    result = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps((load, picture)), capture_output=True
    )
    if result.returncode:
        height, width = picture.shape[:2]
        (*_, last) = result.stderr.decode(errors="replace").split("\n")[:-1] or ["no message"]
        raise ValueError(
            f"the process to measure memory at {width} x {height} px ended with "
            f"{result.returncode}: {last}"
        )
    return int(result.stdout)


def _print_peak_memory() -> None:
    """Detect as standard input says; what `resident_memory` starts."""
    load, picture = pickle.load(sys.stdin.buffer)
    load().detect(picture)
    # Unlike getrusage, this does not count the process that started this one.
    lines = STATUS.read_text("utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    sys.stdout.write(str(1024 * int(peak)))


def measure_ap(
    contestant: Contestant,
    images: Path,
    ground_truth: Sequence[Picture],
    predictions: Path,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Evaluation:
    """Average precision of a contestant, each picture seen once in its own size.

    Args:
        contestant: any detector.
        images: folder of EVENT/PICTURE.jpg, as for `evaluate_folder`.
        ground_truth: of the whole validation set; it is restricted to the pictures in `images`.
        predictions: folder for a file a picture in WIDER's format. Those there are taken as
            they are, so that a second run goes on where the first stopped.
        progress: wraps the names of the pictures as they are worked through, to show a bar.

    Raises:
        FileNotFoundError: `images` has no picture of the ground truth.
        ValueError: a picture or a file of predictions is broken; the message gives its path.
    """
    paths = find_pictures(images, ground_truth)
    found: dict[str, Prediction] = {}
    for key in progress(list(paths)):
        saved = predictions / f"{key}.txt"
        if saved.is_file():
            found[key] = read_prediction(saved)
            continue
        bgr = np.ascontiguousarray(read_image(paths[key])[:, :, ::-1])
        found[key] = to_prediction(contestant.detect(bgr))
        write_predictions(predictions, {key: found[key]})
    return evaluate(found, ground_truth)


def predictions_folder(out: Path, name: str, file: Path) -> Path:
    """Folder in `out` for what `file` finds: a file of other content has another."""
    return out / f"{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
