"""How every test runs: by how many workers, when garbage is collected, what the end says."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.programs import not_run

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# By hand, since the entry point would load the package before coverage is measured.
pytest_plugins = ["queue_runtime.testing.pytest_plugin"]

# Tests of Service Bus wait four fifths of their time: its SDK looks every 50 ms whether a link is
# open.
WORKERS_A_CORE = 3


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Start several workers a core for `-n auto`."""
    return WORKERS_A_CORE * (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """Tell last which tests this machine could not run."""
    yield
    reports = terminalreporter.getreports("skipped")
    if line := not_run(str(report.longrepr) for report in reports):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    """Collect garbage once a module, and spare collections what is alive between modules.

    A collection of all 250,000 objects of imported packages takes 0.1 s and more.
    """
    gc.freeze()
    yield
    gc.collect()
