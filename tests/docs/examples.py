"""Finds and imports the files from which the documentation's code blocks are taken."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "examples"
FILES = sorted(FOLDER.rglob("*.py"))


def load(path: Path) -> ModuleType:
    """Import one example anew, so that no test sees what another left in its globals."""
    name = "_".join(("docs_example", *path.relative_to(FOLDER).with_suffix("").parts))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up by name
    spec.loader.exec_module(module)
    return module
