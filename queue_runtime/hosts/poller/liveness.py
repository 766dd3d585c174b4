"""Whether a poller moves, for whoever looks from another thread."""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from queue_runtime.breaker import Breaker
    from queue_runtime.hosts.poller.receiver import Receiver

_BEAT_SECONDS: Final = 1.0
# Beyond what a receive may wait; the event loop has this long as well.
_PATIENCE_SECONDS: Final = 30.0


class State(Enum):
    """How far a poller is."""

    STARTING = "starting"
    READY = "ready"
    BREAKER_OPEN = "the circuit breaker is open"
    STOPPING = "stopping"


class Liveness:
    """One poller's pulse and state.

    The pulse is a timer of the event loop: a handler that holds the loop up stops it.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._receiver: Receiver | None = None
        self._timer: TimerHandle | None = None
        self._beat_at = monotonic()
        self._stopping = False

    def start(self, loop: AbstractEventLoop, receiver: Receiver) -> None:
        """Begin to watch a poller's receives and its loop."""
        self._receiver = receiver
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
        self._timer = loop.call_later(_BEAT_SECONDS, self._beat, loop)
