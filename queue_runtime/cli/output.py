"""Prints for a person at a terminal, and in lines or JSON for a program."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from queue_runtime.observability.events import events
from queue_runtime.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console


_STYLES = {"completed": "green", "discarded": "cyan", "retried": "yellow", "dead-lettered": "red"}


# Where results go while a handler runs, whose own lines go to stderr; None is sys.stdout.
_results: list[TextIO] = []


def stdout() -> TextIO:
    """Give the stream of results: the process's stdout, which no handler writes to."""
    return _results[-1] if _results else sys.stdout


def as_json(options: argparse.Namespace) -> bool:
    """Tell how results are printed: as a table to a person, and in JSON lines to all others."""
    return bool(options.json or not (options.table or stdout().isatty()))


@contextmanager
def handlers_print_to_stderr() -> Iterator[None]:
    """Keep stdout for results: what a handler, or a program that it starts, prints is no result."""
    before, results, restore = sys.stdout, sys.stdout, -1
    if _number(before) == 1:
        before.flush()
        restore = os.dup(1)
        results = os.fdopen(os.dup(1), "w", encoding=before.encoding, errors=before.errors)
        os.dup2(2, 1)
        if isinstance(before, io.TextIOWrapper):
            before.reconfigure(line_buffering=True)
    else:
        sys.stdout = sys.stderr
    _results.append(results)
    try:
        yield
    finally:
        _results.pop()
        sys.stdout = before
        if restore >= 0:
            before.flush()
            os.dup2(restore, 1)
            os.close(restore)
            results.close()


def _number(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # a stream of somebody who looks at what we print
        return -1


def line(text: str = "") -> None:
    """Print one line to stdout, whole and at once: whoever reads a pipe waits for it."""
    stream = stdout()
    stream.write(text + "\n")
    stream.flush()


def plural(count: int, noun: str) -> str:
    """Count something in words."""
    plurals = {"delivery": "deliveries"}
    return f"{count:,} {noun if count == 1 else plurals.get(noun, noun + 's')}"


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
                os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())


def json_line(value: Mapping[str, Any]) -> None:
    """Print one JSON object as a line, for a program."""
    line(json.dumps(value, separators=(",", ":"), default=str))


def console() -> Console | None:
    """Give a console where a person looks and rich is installed (extra `cli`)."""
    if not stdout().isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=False, file=stdout())


def sentence(text: str) -> None:
    """Print a sentence: at a terminal broken between words, else as one line."""
    screen = console()
    if screen is None:
        line(printable(text))
    else:
        screen.print(printable(text), markup=False, highlight=False)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, whole: int = 0
) -> None:
    """Print a table: in colour at a terminal, else in plain aligned columns.

    The cells of the first `whole` columns are not broken.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    screen = console()
    if screen is None:
        _plain_table(title, columns, rows)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for at, column in enumerate(columns):
        drawn.add_column(column, overflow="fold", no_wrap=at < whole)
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
