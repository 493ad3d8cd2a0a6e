from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import sleep

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extd.faces import Faces
from extd.images import Image
from extd.measure.bench import (
    STATUS,
    WARM_UP,
    interleaved,
    measure_ap,
    measure_latency,
    measure_throughput,
    predictions_folder,
    resident_memory,
    spread,
)
from extd.measure.peers import load_contestant
from extd.measure.wider import Picture

BGR = np.zeros((48, 64, 3), np.uint8)


class Whole:
    """The smallest contestant: a name and `detect`. It finds the picture's left half."""

    name = "whole"

    def __init__(self) -> None:
        self.seen: list[Image] = []

    def detect(self, bgr: Image) -> Faces:
        self.seen.append(bgr)
        height, width = bgr.shape[:2]
        return Faces([[0, 0, width / 2, height]], [bgr[0, 0, 2] / 255], width, height)


class Staged(Whole):
    """Its network takes by far the most time, and a larger input than the picture."""

    name = "staged"

    def prepare(self, bgr: Image) -> np.ndarray:
        return np.zeros((1, 3, bgr.shape[0] + 16, bgr.shape[1]), np.float32)

    def infer(self, inputs: np.ndarray) -> np.ndarray:
        sleep(0.02)
        return inputs

    def finish(self, outputs: np.ndarray, bgr: Image) -> Faces:
        return Faces.empty(64, 48)


def test_contestants_take_turns_in_changing_order_and_warm_up() -> None:
    order: list[int] = []

    def run(index: int) -> Sequence[float]:
        order.append(index)
        return [float(len(order)), float(index)]

    times = interleaved([partial(run, index) for index in range(3)], rounds=5)
    rounds = np.array(order).reshape(WARM_UP + 5, 3)
    assert (np.sort(rounds) == [0, 1, 2]).all()
    assert len({tuple(row) for row in rounds.tolist()}) > 1
    for index, durations in enumerate(times):
        assert durations.shape == (5, 2)
        assert (durations[:, 1] == index).all()
        assert durations[:, 0].min() > 3 * WARM_UP


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds are 0"):
        measure_latency([Whole()], BGR, 0)


def test_stages_are_told_apart_where_there_are_any() -> None:
    whole, staged = measure_latency([Whole(), Staged()], BGR, 3)
    assert (whole.name, whole.label, whole.size) == ("whole", "whole (whole)", (64, 48))
    assert whole.network is whole.postprocessing is whole.network_input is None
    assert whole.compared == whole.whole
    assert (staged.name, staged.label, staged.network_input) == ("staged", "staged", (64, 64))
    assert staged.network is not None
    assert staged.postprocessing is not None
    assert staged.compared == staged.network
    assert staged.whole.median > staged.network.median >= 20 > staged.postprocessing.median


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_the_median_lies_between_the_quartiles(times: list[float]) -> None:
    found = spread(times)
    assert min(times) <= found.lower <= found.median <= found.upper <= max(times)


def test_batches_are_timed_where_files_take_them(toy: str) -> None:
    (found,) = measure_throughput([Whole(), load_contestant(toy)], BGR, batch=4, rounds=2)
    assert (found.name, found.batch, found.width, found.height) == ("toy", 4, 64, 48)
    assert found.pictures_a_second == pytest.approx(4000 / found.network.median)
    assert measure_throughput([Whole()], BGR, batch=4, rounds=2) == []
    with pytest.raises(ValueError, match="batch is 0"):
        measure_throughput([], BGR, batch=0, rounds=2)


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux tells")
def test_memory_is_that_of_a_process_of_its_own(toy: str) -> None:
    ballast = np.ones(200_000_000, np.uint8)
    memory = resident_memory(partial(load_contestant, toy), BGR)
    assert memory is not None
    assert 20e6 < memory < ballast.nbytes


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux tells")
def test_a_process_that_fails_is_reported() -> None:
    with pytest.raises(ValueError, match=r"at 64 x 48 px ended with 1: .*none\.onnx"):
        resident_memory(partial(load_contestant, "none.onnx"), BGR)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, list[Picture]]:
    """Two pictures, bright and brighter in red, whose left half is a face, and their truth."""
    truth = []
    for name, red in (("a", 100), ("b", 200)):
        path = tmp_path / "images" / "0--Parade" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((48, 64, 3), (0, 0, red), np.uint8))
        face = np.array([[0.0, 0, 32, 48]])
        truth.append(Picture("0--Parade", name, face, np.ones((3, 1), np.bool_)))
    return tmp_path, truth


def test_ap_is_measured_once_and_then_taken_from_files(
    pictures: tuple[Path, list[Picture]], tmp_path: Path
) -> None:
    folder, truth = pictures
    contestant, saved = Whole(), tmp_path / "saved"
    evaluation = measure_ap(contestant, folder, truth, saved)
    assert evaluation.images == 2
    assert evaluation.ap == {"easy": 1, "medium": 1, "hard": 1}
    assert [round(int(bgr[0, 0, 2]), -2) for bgr in contestant.seen] == [100, 200]
    (saved / "0--Parade/b.txt").unlink()
    again = measure_ap(contestant, folder, truth, saved)
    assert again.ap == evaluation.ap
    assert len(contestant.seen) == 3


def test_another_file_has_another_folder_of_predictions(tmp_path: Path) -> None:
    folders = []
    for content in (b"one", b"one", b"two"):
        (tmp_path / "net.onnx").write_bytes(content)
        folders.append(predictions_folder(tmp_path / "out", "net", tmp_path / "net.onnx"))
    assert folders[0] == folders[1] != folders[2]
    assert {folder.parent for folder in folders} == {tmp_path / "out"}
