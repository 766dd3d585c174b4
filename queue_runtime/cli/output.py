"""Prints for a person at a terminal, and in lines or JSON for a program."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from queue_runtime.observability.events import events
from queue_runtime.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console


_STYLES = {"completed": "green", "discarded": "cyan", "retried": "yellow", "dead-lettered": "red"}


def line(text: str = "") -> None:
    """Print one line to stdout, whole and at once: whoever reads a pipe waits for it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def keep_standard_streams() -> None:
    """Open what was closed before this process began.

    Else a connection gets the number of stdout or stderr, and has lines written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


class Lines:
    """Lines on stdout of a process that must not depend on them.

    Once they cannot be written (the disk is full, the reader is gone) that is said on stderr, and
    the rest goes nowhere.
    """

    def __init__(self) -> None:
        self.lost = False

    def json_line(self, value: Mapping[str, Any]) -> None:
        """Print one JSON object as a line, if that can be done."""
        self.carefully(json_line, value)

    def carefully(self, show: Callable[..., None], *arguments: Any) -> None:
        """Print something."""
        if self.lost:
            return
        try:
            show(*arguments)
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self.lost = True
            text = "stdout cannot be written to (%s): its numbers are lost, and polling goes on"
            events.warning(None, "poll", text, getattr(error, "strerror", None) or error)
            with suppress(OSError):  # what is buffered would fail once more as the process ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def json_line(value: Mapping[str, Any]) -> None:
    """Print one JSON object as a line, for a program."""
    line(json.dumps(value, separators=(",", ":"), default=str))


def console() -> Console | None:
    """Give a console where a person looks and rich is installed (extra `cli`)."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: in colour at a terminal, else in plain aligned columns."""
    rows = [[printable(cell) for cell in row] for row in rows]
    screen = console()
    if screen is None:
        _plain_table(title, columns, rows)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell.split(" ")[0], "")) for cell in row))
    screen.print(drawn)


def _plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [
        max(len(column), *(len(row[at]) for row in rows)) if rows else len(column)
        for at, column in enumerate(columns)
    ]
    line(title)
    for row in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line("  " + "  ".join(cells).rstrip())
