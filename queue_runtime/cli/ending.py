"""Ends a process at a signal: cleanly at the first one, at once at the second, and in any case."""

from __future__ import annotations

import os
import signal
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from types import FrameType

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# Cancelled handlers, settlements and exporters have had their time then.
_BEYOND_DRAIN_SECONDS: Final = 4.0
# `timeout` and some supervisors tell a process, and then its whole group: that is one signal.
_SAME_SECONDS: Final = 0.5
_TOO_LATE: Final = (
    b"queue-runtime: a handler neither ended nor let itself be cancelled; the process ends without "
    b"it, and what it holds comes back when its lock ends\n"
)


class Ending:
    """Listens to signals for as long as the block lasts.

    Not by the event loop, which hears of a signal only when no handler holds it up. A handler that
    never lets go of the loop, or of its cancellation, is left `drain_seconds` and a little more.
    """

    def __init__(self, drain_seconds: float) -> None:
        self._limit = drain_seconds + _BEYOND_DRAIN_SECONDS
        self._number = 0
        self._asked_at = 0.0
        self._asked, self._ended = Event(), Event()
        self._loop: AbstractEventLoop | None = None
        self._stop: Callable[[], None] | None = None

    def __enter__(self) -> Ending:
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        # Now, since a thread that starts inside of a signal's handler can meet its own lock.
        Thread(target=self._watch, name="queue-runtime-ending", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._asked.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def tell(self, loop: AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Say what a signal stops, on which loop; one that came before counts."""
        self._loop, self._stop = loop, stop
        if self._number:
            stop()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = monotonic()
        if self._number == number and now - self._asked_at < _SAME_SECONDS:
            return
        if self._number:  # the operator has waited enough: locks will end by themselves
            os._exit(128 + number)
        self._number, self._asked_at = number, now
        self._asked.set()
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    def _watch(self) -> None:
        self._asked.wait()
        if not self._ended.wait(self._limit):
            os.write(2, _TOO_LATE)
            os._exit(128 + self._number)
