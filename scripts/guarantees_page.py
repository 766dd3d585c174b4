"""Writes docs/guarantees.md from docs/guarantees.toml:  guarantees_page [--check]."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

from scripts import generated

PAGE = generated.DOCS / "guarantees.md"
SOURCE = generated.DOCS / "guarantees.toml"


def page(current: str) -> str:
    """Put the tables between the page's markers."""
    source = read()
    hosts = (_host(key, title, source["row"]) for key, title in source["hosts"].items())
    return generated.between_markers(current, "guarantees", "\n\n".join(hosts))


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
    rows = [row for row in rows if key in row]
    cells = [(row["name"], row[key]["text"]) for row in rows]
    lines = [f"### {title}", "", generated.table(("what", "what becomes of it"), *cells)]
    lines += ["", '??? note "The tests that show it"', ""]
    for row in rows:
        tests = ", ".join(f"`{_short(test)}`" for test in row[key]["tests"])
        lines.append(f"    - {row['name']}: {tests}")
    return "\n".join(lines)


def _short(test: str) -> str:
    return test.removeprefix("tests/")


if __name__ == "__main__":
    sys.exit(generated.main(PAGE, page, sys.argv[1:]))
