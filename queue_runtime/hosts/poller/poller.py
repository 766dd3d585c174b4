"""Polls one queue with one handler, until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queue_runtime.breaker import Breaker
from queue_runtime.definition import settings_of
from queue_runtime.hosts.poller.counts import PollStats
from queue_runtime.hosts.poller.liveness import Liveness
from queue_runtime.hosts.poller.run import PollerRun, Until
from queue_runtime.observability.settings_lines import begin_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import Depth, Transport


class Poller:
    """Consumes one queue with one handler, each message at least once, until it is stopped.

    Args:
        handler: the decorated function.
        transport: the queue; who opened it closes it.
        settings: None reads file and environment.
        observe: told each message and its outcome once it is settled, on the event loop.

    Raises:
        HandlerDefinitionError: a batch handler on an ordered queue that was not asked for.
    """

    def __init__(
        self,
        handler: Handles,
        transport: Transport,
        *,
        settings: Settings | None = None,
        observe: Callable[[Message[Any], Outcome], None] | None = None,
    ) -> None:
        self.settings = settings_of(handler, settings)
        self.definition = handler.definition.bound(self.settings)
        self.stats = PollStats()
        service = transport.system.removeprefix("aws_")
        begin_with(transport.queue, self.settings, "poll", service)
        if transport.ordered:
            self.definition.refuse_order(transport.queue)
        self._transport = transport
        self._observe = observe
        self._breaker = Breaker.of(self.settings)
        self._breaker.queue = transport.queue
        self._stopping = False
        self._run: PollerRun | None = None
        self.liveness = Liveness(
            self._breaker,
            transport.queue,
            self.settings.concurrency,
            self.settings.handler_seconds,
        )

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._transport.queue

    async def depth(self) -> Depth:
        """Count what is in the queue; from any thread's event loop."""
        return await self._transport.depth()

    async def run(self, until: Until = Until.STOPPED) -> PollStats:
        """Poll until `stop` is called, or until `until` says so; then shut down cleanly.

        Raises:
            TransportError: the queue is missing or refuses us at start; while running, such an
                answer is retried and counted. Where the run is to end by itself, also a queue that
                cannot be used time after time.
        """
        self._run = PollerRun(
            self.definition,
            self._transport,
            self.settings,
            until=until,
            breaker=self._breaker,
            liveness=self.liveness,
            stats=self.stats,
            observe=self._observe,
        )
        if self._stopping:
            self._run.stop()
        await self._run.to_its_end()
        return self.stats

    def give_back(self, everything: bool) -> None:
        """Give back what waits, or everything, while a handler holds the event loop up.

        To be called on a thread without an event loop.
        """
        if self._run is not None:
            self._run.rescue.give_back(everything)

    def describe(self) -> list[str]:
        """Say what is in flight, a line for each message; from any thread."""
        return [] if self._run is None else self._run.in_flight.describe(self.queue)

    def stop(self) -> None:
        """Begin to end: no new messages; what runs has `drain_seconds`. On the event loop only."""
        self._stopping = True
        self.liveness.stopping()
        if self._run is not None:
            self._run.stop()
