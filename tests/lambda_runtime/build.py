"""Builds the function as a user would, once for all test workers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from tests.lambda_runtime.emulator import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SAM: Final = ROOT / ".tools" / "sam" / "bin" / "sam"


def run_sam(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run the SAM CLI in the project's root and give its output.

    Raises:
        AssertionError: it is not installed, or it failed; with what it said.
    """
    assert SAM.is_file(), "the SAM CLI is not in .tools/sam: run `make setup`, which installs it"
    finished = subprocess.run(
        [SAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    output = finished.stdout + finished.stderr
    assert finished.returncode == 0, f"sam {' '.join(arguments)}: {output}"
    return output


def built_once(factory: pytest.TempPathFactory) -> Path:
    """Build `OrdersFunction` for this interpreter and machine, or wait for who builds it."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "sam-build"
    with FileLock(shared / "sam-build.lock"):
        if not (shared / "sam-build.done").exists():
            run_sam(
                *("build", "OrdersFunction", "--build-dir", str(folder)),
                env={
                    "LAMBDA_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
                    "LAMBDA_MACHINE": platform.machine(),
                },
            )
            (shared / "sam-build.done").touch()
    return folder / "OrdersFunction"
