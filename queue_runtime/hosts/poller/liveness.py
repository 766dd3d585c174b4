"""Whether a poller moves, for whoever looks from another thread."""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Sequence

    from queue_runtime.breaker import Breaker
    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.in_flight import InFlight
    from queue_runtime.hosts.poller.receiver import Receiver

_BEAT_SECONDS: Final = 1.0
# Beyond what a receive may wait; the event loop has this long as well.
_PATIENCE_SECONDS: Final = 30.0
_MOST_NAMES: Final = 20


class State(Enum):
    """How far a poller is."""

    STARTING = "starting"
    READY = "ready"
    BREAKER_OPEN = "the circuit breaker is open"
    HANGING = "its handlers hang"
    STOPPING = "stopping"


class Liveness:
    """One poller's pulse and state.

    The pulse is a timer of the event loop: a handler that holds the loop up stops it. With each
    beat it looks for calls that take too long.

    Args:
        breaker: tells whether messages are taken.
        queue: its name, for log lines.
        concurrency: how many calls there may be at a time.
        limit: seconds that a call may take; 0 sets no limit.
    """

    def __init__(
        self, breaker: Breaker, queue: str = "", concurrency: int = 1, limit: float = 0.0
    ) -> None:
        self._breaker = breaker
        self._queue = queue
        self._concurrency = concurrency
        self._limit = limit
        self._receiver: Receiver | None = None
        self._in_flight: InFlight | None = None
        self._all_hang = False
        self.overdue = 0
        self._timer: TimerHandle | None = None
        self._beat_at = monotonic()
        self._stopping = False

    def start(self, loop: AbstractEventLoop, receiver: Receiver, in_flight: InFlight) -> None:
        """Begin to watch a poller's receives, its calls and its loop."""
        self._receiver, self._in_flight = receiver, in_flight
        self._beat(loop)

    def stopping(self) -> None:
        """Say that no more messages are taken."""
        self._stopping = True

    def stop(self) -> None:
        """Let the pulse end with the poller."""
        if self._timer is not None:
            self._timer.cancel()

    def state(self) -> State:
        """Tell how far the poller is."""
        if self._stopping:
            return State.STOPPING
        if self._breaker.admit(1).wait:
            return State.BREAKER_OPEN
        if self._all_hang or self.overdue:
            return State.HANGING
        answered = self._receiver is not None and self._receiver.ever_answered
        return State.READY if answered else State.STARTING

    def stuck(self) -> str | None:
        """Say what does not move, or None.

        A poller that ends by itself is never stuck, nor is one that has no room: its platform
        would lose by ending it what its handlers are about to finish.
        """
        if self._receiver is None or self._stopping:
            return None
        now = monotonic()
        if now - self._beat_at > _PATIENCE_SECONDS:
            return f"the event loop has not turned for {now - self._beat_at:.0f} s"
        over = now - self._receiver.due_by()
        if over > _PATIENCE_SECONDS:
            return f"a receive is {over:.0f} s overdue"
        return None

    def _beat(self, loop: AbstractEventLoop) -> None:
        self._beat_at = monotonic()
        if self._in_flight is not None:
            self._look_at_calls(self._in_flight)
        self._timer = loop.call_later(_BEAT_SECONDS, self._beat, loop)

    def _look_at_calls(self, in_flight: InFlight) -> None:
        now = self._beat_at
        running = in_flight.running()
        late = [held for held, began in running if self._limit and now - began > self._limit]
        for held in late[self.overdue :]:
            text = "its handler has run for longer than the %.1f s that it may take"
            events.warning(held.message, "process", text, self._limit)
        self.overdue = len(late)
        hanging = [held for held, began in running if now - began > _PATIENCE_SECONDS]
        all_hang = len(hanging) >= self._concurrency
        if all_hang and not self._all_hang:
            self._say_hanging(hanging)
        self._all_hang = all_hang

    def _say_hanging(self, hanging: Sequence[HeldMessage]) -> None:
        text = "all %d handlers of %s have run for more than %.0f s, and no message is taken: %s"
        names = ", ".join(str(held.message.id) for held in hanging[:_MOST_NAMES])
        arguments = (self._concurrency, self._queue, _PATIENCE_SECONDS, names)
        events.warning(self._queue, "process", text, *arguments)
