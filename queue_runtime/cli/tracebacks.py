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
    said = os.environ.get(_SETTING.environment[0], "").strip()
    return getattr(options, "traceback", False) or (
        hasattr(options, "traceback") and _SETTING.parse(said) is True
    )


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
