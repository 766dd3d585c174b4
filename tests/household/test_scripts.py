"""The scripts behind the Makefile say what is missing instead of failing somewhere later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash") or "/bin/bash"


def run(script: str, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": path} if path else None
    command = [BASH, str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """Give a PATH with nothing on it but what every script may take for granted."""
    for name in ("id", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    return str(tmp_path)


def test_present_system_packages_are_left_alone() -> None:
    ran = run("system-packages.sh", "bash:bash")
    assert (ran.returncode, ran.stdout) == (0, "system packages: nothing to install\n")


def test_without_apt_get_it_says_what_to_install(bare_path: str) -> None:
    ran = run("system-packages.sh", "redis-server:redis", "id:coreutils", path=bare_path)
    assert ran.returncode == 0
    assert "please install redis (" in ran.stderr


def test_an_interpreter_is_found_by_running_it(tmp_path: Path, bare_path: str) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text(f"#!{BASH}\necho 'not set up here' >&2\nexit 127\n")
    shim.chmod(0o755)
    # Named, since a newest Python may be in the checkout's own tools.
    assert run("find-python.sh", "3.13", path=bare_path).returncode == 1

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shim.unlink()
    (tmp_path / f"python{version}").symlink_to(sys.executable)
    ran = run("find-python.sh", version, path=bare_path)
    assert ran.returncode == 0
    assert Path(ran.stdout.strip()).is_file()


def test_a_missing_version_is_named(bare_path: str) -> None:
    ran = run("find-python.sh", "3.11", path=bare_path)
    assert ran.returncode == 1
    assert "no Python 3.11" in ran.stderr


def test_help_lists_the_commands_of_the_readme() -> None:
    ran = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "check", "test-floor", "lock"):
        assert f"make {target} " in ran.stdout
