"""The bounds on size that CONTRIBUTING.md sets, and the page that names every module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "extd"

MAX_LINES = 19_300
MAX_MODULES = 101
MAX_TRAINING_MODULES = 14
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Each module's source by its path in the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in paths}


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Names of all functions, nested ones too, and their lines from `def` on."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_the_package_is_small(sources: dict[str, str]) -> None:
    assert sum(len(source.splitlines()) for source in sources.values()) <= MAX_LINES


def test_modules_are_few(sources: dict[str, str]) -> None:
    modules = [path for path in sources if not path.endswith("__init__.py")]
    assert len(modules) <= MAX_MODULES
    assert sum(path.startswith("training/") for path in modules) <= MAX_TRAINING_MODULES


def test_modules_are_short(sources: dict[str, str]) -> None:
    lengths = {path: len(source.splitlines()) for path, source in sources.items()}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_functions_are_short(sources: dict[str, str]) -> None:
    long = {
        f"{path}: {name}": lines
        for path, source in sources.items()
        for name, lines in functions(source)
        if lines > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_the_architecture_page_names_every_module(sources: dict[str, str]) -> None:
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text("utf-8")
    modules = {path.removesuffix(".py").replace("/", ".") for path in sources if "__" not in path}
    cells = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    assert {name for cell in cells for name in re.findall("`(.+?)`", cell)} == modules
