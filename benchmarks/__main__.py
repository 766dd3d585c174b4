"""Runs the benchmarks and writes their table:  python -m benchmarks [NAME …]."""

from __future__ import annotations

import importlib
import platform
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.paired import Figure

MODULES = (
    "lambda_dispatch",
    "azure_functions",
    "cold_start",
    "observability",
    "idempotency",
    "local_queue",
    "poller",
    "sqs_poller",
    "service_bus_poller",
)
_PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_START, _END = "<!-- bench:start -->", "<!-- bench:end -->"


def main(names: list[str]) -> int:
    """Run what is named, or all; all of them are written down, a part is only shown."""
    warnings.simplefilter("ignore")
    rows = []
    for name in names or MODULES:
        print(f"{name} …", file=sys.stderr, flush=True)
        for figure in importlib.import_module(f"benchmarks.{name}").figures():
            rows.append(_row(figure))
            print("  " + " | ".join(rows[-1]), flush=True)
    if not names:
        _write(rows)
    return 0


def _row(figure: Figure) -> tuple[str, ...]:
    sign = "≥" if figure.at_least else "≤"
    limit = "" if figure.limit is None else f"{sign} {figure.limit:g}"
    kept = {True: "kept", False: "missed", None: ""}[figure.kept]
    theirs = "" if figure.theirs is None else f"{figure.theirs:,.2f}"
    return (figure.name, f"{figure.ours:,.2f}", theirs, figure.unit, f"{figure.ratio:.2f}", limit,
            kept)  # fmt: skip


def _write(rows: list[tuple[str, ...]]) -> None:
    head = ("measured / against", "ours", "theirs", "unit", "ratio", "limit", "")
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]
    when = datetime.now(UTC).strftime("%d %B %Y")
    note = (
        f"Python {platform.python_version()} on two shared cores, {when}; medians of paired runs."
    )
    text = _PAGE.read_text()
    before, rest = text.split(_START)
    after = rest.split(_END)[1]
    _PAGE.write_text(f"{before}{_START}\n\n" + "\n".join(lines) + f"\n\n{note}\n\n{_END}{after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
