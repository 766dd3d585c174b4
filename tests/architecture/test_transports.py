"""A transport shares the protocol with the others, and nothing else.

import-linter cannot say this, because the modules of one transport are told by their prefix.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSPORTS = Path(__file__).parents[2] / "queue_runtime" / "transports"
FAMILIES = ("sqs", "service_bus", "local")
SHARED = {"base", "jobs"}
MODULES = sorted(path for path in TRANSPORTS.glob("*.py") if path.stem not in {"__init__", *SHARED})


def family(module: str) -> str:
    return next((name for name in FAMILIES if module == name or module.startswith(f"{name}_")), "")


def siblings_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "queue_runtime.transports":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith("queue_runtime.transports."):
                yield node.module.split(".")[2]
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            yield from (name[2] for name in names if name[:2] == ["queue_runtime", "transports"])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_transport_knows_no_other(path: Path) -> None:
    assert family(path.stem), f"add the family of {path.stem} to FAMILIES"
    foreign = {
        name for name in siblings_imported(path) if family(name) != family(path.stem)
    } - SHARED
    assert not foreign
