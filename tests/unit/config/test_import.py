from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "asyncio",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "inspect",
    "pathlib",
    "pydantic",
    "queue_runtime.config.file",
    "re",
    "tomllib",
    "yaml",
}
PROGRAM = """
import os, sys, queue_runtime
before = set(sys.modules)  # what the core loads is the core's to answer for
from queue_runtime.config import load_settings
settings = load_settings({"queue": "orders"}, environ={"QUEUE_MAX_RETRY_ATTEMPTS": "2"})
assert settings.max_deliveries == 3
print(*(set(sys.modules) - before))
"""


def test_a_start_without_a_file_loads_nothing_heavy() -> None:
    # -S: site's own imports would hide ours.
    program = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{PROGRAM}"]
    run = subprocess.run(program, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "queue_runtime.config.load" in loaded
    assert not HEAVY & loaded
