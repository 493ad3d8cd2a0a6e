from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from extd.training import cost as module
from extd.training.cost import Cost, decide_compile, measure_cost, peak_memory
from extd.training.recipe import Recipe

CPU = torch.device("cpu")
Change = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (Cost(370_000, 0.49, 2.14e9), "about 50 h: 370,000 steps of 0.49 s; 2.1 GB of memory"),
        (Cost(480_000, 7.0, 9e9), "about 39 days: 480,000 steps of 7 s; 9.0 GB of memory"),
        (Cost(5000, 0.42, 0.71e9), "about 35 min: 5,000 steps of 0.42 s; 0.7 GB of memory"),
        (Cost(30, 1.04, 0.0), "about 31 s: 30 steps of 1 s"),
    ],
)
def test_a_cost_is_told_in_the_unit_that_fits(cost: Cost, text: str) -> None:
    assert str(cost) == text


def test_time_and_memory_grow_with_the_pixels_of_a_crop(
    recipe: Recipe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = change(recipe, augmentation={"crop_sizes": (128, 256, 256)})
    times, peaks = iter([0.0, 9.0, 10.0, 12.0]), iter([100, 150])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monkeypatch.setattr(module, "peak_memory", lambda _: next(peaks))
    made: list[None] = []
    cost = measure_cost(lambda: made.append(None), 50, 128, recipe, CPU)
    assert len(made) == 2
    # The second step took 2 s; the crops have 1, 4 and 4 times as many pixels.
    assert cost == Cost(50, 6.0, 300.0)
    assert cost.seconds == 300.0


def test_memory_is_counted_in_bytes() -> None:
    before = peak_memory(CPU)
    block = torch.ones(60_000_000)
    # What other tests freed may be taken again.
    assert 100e6 < peak_memory(CPU) < 200e9
    assert peak_memory(CPU) >= before
    assert len(block)


@pytest.mark.parametrize(
    ("hours", "sizes", "program", "compiled", "told"),
    [
        (3, (128,), "true", True, "compiled, which takes minutes"),
        (1, (128,), "true", False, "not compiled: that pays from about 2 h on"),
        (3, (128, 256, 256), "true", False, "not compiled: that pays from about 4 h on"),
        (3, (128,), "no-such-compiler", False, "there is no C++ compiler"),
    ],
)
def test_long_runs_are_compiled(
    recipe: Recipe,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
    hours: float,
    sizes: tuple[int, ...],
    program: str,
    compiled: bool,
    told: str,
) -> None:
    monkeypatch.setenv("CXX", program)
    recipe = change(recipe, augmentation={"crop_sizes": sizes})
    decided, reason = decide_compile(Cost(1, hours * 3600, 0), recipe, CPU)
    assert decided == compiled
    assert told in reason
