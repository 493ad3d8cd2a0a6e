"""Recipes as YAML: read, checked, and written out in full."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from extd.models.config import parse_name
from extd.training.recipe import Recipe


def load_recipe(
    path: Path,
    data: Sequence[Path] = (),
    model: str | None = None,
    changes: Mapping[str, object] | None = None,
) -> Recipe:
    """Read a recipe; see the files in `recipes/`.

    Args:
        path: YAML file.
        data: labelled pictures to take instead of the recipe's sets, one for each; a recipe
            without sets takes all alike.
        model: model to train instead of the recipe's.
        changes: values to take instead of the recipe's, by keys as `loss.regression`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key or value is wrong; the message names it, the file and the nearest key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}")
    content = load_yaml(path)
    try:
        for key, value in (changes or {}).items():
            _change(content, key, value)
        if data and isinstance(content, dict):
            given = [{"path": str(one)} for one in data]
            if isinstance(content.setdefault("data", {}), dict):
                content["data"].setdefault("sets", given)
        recipe: Recipe = _build(Recipe, _with_network(content, model), "")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    sets = recipe.data.sets
    if data:
        if len(data) != len(sets):
            raise ValueError(
                f"{path} mixes {len(sets)} sets of pictures; give as many, not {len(data)}"
            )
        sets = tuple(
            dataclasses.replace(old, path=str(new.absolute()))
            for old, new in zip(sets, data, strict=True)
        )
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, sets=sets))
    return _with_paths(recipe, lambda value: os.path.normpath(path.parent.absolute() / value))


def dump_recipe(recipe: Recipe, folder: Path | None = None) -> str:
    """The recipe as YAML with every default written out.

    Args:
        recipe: with absolute paths.
        folder: where the text will be kept; paths are written relative to it.
    """
    if folder is not None:
        recipe = _with_paths(recipe, lambda value: os.path.relpath(value, folder))
    return yaml.safe_dump(_plain(dataclasses.asdict(recipe)), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """Of two equal keys YAML's own takes the later without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in mapping if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]} is there twice{node.start_mark}")
        return mapping


def load_yaml(path: Path) -> Any:
    """What a YAML file says.

    Raises:
        ValueError: it is no YAML, or has a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error


def _change(content: Any, key: str, value: object) -> None:
    """Set a key as `loss.regression` in what a YAML file says."""
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.get(parent) if isinstance(content, dict) else None
        if inner is None and isinstance(content, dict):
            inner = content[parent] = {}
        content = inner
    if not isinstance(content, dict):
        raise ValueError(f"{key} cannot be changed: {'.'.join(parents)} holds no keys")
    content[last] = value


def _with_network(content: Any, model: str | None) -> Any:
    """The recipe's content with the whole network where it tells how that differs from a model."""
    if not isinstance(content, dict):
        return content
    network = content.get("network") or {}
    if model and network:
        raise ValueError(
            f"its network differs from {content.get('model')}, so it cannot train {model}; "
            "take a recipe without the key network"
        )
    content = content | ({"model": model} if model else {})
    if isinstance(network, dict) and isinstance(content.get("model"), str):
        whole = dataclasses.asdict(parse_name(content["model"])) | network
        content["network"] = whole if network else None
    return content


def _with_paths(recipe: Recipe, convert: Callable[[str], str]) -> Recipe:
    """The recipe with every path that it names converted."""

    def changed(value: Any, field: str) -> Any:
        old = getattr(value, field)
        return dataclasses.replace(value, **{field: convert(old)}) if old else value

    def moved(value: Any, field: str) -> Any:
        # Weights without a suffix are the name of a model.
        return changed(value, field) if Path(getattr(value, field)).suffix else value

    sets = tuple(changed(dataset, "path") for dataset in recipe.data.sets)
    begun: Recipe = moved(recipe, "init")
    return dataclasses.replace(
        begun,
        data=dataclasses.replace(recipe.data, sets=sets),
        validation=changed(recipe.validation, "path"),
        distillation=moved(recipe.distillation, "teacher"),
    )


def _plain(value: Any) -> Any:
    """Tuples as lists, which is how YAML writes sequences."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    """`value` from YAML as an instance of the annotated type `kind`."""
    if isinstance(kind, UnionType):  # of something and None
        return None if value is None else _build(_fitting(get_args(kind), value), value, where)
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ValueError(f"{where} is {value!r}; choose one of {', '.join(get_args(kind))}")
    if origin is tuple and isinstance(value, list | tuple):
        inner = get_args(kind)
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise ValueError(f"{where} has {len(value)} values; it takes {len(inner)}")
        return tuple(_build(inner[0], item, f"{where}.{i}") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(k): _build(get_args(kind)[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        # YAML reads 1e-3, without a point, as text.
        with suppress(ValueError):
            if math.isfinite(float(value)):
                return float(value)
    if isinstance(kind, type) and kind is not float and type(value) is kind:
        return value
    raise ValueError(f"{where} is {value!r}; it takes {_NOUNS.get(origin or kind, str(kind))}")


def _fitting(kinds: Sequence[Any], value: Any) -> Any:
    """The first of `kinds` that has the keys of `value`, or else the first."""
    for kind in kinds:
        known = get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if isinstance(value, dict) and set(value) <= set(known):
            return kind
    return kinds[0]


_NOUNS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    tuple: "a list",
    dict: "a mapping",
}


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the recipe'} must be a mapping, not {value!r}")
    known = get_type_hints(kind)
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    dot = f"{where}." if where else ""
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            advice = f"did you mean {dot}{near[0]}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"there is no key {dot}{key}; {advice}")
    for key in required:
        if key not in value:
            raise ValueError(f"the key {dot}{key} is missing")
    return kind(**{key: _build(known[key], item, dot + key) for key, item in value.items()})
