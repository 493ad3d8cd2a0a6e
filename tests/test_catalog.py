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
    find_weights,
    load_catalog,
)
from extd.models.config import LITE_CONFIGS, PAPER_CONFIGS

FILE = b"a network"


def record(**changes: Any) -> dict[str, Any]:
    return {"name": "extd-fpn-32-prelu", "parameters": 62939, "macs": 4048, **changes}


def weights(**changes: Any) -> dict[str, Any]:
    origin = {"images": 363, "training_data": "WIDER FACE", "license": "MIT"}
    return {"float32": weights_file(), "int8": None, **origin, **changes}


def weights_file(**changes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(FILE).hexdigest()
    ap = {"easy": 0.9, "medium": 0.8, "hard": 0.7}
    return {"file": "net.onnx", "sha256": digest, "bytes": len(FILE), "ap": ap, **changes}


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
    assert shipped.weights.float32.ap == AveragePrecision(0.9, 0.8, 0.7)
    assert shipped.weights.images == 363
    assert (bare.name, bare.weights) == ("extd-ssd-64-relu", None)


def test_weights_may_be_unmeasured(tmp_path: Path) -> None:
    (model,) = catalog(
        tmp_path, record(weights=weights(float32=weights_file(ap=None), images=None))
    )
    assert model.weights is not None
    assert model.weights.float32.ap is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (record(), "weights"),
        (record(weights=None, size=3), "size"),
        (record(weights=weights(shape=1)), "shape"),
        (record(weights={"int8": None}), "float32"),
        (record(weights=weights(float32={"file": "net.onnx"})), "ap"),
        (record(weights=weights(int8=weights_file(ap={"easy": 1}))), "medium"),
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


def test_a_misspelt_name_gets_the_nearest(tmp_path: Path) -> None:
    models = catalog(
        tmp_path, record(weights=None), record(name="extd-ssd-48-leakyrelu", weights=None)
    )
    told = r"'exdt-fpn-32-prelu'; did you mean 'extd-fpn-32-prelu'\?$"
    with pytest.raises(ValueError, match=told):
        find_weights("exdt-fpn-32-prelu", models)
    with pytest.raises(ValueError, match="did you mean 'extd-ssd-48-leakyrelu'"):
        find_weights("extd-ssd-48-leaky", models)


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


def test_int8_weights_are_taken_if_wanted_and_there(tmp_path: Path) -> None:
    both = weights(int8=weights_file(file="net-int8.onnx"))
    models = catalog(tmp_path, record(weights=both), record(name="plain", weights=weights()))
    for name in ("net.onnx", "net-int8.onnx"):
        (tmp_path / name).write_bytes(FILE)

    def found(name: str, int8: bool | None) -> str:
        return find_weights(name, models, tmp_path, int8=int8).name

    name = "extd-fpn-32-prelu"
    wanted = {False: "net.onnx", True: "net-int8.onnx", None: "net-int8.onnx"}
    assert {int8: found(name, int8) for int8 in wanted} == wanted
    assert found("plain", None) == "net.onnx"
    with pytest.raises(ValueError, match="no int8 weights ship for 'plain'; take float"):
        found("plain", True)


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
    assert {model.name for model in shipped} >= {*LITE_CONFIGS, "extd-fpn-32-prelu"}
    for model in shipped:
        assert model.weights is not None
        for file, int8 in ((model.weights.float32, False), (model.weights.int8, True)):
            if file is not None:
                found = find_weights(model.name, models, int8=int8)
                assert (found.name, len(found.read_bytes())) == (file.file, file.bytes)
