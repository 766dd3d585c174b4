"""What is observed of one poller, where anything is: calls, what it holds, its queue's depth."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from queue_runtime.hosts.poller.daemon_thread import in_daemon_thread
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.middleware import Around
    from queue_runtime.observability.telemetry import Watch
    from queue_runtime.transports.base import Depth, Transport

# A request each time, so not as often as metrics are fetched.
_DEPTH_SECONDS: Final = 15.0
# What spans and metrics have after the last message, beyond the drain.
_FLUSH_SECONDS: Final = 2.0


class Observation:
    """Observes a poller if its settings, or somebody in the process, ask for that.

    `watch` is None where nobody does.
    """

    def __init__(
        self, transport: Transport, settings: Settings, definition: HandlerDefinition
    ) -> None:
        self._transport = transport
        self._asks_depth = bool(settings.metrics or settings.health_port)
        self._depths: asyncio.Task[None] | None = None
        self._tells_age = False
        self.watch: Watch | None = None
        if settings.logs or settings.tracing or self._asks_depth or events.watching:
            from queue_runtime.observability.telemetry import (
                watch_for,  # most laptops have none of it
            )

            self.watch = watch_for(
                settings, definition, transport.system, place=lambda: transport.place
            )
            self.watch.serve(transport.queue)
            _say_what_is_useless(settings, transport.queue)

    def around(self) -> Around | None:
        """Give what surrounds the handler's calls; None where nobody observes."""
        return None if self.watch is None else self.watch.around(self._transport.queue)

    def start(self) -> None:
        """Begin to look at the queue's depth, so that metrics show whether consumers keep up."""
        if self.watch is not None:
            _begin_at_zero(self._transport.queue)
        if self._asks_depth:
            self._depths = asyncio.create_task(self._look_again_and_again())

    def held(self, count: int) -> None:
        """Tell how many messages are held."""
        if self.watch is not None:
            metrics.IN_FLIGHT.set(count, self._transport.queue)

    def close(self) -> None:
        """Look at the depth no more."""
        if self._depths is not None:
            self._depths.cancel()

    async def flush(self) -> None:
        """Send what was recorded, before the process ends."""
        if self.watch is not None:
            self.watch.close()
            await in_daemon_thread(partial(self.watch.flush, _FLUSH_SECONDS))

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                self._tell(await self._transport.depth())
            except Exception as error:  # a transport's own bug must not end it silently
                kind = f"depth:{type(error).__name__}"
                metrics.ERRORS.add(1, self._transport.queue, kind)
            await asyncio.sleep(_DEPTH_SECONDS)

    def _tell(self, depth: Depth) -> None:
        queue = self._transport.queue
        metrics.DEPTH.set(depth.visible, queue, "visible")
        metrics.DEPTH.set(depth.in_flight, queue, "in_flight")
        metrics.DEPTH.set(depth.delayed, queue, "delayed")
        if depth.dead_lettered is not None:
            metrics.DEPTH.set(depth.dead_lettered, queue, "dead_lettered")
        # A service that tells it at all tells none for an empty queue.
        self._tells_age = self._tells_age or depth.oldest_seconds is not None
        if self._tells_age:
            metrics.OLDEST_SECONDS.set(depth.oldest_seconds or 0.0, queue)


def _begin_at_zero(queue: str) -> None:
    """Have all counters there from the start: a rate does not see a count that comes with them."""
    for counter in metrics.INSTRUMENTS:
        if isinstance(counter, metrics.Counter) and counter.labels == ("queue",):
            counter.add(0, queue)
    metrics.BREAKER_STATE.set(0, queue)


def _say_what_is_useless(settings: Settings, queue: str) -> None:
    if settings.metrics == "prometheus" and not settings.health_port:
        events.say_once(
            queue, "metrics", "nobody can fetch its metrics: set QUEUE_HEALTH_PORT as well"
        )
