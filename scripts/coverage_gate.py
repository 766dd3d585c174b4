"""Fails where the tests leave more of the package unrun than its threshold allows.

Reads the JSON report of coverage.py:  coverage_gate.py coverage.json
The core must have every line and every branch run; the package as a whole most of them.
"""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

WHOLE_PACKAGE = 95.0  # per cent of lines and branches together

# Modules in which an unrun branch is a message that nobody knows the fate of.
CORE = (
    "message",
    "outcome",
    "errors",
    "retry",
    "definition",
    "pipeline",
    "dispatch",
    "signatures",
    "bodies",
    "envelopes",
    "untrusted",
    "handler",
    "middleware",
    "observability/metrics",
    "breaker",
    "settlement/*",
    "config/*",
)


def main(report_path: str) -> int:
    """Print what is missing, nothing where nothing is; the exit code says which."""
    report = json.loads(Path(report_path).read_text())
    complaints = [*_core_complaints(report["files"]), *_total_complaints(report["totals"])]
    for complaint in complaints:
        print(f"coverage gate: {complaint}")
    return 1 if complaints else 0


def _core_complaints(files: dict[str, Any]) -> list[str]:
    return [
        f"{path} must be run in full; not run: {_unrun(measured)}"
        for path, measured in sorted(files.items())
        if _is_core(path) and (measured["missing_lines"] or measured["missing_branches"])
    ]


def _is_core(path: str) -> bool:
    return any(fnmatch(path, f"queue_runtime/{name}.py") for name in CORE)


def _unrun(measured: dict[str, Any]) -> str:
    lines = [f"line {line}" for line in measured["missing_lines"]]
    branches = [
        f"branch {start} to {'the exit' if end < 0 else end}"
        for start, end in measured["missing_branches"]
        if start not in measured["missing_lines"]
    ]
    return ", ".join(lines + branches)


def _total_complaints(totals: dict[str, Any]) -> list[str]:
    percent = totals["percent_covered"]
    if percent >= WHOLE_PACKAGE:
        return []
    return [f"the package is run to {percent:.1f} %, and {WHOLE_PACKAGE:g} % is the least"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
