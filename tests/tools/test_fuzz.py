from __future__ import annotations

import random
from pathlib import Path

import fuzz
import pytest
import soak
from fuzz_inputs import KINDS, Kind, make_images

CHEAP = ["images", "labels", "recipes"]


@pytest.mark.parametrize("kind", KINDS)
def test_valid_inputs_are_read(kind: str, tmp_path: Path) -> None:
    one = KINDS[kind]
    for name, files in one.make().items():
        folder = tmp_path / name
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        assert fuzz.fault_of(one, folder / next(iter(files)), folder) is None


def test_images_are_of_forty_formats_and_variants() -> None:
    assert len(make_images()) >= 40


def test_mutations_depend_on_the_seed_only() -> None:
    data = bytes(range(200))
    first, again, other = (
        fuzz.mutate(data, data[::-1], text, random.Random(seed))
        for text, seed in ((False, 1), (False, 1), (False, 2))
    )
    assert first == again != other


@pytest.mark.parametrize("kind", CHEAP)
def test_no_mutation_breaks_reading(kind: str, tmp_path: Path) -> None:
    assert fuzz.run(kind, "test", range(100), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_is_told(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise ValueError("it is broken")

    def crash(path: Path) -> None:
        raise IndexError(path)

    file = tmp_path / "a"
    assert "does not name" in str(fuzz.fault_of(Kind(dict, fail), file, tmp_path))
    assert "IndexError" in str(fuzz.fault_of(Kind(dict, crash), file, tmp_path))
    assert fuzz.keep("images", 3, "Trace\nValueError: 12", tmp_path, tmp_path / "out") == (
        "Trace ValueError: N"
    )
    assert (tmp_path / "out" / "images-3" / "reason.txt").is_file()


def test_memory_is_sampled_while_soaking(tmp_path: Path) -> None:
    samples = soak.soak(0, 10, tmp_path)
    assert len(samples) == 10
    assert min(samples) > 1 << 20
