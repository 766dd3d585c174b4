"""The coverage gate names what was not run, and is silent where all of it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GATE = Path(__file__).parents[2] / "scripts" / "coverage_gate.py"
FULL: dict[str, Any] = {"missing_lines": [], "missing_branches": []}


def gate(tmp_path: Path, files: dict[str, Any], percent: float = 100.0) -> tuple[int, str]:
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files, "totals": {"percent_covered": percent}}))
    ran = subprocess.run(
        [sys.executable, GATE, report], capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout


def test_silent_where_all_is_run(tmp_path: Path) -> None:
    assert gate(tmp_path, {"queue_runtime/message.py": FULL}) == (0, "")


@pytest.mark.parametrize("module", ["message", "config/load"])
def test_a_branch_of_the_core(tmp_path: Path, module: str) -> None:
    missing = {"missing_lines": [], "missing_branches": [[3, 5], [7, -1]]}
    code, said = gate(tmp_path, {f"queue_runtime/{module}.py": missing}, percent=99.0)
    assert code == 1
    assert f"{module}.py must be run in full" in said
    assert "branch 3 to 5, branch 7 to the exit" in said


def test_a_line_is_told_once(tmp_path: Path) -> None:
    missing = {"missing_lines": [3], "missing_branches": [[3, 5]]}
    _, said = gate(tmp_path, {"queue_runtime/retry.py": missing})
    assert said.endswith("not run: line 3\n")


def test_outside_of_the_core_the_total_counts(tmp_path: Path) -> None:
    missing = {"missing_lines": [1], "missing_branches": []}
    files = {"queue_runtime/clouds/aws.py": missing}
    assert gate(tmp_path, files, percent=95.0) == (0, "")
    code, said = gate(tmp_path, files, percent=94.9)
    assert code == 1
    assert "94.9 %" in said
