"""A run tells in one line which tests the machine could not run, and what installs the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.programs import not_run

ROOT = Path(__file__).parents[2]


def test_the_run_ends_with_what_is_missing_and_the_command_that_installs_it() -> None:
    test = "tests/infra/test_observability.py::test_the_rules_fire_when_they_must_and_not_before"
    line = "1 test is not run, for want of promtool: make system-packages"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.splitlines()[-2] == line


def test_each_program_is_named_once() -> None:
    reasons = [f"Skipped: {name} is not installed: make system-packages" for name in "bab"]
    assert not_run(reasons) == "3 tests are not run, for want of a and b: make system-packages"


def test_other_reasons_ask_for_no_installation() -> None:
    assert not_run(["Skipped: not a git checkout"]) is None
