"""Two detectors on the same labeled images: the difference in AP, its noise, the worst errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extd.boxes import area
from extd.data.contact_sheet import SUSPICIOUS, Color, Marks, draw_samples
from extd.data.sample import Sample
from extd.evaluation import wider
from extd.evaluation.labeled import SIZES, by_image, detect_labeled
from extd.evaluation.predictions import Prediction
from extd.pixels import Image

RESAMPLES = 1000
"""Bootstrap samples of the images."""
MIN_TEST_IMAGES = 5
"""With faces: of fewer images, all may get better by chance more often than 1 in 20 times."""
THRESHOLD = 0.5
"""Score from which a detection is a false positive, and below which a face counts as missed."""
FALSE_POSITIVE: Color = (255, 0, 220)


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """What a detector found in labeled images."""

    samples: Sequence[Sample]
    predictions: Mapping[str, Prediction]  # by the path of the image
    truth: Sequence[wider.GroundTruth]  # in the order of the samples

    @property
    def ap(self) -> dict[str, float]:
        """AP at IoU 0.5 by the size of faces (`SIZES`)."""
        return wider.precision_recall(self.predictions, self.truth, SIZES).ap


def run_detector(detect: Callable[[Image], Prediction], samples: Sequence[Sample]) -> Detected:
    """Run a detector, as in `partial(single, Detector())`; errors as of `evaluate_labeled`."""
    return Detected(samples, *by_image(samples, detect_labeled(detect, samples)))


def difference_interval(before: Detected, after: Detected) -> tuple[float, float]:
    """The 95 % interval of the rise in AP, by resampling images with replacement.

    Both detectors see the same resampled images, so that hard images do not count as noise. It is
    infinite for fewer than `MIN_TEST_IMAGES` images with faces.
    """
    faces = np.array([int(truth.keep[0].sum()) for truth in before.truth])
    if np.count_nonzero(faces) < MIN_TEST_IMAGES:
        return -math.inf, math.inf
    rng = np.random.default_rng(0)
    counts = [_counts(detected) for detected in (before, after)]
    rises = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(len(faces), size=len(faces)), minlength=len(faces))
        if total := int(times @ faces):
            old, new = (_resampled_ap(own, times, total) for own in counts)
            rises.append(new - old)
    low, high = np.quantile(rises, [0.025, 0.975]).tolist()
    return low, high


def describe_rise(before: float, after: float, rise: tuple[float, float]) -> str:
    """AP before and after, and whether its `rise` (an interval) is more than noise."""
    line = f"AP {before:.3f} before, {after:.3f} after: {after - before:+.3f}"
    low, high = rise
    if math.isinf(high):
        return f"{line}. Fewer than {MIN_TEST_IMAGES} test images have faces: this may be noise"
    noise = f"{line} (95 % interval {low:+.3f} to {high:+.3f})"
    return noise if low > 0 else f"{noise}. It did not rise beyond noise"


def _resampled_ap(counts: NDArray[np.int64], times: NDArray[np.intp], faces: int) -> float:
    hits, detections = np.tensordot(times, counts, 1)
    return wider.curve_from_counts(hits, detections, faces).ap


def _counts(detected: Detected) -> NDArray[np.int64]:
    """Of each image, faces found and detections at each threshold: [I, 2, 1000]."""
    counts = np.zeros((len(detected.truth), 2, len(wider.THRESHOLDS)), np.int64)
    for index, own in wider.image_counts(detected.predictions, detected.truth):
        counts[index] = own[0]
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """The errors in one image: boxes N x 4 and M x 4, float32 xyxy px, the worst first."""

    missed: NDArray[np.float32]
    false: NDArray[np.float32]
    scores: NDArray[np.float64]  # M, of the false positives


def find_errors(found: Prediction, sample: Sample) -> Errors:
    """Faces that no detection of at least `THRESHOLD` meets at IoU 0.5, and detections on none.

    The largest missed face is the worst one, and the surest false positive.
    """
    sure = found.scores >= THRESHOLD
    boxes, scores = wider.corners(found.boxes[sure]), found.scores[sure]
    faces = sample.boxes.astype(np.float64)
    hits = wider.pixel_iou(boxes, faces) >= wider.IOU
    missed, wrong = faces[~hits.any(0)], ~hits.any(1)
    by_size = np.argsort(-area(missed.astype(np.float32)), kind="stable")
    by_score = np.argsort(-scores[wrong], kind="stable")
    return Errors(
        missed[by_size].astype(np.float32),
        boxes[wrong][by_score].astype(np.float32),
        scores[wrong][by_score],
    )


def draw_errors(detected: Detected, count: int = 24) -> Image | None:
    """A sheet of the `count` images with the worst false positives and misses, by turns.

    Returns:
        uint8 [H, W, 3], RGB; None where there are no errors.
    """
    errors = {
        sample: find_errors(detected.predictions[str(sample.path)], sample)
        for sample in detected.samples
    }
    alarms = [sample for sample, own in errors.items() if len(own.false)]
    alarms.sort(key=lambda sample: -errors[sample].scores[0])
    misses = [sample for sample, own in errors.items() if len(own.missed)]
    misses.sort(key=lambda sample: -area(errors[sample].missed)[0])
    turns = [*enumerate(alarms), *enumerate(misses)]
    ordered = [sample for _, sample in sorted(turns, key=lambda turn: turn[0])]
    chosen = list(dict.fromkeys(ordered))[:count]
    if not chosen:
        return None
    missed: dict[Path, NDArray[np.float32]] = {s.path: own.missed for s, own in errors.items()}
    false: dict[Path, NDArray[np.float32]] = {s.path: own.false for s, own in errors.items()}
    wrong = len(set(alarms) | set(misses))
    title = f"{len(chosen)} of {wrong} images with errors at a threshold of {THRESHOLD}"
    marks = [Marks("missed", SUSPICIOUS, missed), Marks("false positive", FALSE_POSITIVE, false)]
    return draw_samples(chosen, marks, title)
