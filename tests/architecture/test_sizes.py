"""Ceilings for modules and functions: passing one is a question, and an entry here its answer."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

import pytest

PACKAGE = Path(__file__).parents[2] / "queue_runtime"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60

# path: why it is longer
LONGER_MODULES: dict[str, str] = {
    "config/table.py": "one table, of which most lines are its rows",
    "config/layers.py": "one draft of the settings, to which each layer adds in its own way",
}
LONGER_FUNCTIONS: dict[str, str] = {}


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text())
    return [
        each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count lines without decorators and docstring."""
    total = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_is_of_readable_size(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_MODULE or relative(path) in LONGER_MODULES


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_functions_are_of_readable_size(path: Path) -> None:
    too_long = {
        f"{relative(path)}:{each.name}": length(each)
        for each in functions(path)
        if length(each) > LONGEST_FUNCTION
    }
    assert not too_long.keys() - LONGER_FUNCTIONS.keys(), too_long


def test_most_functions_are_short() -> None:
    lengths = [length(each) for path in MODULES for each in functions(path)]
    assert median(lengths) <= 10
    assert quantiles(lengths, n=10)[-1] <= 30


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    sentence = (ast.get_docstring(tree) or "").split("\n")[0]
    assert sentence.endswith((".", ":")), f"the docstring's first line is {sentence!r}"
