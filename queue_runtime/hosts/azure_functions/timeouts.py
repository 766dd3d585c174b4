"""Reads the time limit of an invocation, in the host's own order of sources.

The host reads its configuration as .NET does: names in any case, host.json with comments and
trailing commas, time spans in every form of `TimeSpan.Parse`
(https://learn.microsoft.com/dotnet/api/system.timespan.parse).
"""

from __future__ import annotations

import json
import os
import re
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VARIABLE: Final = "azurefunctionsjobhost:functiontimeout"
_MEMBER: Final = "functiontimeout"

# https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout: thirty minutes on every
# plan but Consumption, which the host knows by its app setting.
DEFAULT_SECONDS: Final = 1800.0
CONSUMPTION_SECONDS: Final = 300.0

_SPAN: Final = re.compile(
    r"(?:(?P<days>\d+)[.:])?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)(?P<part>\.\d{1,7})?"
    r"|(?:(?P<days_>\d+)\.)?(?P<hours_>\d+):(?P<minutes_>\d+)"
    r"|(?P<only_days>\d+)",
    re.ASCII,
)
_DAY: Final = 86_400
_MOST_DAYS: Final = 10_675_199  # of a TimeSpan

# A text, or what a strict parser does not take: a comment, or a comma before a closing bracket.
_LENIENT: Final = re.compile(
    r'("(?:\\.|[^"\\])*")|//[^\r\n]*|/\*.*?\*/|,(?=(?:\s|//[^\r\n]*|/\*.*?\*/)*[}\]])', re.DOTALL
)


def invocation_seconds(environ: Mapping[str, str], folders: Iterable[Path]) -> float:
    """Read the host's functionTimeout: its app setting, else host.json, else the plan's default.

    Raises:
        SettingsError: what is written there is no time span.
    """
    for name, text in environ.items():
        if text and name.replace("__", ":").lower() == _VARIABLE:
            return parse_time_span(text, name)
    for folder in folders:
        file = folder / "host.json"
        text = _function_timeout(file)
        if text:
            return parse_time_span(text, f"functionTimeout in {file.name}")
    return CONSUMPTION_SECONDS if environ.get("WEBSITE_SKU") == "Dynamic" else DEFAULT_SECONDS


def app_folders(environ: Mapping[str, str]) -> list[Path]:
    """Give the folders that may hold host.json: script root, function_app.py's, the working one."""
    root = environ.get("AzureWebJobsScriptRoot")
    app = sys.modules.get("function_app")
    file = getattr(app, "__file__", None)
    found = [Path(root)] if root else []
    return [*found, *([Path(file).parent] if file else []), Path(os.curdir)]


def parse_time_span(text: str, source: str) -> float:
    """Read a time span as .NET does: `[d.]hh:mm[:ss[.fraction]]`, or days alone; -1 has no end.

    Raises:
        SettingsError: it is none, or a negative or empty one.
    """
    if text.strip() == "-1":
        return inf
    seconds = _span_seconds(text.strip())
    if not seconds:
        raise SettingsError(f"{source}: {text!r} is no time span; write hh:mm:ss, or -1 for no end")
    return seconds


def _span_seconds(text: str) -> float | None:
    match = _SPAN.fullmatch(text)
    if match is None or len(text) > 40:
        return None
    parts = {name.rstrip("_"): value for name, value in match.groupdict().items() if value}
    if "only_days" in parts:
        return _total(int(parts["only_days"]), 0, 0, 0)
    days, hours, minutes = (int(parts.get(name, 0)) for name in ("days", "hours", "minutes"))
    seconds = int(parts.get("seconds", 0))
    if hours > 23 and "seconds" in parts and "days" not in parts and "part" not in parts:
        # .NET reads 24:00:00 as 24 days: the hour cannot be one, and d:hh:mm is a form as well.
        days, hours, minutes, seconds = hours, minutes, seconds, 0
    whole = _total(days, hours, minutes, seconds)
    return None if whole is None else whole + float(parts.get("part", 0))


def _total(days: int, hours: int, minutes: int, seconds: int) -> float | None:
    if days > _MOST_DAYS or hours > 23 or minutes > 59 or seconds > 59:
        return None
    return float(days * _DAY + hours * 3_600 + minutes * 60 + seconds)


def _function_timeout(file: Path) -> str:
    try:
        host = json.loads(_strict(file.read_text("utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return ""  # the host itself says what is wrong with its file
    members: Mapping[str, Any] = host if isinstance(host, dict) else {}
    said = [value for name, value in members.items() if name.lower() == _MEMBER]
    timeout = said[-1] if said else None
    return str(timeout) if isinstance(timeout, str | int) else ""


def _strict(text: str) -> str:
    return _LENIENT.sub(lambda found: found[1] or "", text)
