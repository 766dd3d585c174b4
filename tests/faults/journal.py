"""What handlers in other processes have begun and finished, read line by line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class Line(NamedTuple):
    """A handler's `run` or `done`; a body is `group:number`."""

    what: str
    body: str
    process: str


class Journal:
    """The file that all processes of one test append to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[Line]:
        if not self.path.exists():
            return []
        return [Line(*text.split()) for text in self.path.read_text().splitlines()]

    def count(self, what: str) -> Counter[str]:
        """Count how often each message was begun, or finished."""
        return Counter(line.body for line in self.lines() if line.what == what)


def out_of_order(lines: Iterable[Line], bodies: Sequence[str]) -> list[str]:
    """Find runs of a message before each one that was sent earlier in its group was done."""
    finished: set[str] = set()
    wrong = []
    for what, body, _ in lines:
        if what == "done":
            finished.add(body)
        elif not set(earlier_of_group(body, bodies)) <= finished:
            wrong.append(body)
    return wrong


def earlier_of_group(body: str, bodies: Sequence[str]) -> list[str]:
    group = f"{body.partition(':')[0]}:"
    return [each for each in bodies[: bodies.index(body)] if each.startswith(group)]
