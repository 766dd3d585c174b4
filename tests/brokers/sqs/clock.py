"""Time that tests can move, so that a visibility timeout of minutes costs no waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class MovableClock:
    """Runs with `source` and jumps on demand; jumping wakes whoever waits for a moment."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0
        self._listeners: list[Callable[[], object]] = []

    def __call__(self) -> float:
        return self._source() + self._offset

    def advance(self, seconds: float) -> None:
        """Jump forward; long polls and visibility timeouts that this ends are served at once."""
        if seconds < 0:
            msg = f"a clock cannot go back by {-seconds} s; start a new broker instead"
            raise ValueError(msg)
        self._offset += seconds
        for listener in tuple(self._listeners):
            listener()

    def on_jump(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener` after each jump, on the jumping thread; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


def stopped_clock(at: float = 1_700_000_000.0) -> MovableClock:
    """A clock that only `advance` moves: exact times without a running second hand."""
    return MovableClock(lambda: at)
