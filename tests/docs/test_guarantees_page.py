"""The table of guarantees is generated, and every test that it names is there."""

import ast
from functools import cache
from pathlib import Path

import pytest

from scripts import guarantees_page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_table_says() -> None:
    current = guarantees_page.PAGE.read_text()
    assert guarantees_page.page(current) == current, "run `make generate`"


@cache
def _tests_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


@pytest.mark.parametrize("named", guarantees_page.named_tests())
def test_a_named_test_is_there(named: str) -> None:
    path, _, test = named.partition("::")
    assert (ROOT / path).exists()
    assert not test or test.split("::")[-1] in _tests_in(path)


def test_every_host_has_every_row() -> None:
    source = guarantees_page.read()
    for row in source["row"]:
        for host in source["hosts"]:
            assert host in row, f"{row['name']} says nothing of {host}"
