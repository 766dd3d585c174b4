"""Ends a process at a signal: cleanly at the first one, at once at the second, and in any case."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from contextlib import suppress
from threading import Event, Thread, current_thread
from threading import enumerate as all_threads
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from types import FrameType

# SIGQUIT is the stop signal of several base images; SIGHUP comes when a terminal goes away.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
# Cancelled handlers, settlements and exporters have had their time then. Giving back from here
# takes at most `_GIVE_BACK_SECONDS` more: within ten seconds after the drain all is over.
_BEYOND_DRAIN_SECONDS: Final = 7.5
_GIVE_BACK_SECONDS: Final = 2.5
# An event loop that has not heard of the signal by then is held up by a handler.
_HEARS_SECONDS: Final = 1.0
# `timeout` and some supervisors tell a process, and then its whole group: that is one signal.
_SAME_SECONDS: Final = 0.5
_TOO_LATE: Final = (
    "a handler neither ended nor let itself be cancelled; the process ends without it, and gives "
    "back what it holds"
)


class Ending:
    """Listens to signals for as long as the block lasts; SIGUSR1 writes down what goes on.

    Not by the event loop, which hears of a signal only when no handler holds it up: then what
    waits is given back by a thread of this class. A handler that never lets go of the loop, or of
    its cancellation, is left `drain_seconds` and a little more, and so is a thread that it started.
    """

    def __init__(self, drain_seconds: float) -> None:
        self._limit = drain_seconds + _BEYOND_DRAIN_SECONDS
        self._number = 0
        self._asked_at = 0.0
        self._asked, self._heard, self._ended = Event(), Event(), Event()
        self._loop: AbstractEventLoop | None = None
        self._stop: Callable[[], None] | None = None
        self._give_back: Callable[[bool], None] = lambda _everything: None
        self._describe: Callable[[], list[str]] = list
        self._threads_before = set(all_threads())

    def __enter__(self) -> Ending:
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in SIGNALS
            # nohup's word stands: what goes on after its terminal does not end with it.
            if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN)
        }
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_question)
        os.register_at_fork(after_in_child=self._forget)
        # Now, since a thread that starts inside of a signal's handler can meet its own lock.
        Thread(target=self._watch, name="queue-runtime-ending", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self._ended.set()
        self._asked.set()
        self._restore()
        if self._number and kind is None:
            self._do_not_wait_for_threads()

    def tell(
        self,
        loop: AbstractEventLoop,
        stop: Callable[[], None],
        give_back: Callable[[bool], None] = lambda _everything: None,
        describe: Callable[[], list[str]] = list,
    ) -> None:
        """Say what a signal stops, on which loop; one that came before counts.

        Args:
            loop: runs `stop`.
            stop: begins the end.
            give_back: gives back from a thread what waits, or everything, while the loop is held.
            describe: says what is in flight, a line each.
        """
        self._loop, self._stop = loop, stop
        self._give_back, self._describe = give_back, describe
        if self._number:
            self._hear()

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return bool(self._number)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = monotonic()
        if self._number == number and now - self._asked_at < _SAME_SECONDS:
            return
        if self._number:  # the operator has waited enough: locks will end by themselves
            os._exit(128 + number)
        self._number, self._asked_at = number, now
        self._asked.set()
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._heard.set()
        if self._stop is not None:
            self._stop()

    def _watch(self) -> None:
        self._asked.wait()
        if self._number and not self._heard.wait(_HEARS_SECONDS):
            self._give_back_in_time(False)
        left = self._limit - (monotonic() - self._asked_at)
        if not self._ended.wait(max(0.0, left)):
            _write(_TOO_LATE)
            self._give_back_in_time(True)
            os._exit(128 + self._number)

    def _give_back_in_time(self, everything: bool) -> None:
        thread = Thread(target=self._give_back, args=(everything,), daemon=True)
        thread.start()
        thread.join(_GIVE_BACK_SECONDS)

    def _do_not_wait_for_threads(self) -> None:
        """End the process where a handler's thread would keep the interpreter from ending."""
        left = [
            thread.name
            for thread in set(all_threads()) - self._threads_before - {current_thread()}
            if not thread.daemon
        ]
        if not left:
            return
        _write(
            f"all messages are settled, but threads that handlers started have not ended "
            f"({', '.join(sorted(left))}): the process does not wait for them"
        )
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(0)

    def _on_question(self, _number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            faulthandler.dump_traceback(2, all_threads=True)
        for line in self._describe():
            _write(line)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forget(self) -> None:
        # A process that a handler forks has signals of its own: nobody here would hear them.
        if not self._ended.is_set():
            self._ended.set()
            with suppress(ValueError):
                self._restore()


def _write(text: str) -> None:
    with suppress(OSError):  # whatever stderr is, the end must not hang on it
        os.write(2, f"queue-runtime: {text}\n".encode(errors="backslashreplace"))
