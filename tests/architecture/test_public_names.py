"""What `import queue_runtime` gives is what docs/api.md lists, and costs no more than it must."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import queue_runtime

API_PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def first_column(heading: str) -> list[str]:
    section = API_PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_all_names_are_documented() -> None:
    assert sorted(first_column("Names")) == sorted(queue_runtime.__all__)


def test_all_options_are_documented_in_order() -> None:
    parameters = inspect.signature(queue_runtime.queue_handler).parameters.values()
    options = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    assert first_column("queue_handler") == options


def test_all_is_sorted_and_true() -> None:
    assert queue_runtime.__all__ == sorted(
        queue_runtime.__all__, key=lambda name: (name.islower(), name)
    )
    for name in queue_runtime.__all__:
        assert getattr(queue_runtime, name).__doc__, f"{name} has no docstring"


def test_a_shell_completes_every_name() -> None:
    assert set(queue_runtime.__all__) <= set(dir(queue_runtime))


def test_the_version_is_that_of_the_distribution() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\nversion = "{queue_runtime.__version__}"\n' in text
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        queue_runtime.nothing  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, queue_runtime; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {
        "asyncio",
        "pydantic",
        "boto3",
        "botocore",
        "azure",
        "redis",
        "opentelemetry",
        "rich",
        "yaml",
    }
    assert not heavy & set(loaded.stdout.split())
