"""The published models: sizes, and for those that ship, their weights and measured AP.

And the names of the training recipes that ship.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

Precision = Literal["auto", "float", "int8"]
"""Of the weights; `auto` is int8 where there are such weights and the processor is faster."""
DEFAULT_MODEL = "extd-lite"
PACKAGE = files("extd")
"""Its files are read through this: it may be a zip archive."""
CATALOG = PACKAGE / "catalog.json"
WEIGHTS = PACKAGE / "weights"
RECIPES = PACKAGE / "recipes"


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """AP on the three subsets of WIDER FACE's validation set, 0 to 1."""

    easy: float
    medium: float
    hard: float


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """An ONNX file in the package: its name, SHA-256 in hexadecimal, size, and AP at one scale."""

    file: str
    sha256: str
    bytes: int
    ap: AveragePrecision | None


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights in the package: as trained, and for processors that are faster with int8.

    `images` is how many validation images the AP covers.
    """

    float32: WeightsFile
    int8: WeightsFile | None
    images: int | None
    training_data: str
    license: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model: its trainable parameters, multiply-adds at 640 x 480, and weights if any ship."""

    name: str
    parameters: int
    macs: int
    weights: Weights | None


def load_catalog(path: Traversable = CATALOG) -> tuple[ModelInfo, ...]:
    """The models of a catalog file, a JSON list of `ModelInfo`, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such list; the message names the first wrong entry.
    """
    try:
        records = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(records, list):
        raise ValueError(f"{path} holds a {type(records).__name__}; expected a list of models")
    models = []
    for record in records:
        try:
            models.append(ModelInfo(**{**record, "weights": _weights(record["weights"])}))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: wrong entry {record!r}: {error}") from error
    return tuple(models)


def _weights(record: dict[str, Any] | None) -> Weights | None:
    if record is None:
        return None
    int8 = record["int8"] and _weights_file(record["int8"])
    return Weights(**{**record, "float32": _weights_file(record["float32"]), "int8": int8})


def _weights_file(record: dict[str, Any]) -> WeightsFile:
    return WeightsFile(**{**record, "ap": record["ap"] and AveragePrecision(**record["ap"])})


def nearest_name(name: str, names: Iterable[str], otherwise: str = "extd models lists them") -> str:
    """A hint for a name, of a model or of something else, that is not among `names`."""
    nearest = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else otherwise


def find_weights(
    name: str,
    models: Sequence[ModelInfo],
    folder: Traversable = WEIGHTS,
    *,
    int8: bool | None = False,
) -> Traversable:
    """The checked ONNX file of a model, named in any letter case, by default from the package.

    Where `int8` is None, it is the int8 file if there is one.

    Raises:
        ValueError: no such model, no such weights ship for it, or the file is not the catalog's.
        FileNotFoundError: the file is not in `folder`.
    """
    by_name = {model.name.lower(): model for model in models}
    if name.lower() not in by_name:
        raise ValueError(f"there is no model {name!r}; {nearest_name(name, by_name)}")
    model = by_name[name.lower()]
    if model.weights is None:
        shipped = ", ".join(model.name for model in models if model.weights) or "none"
        raise ValueError(f"no weights ship for {model.name!r}; models with weights: {shipped}")
    wanted = model.weights.int8 if int8 is not False else model.weights.float32
    if wanted is None and int8:
        raise ValueError(f"no int8 weights ship for {model.name!r}; take float")
    wanted = wanted or model.weights.float32
    path = folder / wanted.file
    if not path.is_file():
        raise FileNotFoundError(f"the weights {path} are missing; install extd again")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != wanted.sha256:
        raise ValueError(f"{path} has sha256 {digest}, not {wanted.sha256}; install extd again")
    return path


def shipped_recipes() -> dict[str, str]:
    """The recipes that `extd train` knows by name, and what each is for."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in RECIPES.iterdir()}
    recipes = {Path(name).stem: text for name, text in texts.items() if name.endswith(".yaml")}
    # The first line is for editors.
    return {name: text.splitlines()[1].removeprefix("# ") for name, text in sorted(recipes.items())}
