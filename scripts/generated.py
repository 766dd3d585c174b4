"""What the scripts share that write pages of docs/, or parts of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def main(page: Path, wanted: Callable[[str], str], arguments: Sequence[str]) -> int:
    """Write what `wanted` makes of the page as it is, or with --check only compare."""
    current = page.read_text() if page.exists() else ""
    if arguments != ["--check"]:
        page.write_text(wanted(current))
    elif current != wanted(current):
        name = page.relative_to(ROOT)
        sys.stderr.write(f"{name} is not what it is generated from: run `make generate`\n")
        return 1
    return 0


def between_markers(page: str, name: str, block: str) -> str:
    """Put a block between a page's two markers of that name."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, rest = page.split(start)
    after = rest.split(end)[1]
    return f"{before}{start}\n\n{block.strip()}\n\n{end}{after}"


def table(*rows: Sequence[str]) -> str:
    """Draw rows, of which the first is the head."""
    head, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))
