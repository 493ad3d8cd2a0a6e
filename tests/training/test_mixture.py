from __future__ import annotations

from pathlib import Path

import pytest

from extd.data.jsonl import read_jsonl
from extd.training.mixture import fingerprint, read_mixture
from extd.training.recipe import Data, DataSet


def test_weights_of_sets_and_sources_multiply(labels: Path) -> None:
    sets = (DataSet(str(labels), 2.0, {"even": 0.5}), DataSet(str(labels)))
    weights = read_mixture(Data(sets))
    assert sorted(weights.values()) == [1.0] * 9
    assert sum(picture.source == "odd" for picture in weights) == 3


def test_a_source_that_is_not_there_is_named(labels: Path) -> None:
    with pytest.raises(ValueError, match=r"no picture of source 'evn'; it has 'even', 'odd'"):
        read_mixture(Data((DataSet(str(labels), 1.0, {"evn": 1.0}),)))


def test_the_fingerprint_follows_the_labels_and_not_the_folder(labels: Path) -> None:
    before = fingerprint(read_jsonl(labels))
    moved = labels.parent / "moved"
    moved.mkdir()
    text = labels.read_text(encoding="utf-8")
    (moved / "labels.jsonl").write_text(text, encoding="utf-8")
    assert fingerprint(read_jsonl(moved / "labels.jsonl")) == before
    (moved / "labels.jsonl").write_text(text.replace("[10, 20", "[11, 20"), encoding="utf-8")
    assert fingerprint(read_jsonl(moved / "labels.jsonl")) != before
