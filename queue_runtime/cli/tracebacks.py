"""Shows a developer the whole of an error: text, causes and traceback, which nothing else does."""

from __future__ import annotations

import json
import os
import sys
from traceback import format_exception
from typing import TYPE_CHECKING, Final

from queue_runtime.config import redact
from queue_runtime.config.table import SETTINGS
from queue_runtime.printable import printable

if TYPE_CHECKING:
    import argparse

_SETTING: Final = SETTINGS["tracebacks"]
_WARNING: Final = "tracebacks are on: they show what errors say, which may be a message's body"


def asked(options: argparse.Namespace) -> bool:
    """Tell whether to show them before settings are loaded: by the option or its variable."""
    return _takes(options) and (options.traceback or _said_in_environment())


def warn_if_ignored(options: argparse.Namespace) -> None:
    """Say that a command which runs no handler has none to show."""
    if _said_in_environment() and not _takes(options):
        name = _SETTING.environment[0]
        sys.stderr.write(f"queue-runtime: {name} has no effect on {options.command}\n")


def _takes(options: argparse.Namespace) -> bool:
    return hasattr(options, "traceback")


def _said_in_environment() -> bool:
    return _SETTING.parse(os.environ.get(_SETTING.environment[0], "").strip()) is True


def warn() -> None:
    """Say once that what is to come may hold bodies."""
    sys.stderr.write(f"queue-runtime: {_WARNING}\n")


def show(error: BaseException, *, as_json: bool = False) -> None:
    """Write an error to stderr, its causes first; what looks like a credential is left out."""
    text = whole(error)
    sys.stderr.write(f"{json.dumps({'traceback': text})}\n" if as_json else f"{text}\n")


def whole(error: BaseException) -> str:
    """Give the traceback as Python writes it, safe for a terminal, without credentials."""
    text = redact("".join(format_exception(error)))
    return "\n".join(printable(line, most=10_000) for line in text.splitlines())
