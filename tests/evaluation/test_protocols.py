from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from extd.detector import Options
from extd.evaluation.protocols import (
    PROTOCOLS,
    enlarged_scales,
    group_vote,
    multiscale,
    multiscale_faces,
    paper,
    single,
)
from extd.faces import Faces

PASS = Options(threshold=0.05, nms_iou=0.3, top_k=5000, max_faces=750, scales=(1.0,), clip=False)


class PlantedDetector:
    """Finds the same boxes in every image and records how it was called."""

    def __init__(self, *faces: tuple[float, float, float, float, float]) -> None:
        self.faces = np.reshape(np.array(faces, np.float32), (-1, 5))
        self.calls: list[tuple[NDArray[np.uint8], Options]] = []

    def detect(self, image: NDArray[np.uint8], options: Options) -> Faces:
        self.calls.append((image, options))
        return Faces(self.faces[:, :4], self.faces[:, 4], image.shape[1], image.shape[0])


def striped_image(height: int, width: int) -> NDArray[np.uint8]:
    """Every column has a color of its own, so that a mirrored image differs."""
    return np.broadcast_to(
        (np.arange(width) % 251).astype(np.uint8)[:, None], (height, width, 3)
    ).copy()


def faces(*rows: tuple[float, float, float, float, float]) -> Faces:
    values = np.reshape(np.array(rows, np.float32), (-1, 5))
    return Faces(values[:, :4], values[:, 4], 1000, 1000)


def test_single_is_one_pass_at_the_original_size() -> None:
    detector = PlantedDetector((-2, 1, 10, 31, 0.03))
    image = striped_image(90, 120)
    result = single(detector, image)
    assert detector.calls == [(image, replace(PASS, threshold=0.02, clip=True))]
    assert result.boxes.tolist() == [[-2, 1, 12, 30]]
    assert result.scores.tolist() == [0.03]


@pytest.mark.parametrize(
    ("height", "width", "scales"),
    [
        # m = sqrt(1700 · 1200 / (H · W)) decides which scales follow the two passes at min(m, 1).
        (3400, 2400, [0.5, 0.5, 0.25, (0.25 + 0.5) / 2]),  # m = 0.5
        (1360, 2400, [0.790569, 0.790569, 0.5, (0.5 + 0.790569) / 2]),  # m = 0.79
        (1200, 1700, [1, 1, 0.5, 0.75]),  # m = 1
        (850, 1200, [1, 1, 0.5, 1.414214]),  # m = 1.41
        (600, 850, [1, 1, 0.5, 2]),  # m = 2
        (340, 600, [1, 1, 0.5, 2, 3.162278]),  # m = 3.16
        (300, 425, [1, 1, 0.5, 2, 4]),  # m = 4: 4 is reached, not passed, while doubling
        (120, 170, [1, 1, 0.5, 2, 4, 8, 10]),  # m = 10
    ],
)
def test_passes_of_the_multiscale_test(height: int, width: int, scales: list[float]) -> None:
    detector = PlantedDetector()
    image = striped_image(height, width)
    assert len(multiscale_faces(detector, image)) == 0
    assert [options.scales[0] for _, options in detector.calls] == pytest.approx(scales)
    assert all(replace(o, scales=(1.0,)) == PASS for _, o in detector.calls)
    mirrored = [np.array_equal(seen, image[:, ::-1]) for seen, _ in detector.calls]
    assert mirrored == [i == 1 for i in range(len(scales))]


@given(st.floats(2.001, 500))
def test_enlarged_scales_double_up_to_the_largest(largest: float) -> None:
    *doubling, last = enlarged_scales(largest)
    assert last == largest
    assert doubling == [2.0**n for n in range(1, len(doubling) + 1)]
    assert doubling[-1] < largest <= 2 * doubling[-1]


@pytest.mark.parametrize(
    ("shape", "side", "passes"),
    [
        # The first two passes keep every size; the shrunk one only longer sides (+1) above 30.
        ((850, 1200), 29, 3),
        ((850, 1200), 29.5, 4),
        # Enlarged above 1: only shorter sides (+1) below 100.
        ((850, 1200), 98.5, 4),
        ((850, 1200), 99, 3),
        # Large images: the last pass filters as the shrunk one does.
        ((3400, 2400), 29, 2),
        ((3400, 2400), 29.5, 4),
        ((3400, 2400), 400, 4),
    ],
)
def test_shrunk_passes_look_for_large_faces_and_enlarged_ones_for_small(
    shape: tuple[int, int], side: float, passes: int
) -> None:
    detector = PlantedDetector((100, 100, 100 + side, 100 + side, 0.9))
    found = multiscale_faces(detector, striped_image(*shape))
    assert len(found) == passes
    assert found.boxes[1].tolist() == [shape[1] - 100 - side, 100, shape[1] - 100, 100 + side]


def test_filters_look_at_the_right_side() -> None:
    # Longer side 120, shorter 20: kept by the shrunk pass and by the enlarged one.
    detector = PlantedDetector((100, 100, 120, 220, 0.9))
    assert len(multiscale_faces(detector, striped_image(850, 1200))) == 4


