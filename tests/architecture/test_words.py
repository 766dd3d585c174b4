"""Nothing in the repository names the machine it was written on, or where packages come from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.])/" r"(?:work|root)/\w",
            r"(?<![\w.])/" r"home/\w",
            r"\.pyenv" r"/",
            "pypi" r"\.(?:org|python)",
            "python" r"hosted\.org",
            "registry" r"\.(?:npmjs|yarnpkg)",
            "(?:deb|security)" r"\.debian\.org",
            r"--(?:extra-)?index" r"-url\s+\S+:",
        ]
    )
)


def files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so it is unknown which files belong to the project")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_and_no_registry_is_named() -> None:
    named = [
        f"{name}:{number}: {found.group()}"
        for name in files()
        for number, line in enumerate(
            (ROOT / name).read_text(errors="ignore").splitlines(), start=1
        )
        if (found := FORBIDDEN.search(line))
    ]
    assert not named


def test_locks_have_hashes_and_no_addresses() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock
        pins = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==.*(?:\n(?:    .*))*", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^\w", text, re.MULTILINE)), lock
        assert all("--hash=sha256:" in pin for pin in pins), lock
