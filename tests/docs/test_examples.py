"""Every example runs, and no page shows code that nothing runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.examples import FILES, FOLDER, ROOT, load

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
MARK = re.compile(r"^ *# --8<-- \[(start|end):(\w+)\]\n", re.MULTILINE)
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r'^ *--8<-- "([\w/.-]+\.py)(?::(\w+))?"\n$')


def regions(source: str) -> dict[str, str]:
    """Give the text between each pair of marks, as a page shows it."""
    found: dict[str, str] = {}
    for mark in MARK.finditer(source):
        kind, name = mark.groups()
        if kind == "start":
            end = re.search(rf"^ *# --8<-- \[end:{name}\]", source[mark.end() :], re.MULTILINE)
            assert end is not None, f"region {name} has no end"
            found[name] = source[mark.end() :][: end.start()].strip("\n")
    return found


REGIONS = [
    (f"{path.relative_to(ROOT)}:{name}", region)
    for path in FILES
    for name, region in regions(path.read_text()).items()
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_example_runs(path: Path) -> None:
    module = load(path)
    runs = [
        value for name, value in vars(module).items() if name.startswith("test_") or name == "main"
    ]
    for run in runs:
        run()
    assert runs or path.parent.name == "moving", "no test runs what this example shows"


def python_blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}:{number}", block.group(2))
        for page in PAGES
        for number, block in enumerate(BLOCK.finditer(page.read_text()), start=1)
    ]


@pytest.mark.parametrize(("where", "block"), python_blocks(), ids=lambda value: value[:40])
def test_code_block_comes_from_an_example(where: str, block: str) -> None:
    included = INCLUDED.match(block)
    if included is None:
        assert block.strip("\n") in dict(REGIONS).values(), f"{where} shows code that no test runs"
        return
    path, region = included.groups()
    run_elsewhere = path.startswith("tests/") or path == "function_app.py"
    assert ROOT / path in FILES or run_elsewhere, f"{where}: no test runs {path}"
    assert region is None or region in regions((ROOT / path).read_text())


def test_every_region_is_shown_somewhere() -> None:
    pages = "\n".join(page.read_text() for page in PAGES)
    unused = [where for where, text in REGIONS if f'{where}"' not in pages and text not in pages]
    assert not unused, "examples that no page includes: delete them or show them"