def test_a_group_becomes_its_weighted_mean_with_the_best_score() -> None:
    voted = group_vote(faces((0, 0, 20, 20, 0.25), (4, 0, 24, 20, 0.75)), smallest_group=2)
    assert voted.boxes.tolist() == [[3, 0, 23, 20]]
    assert voted.scores.tolist() == [0.75]


def test_a_group_forms_around_its_best_box() -> None:
    # Each box meets its neighbour; the outer two do not meet, and the best is at one end.
    chain = faces((0, 0, 19, 9, 0.9), (10, 0, 29, 9, 0.8), (20, 0, 39, 9, 0.7))
    assert group_vote(chain, smallest_group=1).boxes.tolist()[1] == [20, 0, 39, 9]
    assert len(group_vote(chain, smallest_group=2)) == 1


def test_iou_of_the_vote_counts_both_ends_and_includes_the_threshold() -> None:
    # 13 columns each, 6 shared: 6 / 20 is exactly 0.3; without the + 1 it is 5 / 19.
    assert len(group_vote(faces((0, 0, 12, 9, 0.9), (7, 0, 19, 9, 0.8)), smallest_group=2)) == 1
    assert len(group_vote(faces((0, 0, 12, 9, 0.9), (7.1, 0, 19.1, 9, 0.8)), smallest_group=2)) == 0


def test_lone_boxes_are_dropped_by_the_paper_and_kept_by_the_corrected_vote() -> None:
    lone = faces((0, 0, 20, 20, 0.9), (500, 0, 520, 20, 0.3), (501, 0, 521, 20, 0.3))
    assert group_vote(lone, smallest_group=2).boxes.tolist() == [[500.5, 0, 520.5, 20]]
    kept = group_vote(lone, smallest_group=1)
    assert kept.boxes.tolist() == [[0, 0, 20, 20], [500.5, 0, 520.5, 20]]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.3])


def test_at_most_750_groups_remain_the_best() -> None:
    corners = np.stack(np.divmod(np.arange(900), 30), axis=1) * 30.0
    scores = np.linspace(0.1, 0.9, 900)
    voted = group_vote(
        Faces(np.hstack([corners, corners + 20]), scores, 1000, 1000), smallest_group=1
    )
    assert voted.scores.tolist() == scores.astype(np.float32)[:149:-1].tolist()


def test_paper_is_empty_where_no_two_boxes_meet_and_multiscale_is_not() -> None:
    class OnlyOnce(PlantedDetector):
        def detect(self, image: NDArray[np.uint8], options: Options) -> Faces:
            found = super().detect(image, options)
            return found if len(self.calls) == 1 else Faces.empty(found.width, found.height)

    image = striped_image(90, 120)
    assert len(paper(OnlyOnce((10, 10, 30, 30, 0.9)), image)) == 0
    assert len(multiscale(OnlyOnce((10, 10, 30, 30, 0.9)), image)) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_image_without_faces_gives_an_empty_prediction(name: str) -> None:
    result = PROTOCOLS[name](PlantedDetector(), striped_image(90, 120))
    assert result.boxes.shape == (0, 4)
    assert result.scores.shape == (0,)


def test_paper_gives_inclusive_sizes_rounded_as_in_the_released_files() -> None:
    detector = PlantedDetector((50, 20.04, 70.26, 40, 0.12345))
    image = striped_image(850, 120)
    assert paper(detector, image).boxes[0].tolist() == [49.9, 20.0, 21.3, 21.0]
    assert paper(detector, image).scores[0] == 0.123


def votes(rows: list[tuple[float, ...]], smallest_group: int) -> list[list[float]]:
    """The vote of the released code, a box at a time."""
    rest = sorted(rows, key=lambda row: -row[4])
    voted = []
    while rest:
        best = rest[0]
        group = []
        for row in rest:
            w = min(best[2], row[2]) - max(best[0], row[0]) + 1
            h = min(best[3], row[3]) - max(best[1], row[1]) + 1
            shared = max(w, 0) * max(h, 0)
            areas = [(r[2] - r[0] + 1) * (r[3] - r[1] + 1) for r in (best, row)]
            if shared / (sum(areas) - shared) >= 0.3:
                group.append(row)
        rest = [row for row in rest if row not in group]
        if len(group) >= smallest_group:
            weight = sum(row[4] for row in group)
            mean = [sum(row[i] * row[4] for row in group) / weight for i in range(4)]
            voted.append([*mean, best[4]])
    return voted


boxes = st.builds(
    lambda x, y, w, h, score: (float(x), float(y), float(x + w), float(y + h), score),
    *[st.integers(0, 40)] * 2,
    *[st.integers(1, 30)] * 2,
    st.integers(7, 127).map(lambda n: n / 128),
)


@given(st.lists(boxes, max_size=25, unique=True), st.integers(1, 2))
def test_vote_equals_a_plain_loop(rows: list[tuple[float, ...]], smallest_group: int) -> None:
    voted = group_vote(faces(*rows), smallest_group)
    expected = np.reshape(np.array(votes(rows, smallest_group)), (-1, 5))
    np.testing.assert_allclose(voted.boxes, expected[:, :4], rtol=1e-6)
    np.testing.assert_allclose(voted.scores, expected[:, 4])
