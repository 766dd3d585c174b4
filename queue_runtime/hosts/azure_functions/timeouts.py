"""How long one invocation may take, by the host's own order of who says it."""

from __future__ import annotations

import json
import os
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VARIABLE: Final = "AzureFunctionsJobHost__functionTimeout"
# The Consumption plan's; other plans have more, which host.json can say.
DEFAULT_SECONDS: Final = 300.0


def invocation_seconds(environ: Mapping[str, str], folders: Iterable[Path]) -> float:
    """Read the host's functionTimeout: its app setting, else host.json, else five minutes.

    Raises:
        SettingsError: what is written there is no time span.
    """
    text = environ.get(VARIABLE)
    if text:
        return parse_time_span(text, VARIABLE)
    for folder in folders:
        file = folder / "host.json"
        text = _function_timeout(file)
        if text:
            return parse_time_span(text, f"functionTimeout in {file.name}")
    return DEFAULT_SECONDS


def app_folders(environ: Mapping[str, str]) -> list[Path]:
    """Where host.json may be: the script root, beside function_app.py, the working directory."""
    root = environ.get("AzureWebJobsScriptRoot")
    app = sys.modules.get("function_app")
    file = getattr(app, "__file__", None)
    found = [Path(root)] if root else []
    return [*found, *([Path(file).parent] if file else []), Path(os.curdir)]


def parse_time_span(text: str, source: str) -> float:
    """Read `hh:mm:ss` or `d.hh:mm:ss`; -1 has no end.

    Raises:
        SettingsError: it is neither.
    """
    if text.strip() == "-1":
        return inf
    days, _, clock = text.strip().rpartition(".") if text.count(":") == 2 else ("", "", "")
    try:
        hours, minutes, seconds = (int(part) for part in clock.split(":"))
        total = int(days or 0) * 86_400 + hours * 3_600 + minutes * 60 + seconds
    except ValueError:
        total = 0
    if total <= 0 or "-" in text:
        raise SettingsError(f"{source}: {text!r} is no time span; write hh:mm:ss, or -1 for no end")
    return float(total)


def _function_timeout(file: Path) -> str:
    try:
        host = json.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return ""  # the host itself says what is wrong with its file
    timeout = host.get("functionTimeout") if isinstance(host, dict) else None
    return timeout if isinstance(timeout, str) else ""
