"""Both type checkers accept ok.py and refuse exactly the marked lines of bad.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OK, BAD = HERE / "ok.py", HERE / "bad.py"
MARKED = {
    number
    for number, line in enumerate(BAD.read_text().splitlines(), start=1)
    if line.endswith("# bad")
}
Found: TypeAlias = "dict[Path, dict[int, str]]"


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return done.stdout


def _mypy(scratch: Path) -> Found:
    # Not the project's own settings, which leave bad.py out.
    options = ("--strict", "--config-file=", "--python-version=3.11", "--no-error-summary")
    shown = _run("mypy", *options, f"--cache-dir={scratch}", str(OK), str(BAD))
    found: Found = {OK: {}, BAD: {}}
    for line in shown.splitlines():
        place = re.match(r"(.+?):(\d+): error: (.*)", line)
        if place:
            found[ROOT / place[1]][int(place[2])] = place[3]
    return found


def _pyright(scratch: Path) -> Found:
    settings = {
        "include": [str(OK), str(BAD)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "reportUnusedCoroutine": "none",  # bad.py calls things only for their arguments
    }
    (scratch / "pyrightconfig.json").write_text(json.dumps(settings))
    python = ("--pythonpath", sys.executable)
    shown = _run("basedpyright", "--outputjson", *python, "-p", str(scratch))
    found: Found = {OK: {}, BAD: {}}
    for item in json.loads(shown)["generalDiagnostics"]:
        if item["severity"] == "error":
            line = item["range"]["start"]["line"] + 1
            found[Path(item["file"])][line] = item["message"]
    return found


@pytest.mark.parametrize("check", [_mypy, _pyright])
def test_what_users_write_is_accepted_and_every_wrong_line_refused(
    check: Callable[[Path], Found], tmp_path: Path
) -> None:
    found = check(tmp_path)
    assert found[OK] == {}
    assert sorted(MARKED - set(found[BAD])) == []
    assert {at: text for at, text in found[BAD].items() if at not in MARKED} == {}
    assert len(MARKED) > 50
