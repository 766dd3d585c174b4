"""Stops calling a handler that only fails, so that an outage does not use up every delivery."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from queue_runtime.errors import BodyDecodeError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import DeadLetter, Disposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Settings
    from queue_runtime.outcome import Outcome


_CLOSED, _ON_TRIAL, _OPEN = 0, 1, 2


class Admission(NamedTuple):
    """Tells how many messages may run: all, none for `wait` seconds, or one `on_trial`."""

    allowed: int
    wait: float = 0.0
    on_trial: bool = False


class Breaker:
    """Opens after `failures` in a row, and after `seconds` lets one message run as a trial.

    Closes after `successes` trials in a row, and opens again at the first trial that fails.

    A retry counts as a failure, `Retry` too. Poison, a handler's own DeadLetter and messages that
    did not run do not count. While the breaker is open, results of messages that started earlier
    are ignored.

    Args:
        failures: number of failures in a row that opens it; 0 never does.
        seconds: time until a trial.
        successes: number of trials in a row that closes it.
        clock: a monotonic clock, in seconds.

    `queue` is the queue whose metric tells the breaker's state.
    """

    __slots__ = (
        "_clock",
        "_failures",
        "_in_a_row",
        "_lock",
        "_opened_at",
        "_successes",
        "queue",
        "seconds",
    )

    def __init__(
        self,
        failures: int,
        *,
        seconds: float = 30.0,
        successes: int = 3,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._failures, self.seconds, self._successes = failures, seconds, successes
        self._clock = clock
        self.queue = ""
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._lock = Lock()

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float] = monotonic) -> Breaker:
        """Make the breaker that an operator asked for."""
        return cls(
            settings.breaker_failures,
            seconds=settings.breaker_seconds,
            successes=settings.breaker_successes,
            clock=clock,
        )

    def admit(self, count: int) -> Admission:
        """Tell how many of `count` messages may run now, and how long the rest waits."""
        opened_at = self._opened_at
        if opened_at is None:
            return Admission(count)
        wait = self._left(opened_at)
        if wait:
            return Admission(0, wait)
        self._say(_ON_TRIAL)
        return Admission(min(count, 1), on_trial=True)

    def record(self, outcome: Outcome) -> None:
        """Learn from a message that was tried. Safe from any thread."""
        if not self._failures:
            return
        healthy = _says_healthy(outcome)
        if healthy is None:
            return
        with self._lock:
            if self._opened_at is not None and self._left(self._opened_at):
                return  # it had started before this opened, and was no trial
            if healthy:
                self._succeeded()
            else:
                self._failed()

    def _left(self, opened_at: float) -> float:
        return max(0.0, opened_at + self.seconds - self._clock())

    def _succeeded(self) -> None:
        if self._opened_at is None:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= self._successes:
            self._opened_at, self._in_a_row = None, 0
            self._say(_CLOSED)
            self._log("has closed again: messages are taken as before")

    def _failed(self) -> None:
        if self._opened_at is not None:
            self._open()
            return
        self._in_a_row += 1
        if self._in_a_row >= self._failures:
            self._open()
            self._log(
                f"has opened, since {self._failures} messages in a row failed: the next one is "
                f"tried in {self.seconds:g} s"
            )

    def _open(self) -> None:
        self._opened_at, self._in_a_row = self._clock(), 0
        self._say(_OPEN)

    def _log(self, what: str) -> None:
        name = self.queue or "the handler"
        text = "the circuit breaker of %s %s"
        events.warning(self.queue or None, "circuit_breaker", text, name, what)

    def _say(self, state: int) -> None:
        metrics.BREAKER_STATE.set(state, self.queue)


def _says_healthy(outcome: Outcome) -> bool | None:
    if outcome.unrun or isinstance(outcome.error, BodyDecodeError | DeadLetter):
        return None
    return outcome.disposition is Disposition.ACK
