"""Writes docs/guarantees.md from docs/guarantees.toml:  guarantees_page.py [--check]."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
SOURCE = ROOT / "docs" / "guarantees.toml"
START, END = "<!-- guarantees:start -->", "<!-- guarantees:end -->"


def main(arguments: list[str]) -> int:
    """Write the page, or tell whether it is out of date."""
    current = PAGE.read_text()
    wanted = page(current)
    if arguments == ["--check"]:
        if current != wanted:
            print("docs/guarantees.md is not what guarantees.toml says: run `make generate`")
            return 1
        return 0
    PAGE.write_text(wanted)
    return 0


def page(current: str) -> str:
    """Put the tables between the page's markers."""
    source = read()
    before, rest = current.split(START)
    after = rest.split(END)[1]
    hosts, rows = source["hosts"], source["row"]
    blocks = [f"{START}\n", *(_host(key, title, rows) for key, title in hosts.items()), END]
    return before + "\n".join(blocks) + after


def read() -> dict[str, Any]:
    """Read the table."""
    return tomllib.loads(SOURCE.read_text())


def named_tests() -> list[str]:
    """Give every test that a cell names."""
    source = read()
    return [
        test
        for row in source["row"]
        for host in source["hosts"]
        if host in row
        for test in row[host]["tests"]
    ]


def _host(key: str, title: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"### {title}", "", "| what | what becomes of it |", "| --- | --- |"]
    lines += [f"| {row['name']} | {row[key]['text']} |" for row in rows if key in row]
    lines += ["", '??? note "The tests that show it"', ""]
    for row in rows:
        if key in row:
            tests = ", ".join(f"`{_short(test)}`" for test in row[key]["tests"])
            lines.append(f"    - {row['name']}: {tests}")
    return "\n".join([*lines, ""])


def _short(test: str) -> str:
    return test.removeprefix("tests/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
