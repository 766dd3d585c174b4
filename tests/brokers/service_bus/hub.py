"""What all connections share: the namespace, who waits for which queue, and when to look again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .faults import FaultPlan
from .journal import Journal
from .namespace import Namespace

if TYPE_CHECKING:
    import asyncio
    import ssl

    from .clock import Clock
    from .queues import Queue
    from .security import Policy


class Receiver(Protocol):
    """A link that takes messages from a queue."""

    def offer(self) -> bool:
        """Takes one message if it can, and says whether it did."""


class Acceptor(Protocol):
    """A receiver that waits for any session to become free."""

    def try_accept(self) -> bool:
        """Locks a session if there is one; it need not be asked again then."""


@dataclass(slots=True, eq=False)
class Feed:
    """Who receives from one queue; they take turns, one message each."""

    receivers: deque[Receiver] = field(default_factory=deque)
    acceptors: list[Acceptor] = field(default_factory=list)

    def pump(self) -> None:
        """Hands out whatever is available to whoever can take it."""
        self.acceptors = [waiting for waiting in self.acceptors if not waiting.try_accept()]
        idle = 0
        while idle < len(self.receivers):
            receiver = self.receivers[0]
            self.receivers.rotate(-1)
            idle = 0 if receiver.offer() else idle + 1


class Hub:
    """Lives on the event loop; everything but the journal and the faults is touched there only."""

    def __init__(
        self,
        clock: Clock,
        policies: dict[str, Policy],
        *,
        check_tokens: bool,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.clock = clock
        self.policies = policies
        self.check_tokens = check_tokens
        self.tls = tls
        self.journal = Journal(clock.now)
        self.faults = FaultPlan()
        self.latency = 0.0
        self.namespace = Namespace(clock, self.journal.record)
        self.namespace.changed = self.touch
        self.loop: asyncio.AbstractEventLoop | None = None
        self._feeds: dict[Queue, Feed] = {}
        self._touched: dict[Queue, None] = {}
        self._pass: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._alarm: float | None = None

    def feed(self, queue: Queue) -> Feed:
        """Who receives from this queue."""
        return self._feeds.setdefault(queue, Feed())

    def touch(self, queue: Queue) -> None:
        """Something about this queue changed: look at it in the next pass."""
        self._touched[queue] = None
        self.wake()

    def wake(self) -> None:
        """Makes a pass as soon as what runs now is done."""
        if self._pass is None and self.loop is not None:
            self._pass = self.loop.call_soon(self.run)

    def pump(self, queue: Queue) -> None:
        """Serves one queue at once, for a receiver that asks for what is there now."""
        self.namespace.run_due()
        self.feed(queue).pump()

    def run(self) -> None:
        """Lets time do its work, hands messages out, and sets the alarm for the next change."""
        self.namespace.run_due()
        while self._touched:
            queue, _ = self._touched.popitem()
            self.feed(queue).pump()
        if self._pass:
            self._pass.cancel()
            self._pass = None
        self._set_alarm(self.namespace.next_due)

    def _set_alarm(self, due: float | None) -> None:
        """Kept as it is while nothing earlier comes up; a moved clock makes a pass of its own."""
        if due == self._alarm:
            return
        self._alarm = due
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if due is not None and self.loop is not None:
            wait = max(0.0, due - self.clock.now())
            self._timer = self.loop.call_later(wait, self._ring)

    def _ring(self) -> None:
        self._alarm = self._timer = None
        self.run()
