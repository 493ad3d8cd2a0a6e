from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from extd.catalog import (
    CATALOG,
    AveragePrecision,
    ModelInfo,
    find_model,
    find_weights,
    load_catalog,
)
from extd.models.config import LITE_CONFIGS, PAPER_CONFIGS

FILE = b"a network"


def record(**changes: Any) -> dict[str, Any]:
    return {"name": "extd-fpn-32-prelu", "parameters": 62939, "macs": 4048, **changes}


def weights(**changes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(FILE).hexdigest()
    ap = {"easy": 0.9, "medium": 0.8, "hard": 0.7}
    measured = {"ap": ap, "images": 363, "training_data": "WIDER FACE", "license": "MIT"}
    return {"file": "net.onnx", "sha256": digest, "bytes": len(FILE), **measured, **changes}


def catalog(folder: Path, *records: Any) -> tuple[ModelInfo, ...]:
    path = folder / "catalog.json"
    path.write_text(json.dumps(records), "utf-8")
    return load_catalog(path)


def test_a_catalog_gives_its_models_in_order(tmp_path: Path) -> None:
    shipped, bare = catalog(
        tmp_path, record(weights=weights()), record(name="extd-ssd-64-relu", weights=None)
    )
    assert (shipped.name, shipped.parameters, shipped.macs) == ("extd-fpn-32-prelu", 62939, 4048)
    assert shipped.weights is not None
    assert shipped.weights.ap == AveragePrecision(0.9, 0.8, 0.7)
    assert shipped.weights.images == 363
    assert (bare.name, bare.weights) == ("extd-ssd-64-relu", None)


def test_weights_may_be_unmeasured(tmp_path: Path) -> None:
    (model,) = catalog(tmp_path, record(weights=weights(ap=None, images=None)))
    assert model.weights is not None
    assert model.weights.ap is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (record(), "weights"),
        (record(weights=None, size=3), "size"),
        (record(weights=weights(shape=1)), "shape"),
        (record(weights={"file": "net.onnx"}), "ap"),
        (record(weights=weights(ap={"easy": 1})), "medium"),
        ("extd-fpn-32-prelu", "extd-fpn-32-prelu"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        catalog(tmp_path, wrong)


@pytest.mark.parametrize("text", ["", "{", '{"name": 1}', "\udcff"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"catalog\.json"):
        load_catalog(path)


def test_names_ignore_case_and_typos_meet_the_nearest(tmp_path: Path) -> None:
    models = catalog(
        tmp_path, record(weights=None), record(name="extd-ssd-48-leakyrelu", weights=None)
    )
    assert find_model("EXTD-FPN-32-PReLU", models) is models[0]
    with pytest.raises(ValueError, match=r"'exdt-fpn-32-prelu'; did you mean 'extd-fpn-32-prelu'"):
        find_model("exdt-fpn-32-prelu", models)
    with pytest.raises(ValueError, match="did you mean 'extd-ssd-48-leakyrelu'"):
        find_model("extd-ssd-48-leaky", models)


def test_weights_are_found_and_checked(tmp_path: Path) -> None:
    models = catalog(tmp_path, record(weights=weights()))
    with pytest.raises(FileNotFoundError, match=r"net\.onnx"):
        find_weights("extd-fpn-32-prelu", models, tmp_path)
    path = tmp_path / "net.onnx"
    path.write_bytes(FILE)
    assert find_weights("Extd-FPN-32-prelu", models, tmp_path) == path
    path.write_bytes(FILE + b"!")
    with pytest.raises(ValueError, match="sha256"):
        find_weights("extd-fpn-32-prelu", models, tmp_path)


def test_a_model_without_weights_names_those_that_have_some(tmp_path: Path) -> None:
    models = catalog(
        tmp_path, record(weights=weights()), record(name="extd-ssd-48-relu", weights=None)
    )
    with pytest.raises(ValueError, match=r"'extd-ssd-48-relu'.*extd-fpn-32-prelu"):
        find_weights("extd-ssd-48-relu", models, tmp_path)


def test_the_package_ships_what_its_catalog_promises() -> None:
    models = load_catalog(CATALOG)
    assert {model.name for model in models} >= {
        *LITE_CONFIGS,
        *(config.name for config in PAPER_CONFIGS),
    }
    shipped = [model for model in models if model.weights is not None]
    assert "extd-fpn-32-prelu" in {model.name for model in shipped}
    for model in shipped:
        assert model.weights is not None
        assert find_weights(model.name, models).stat().st_size == model.weights.bytes
