"""Programs beside Python that some tests need, and which of them this machine does not have."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

_INSTALL = "make system-packages"
_MISSING = re.compile(rf"(\S+) is not installed: {_INSTALL}")


def program(name: str) -> str:
    """Find a program, or skip the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {_INSTALL}")
    return found


def not_run(reasons: Iterable[str]) -> str | None:
    """Say in one line how many tests were skipped for want of a program, and how to install it."""
    missing = [match[1] for match in map(_MISSING.search, reasons) if match]
    if not missing:
        return None
    tests, are = ("1 test", "is") if len(missing) == 1 else (f"{len(missing)} tests", "are")
    names = " and ".join(sorted(set(missing)))
    return f"{tests} {are} not run, for want of {names}: {_INSTALL}"
