"""Sends what was recorded: in the background, and in a given time before a function is frozen."""

from __future__ import annotations

import sys
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final

from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable

_LATE: Final = (
    "sending spans or metrics took longer than QUEUE_FLUSH_SECONDS; the reply did not wait for it"
)


class InTime:
    """Does one thing on a thread of its own, and waits for it no longer than it may.

    Exporters take a time limit and keep it for a connection, not for a whole export. The thread is
    kept, since to start one for each invocation would cost more than all that an export needs.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._go: SimpleQueue[None] = SimpleQueue()
        self._done = Event()
        self._done.set()
        self._thread: Thread | None = None
        self._lock = Lock()

    def __call__(self, seconds: float) -> None:
        """Do it; what is not done in time goes on by itself, and is waited for the next time."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="queue-runtime-flush", daemon=True)
                self._thread.start()
            if self._done.is_set():
                self._done.clear()
                self._go.put(None)
        if not self._done.wait(seconds):
            events.say_once("telemetry", "flush_time", _LATE)

    def _run(self) -> None:
        while True:
            self._go.get()
            try:
                self._work()
            except Exception as error:
                events.say_once("telemetry", "flush", f"sending failed: {type(error).__qualname__}")
            finally:
                self._done.set()


class Every:
    """Does one thing again and again in the background, and a last time at its end."""

    def __init__(self, seconds: float, work: Callable[[], object]) -> None:
        self._seconds = seconds
        self._in_time = InTime(work)
        self._stop = Event()
        self._thread = Thread(target=self._run, name="queue-runtime-metrics", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Do it once more, and end."""
        self._stop.set()
        self.now(seconds)

    def now(self, seconds: float) -> None:
        """Do it at once, and wait for it no longer than that."""
        self._in_time(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self.now(self._seconds)


def flush_spans(seconds: float) -> None:
    """Have the process's tracer provider send its spans; the API's own provider has none."""
    trace = sys.modules.get("opentelemetry.trace")
    provider = trace.get_tracer_provider() if trace else None
    if hasattr(provider, "force_flush"):
        _force_flush(seconds)


def _flush_provider() -> None:
    sys.modules["opentelemetry.trace"].get_tracer_provider().force_flush()


_force_flush: Final = InTime(_flush_provider)
