"""One run of a poller: its parts in the order in which a message passes them, and their end."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from enum import Enum
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.dispatch import CANCEL_SECONDS
from queue_runtime.errors import TransportError
from queue_runtime.hosts.poller.calls import Calls, pipeline_of
from queue_runtime.hosts.poller.delivery_middleware import DeliveryMiddlewareRun
from queue_runtime.hosts.poller.forked import watch_forks
from queue_runtime.hosts.poller.in_flight import InFlight
from queue_runtime.hosts.poller.lock_renewal import LockRenewal
from queue_runtime.hosts.poller.observation import Observation
from queue_runtime.hosts.poller.ready_queue import ReadyQueue
from queue_runtime.hosts.poller.receiver import Receiver
from queue_runtime.hosts.poller.rescue import NOT_STOPPED, STOPPING, Rescue
from queue_runtime.hosts.poller.runner import Runner
from queue_runtime.hosts.poller.settler import Settler
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.settlement.plan import Rules
from queue_runtime.transports.base import CountsSessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.breaker import Breaker
    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.hosts.poller.counts import PollStats
    from queue_runtime.hosts.poller.liveness import Liveness
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.pipeline import Pipeline
    from queue_runtime.transports.base import Transport

# A poller that ends by itself looks often whether it may.
_SHORT_WAIT: Final = 0.2
# And does not wait for ever for a queue that cannot be used; one that is to run always does.
_PATIENCE: Final = 5
# What settling may take beyond the drain.
SETTLE_SECONDS: Final = 1.5


class Until(Enum):
    """When a poller ends by itself: never, when its queue is empty, or after one receive."""

    STOPPED = "stopped"
    EMPTY = "empty"
    ONCE = "once"


class PollerRun:
    """Wires a poller's parts, starts them, and ends them; messages do not come through here.

    A message goes one way: from the receiver through the delivery middleware, if there is any, and
    the ready queue to the runner, and from there to the settler. `in_flight` holds it meanwhile.
    Made on the event loop that it is to run on.
    """

    def __init__(
        self,
        definition: HandlerDefinition,
        transport: Transport,
        settings: Settings,
        *,
        until: Until,
        breaker: Breaker,
        liveness: Liveness,
        stats: PollStats,
        observe: Callable[[Message[Any], Outcome], None] | None,
    ) -> None:
        self._definition = definition
        self._transport = transport
        self._drain_seconds = settings.drain_seconds
        self._until = until
        self._liveness = liveness
        self._stopping = False
        self._observation = Observation(transport, settings, definition)
        self.in_flight = InFlight(settings.in_flight, stats, self._observation, observe)
        policy = definition.policy(settings)
        rules = Rules(policy.backoff.delay, definition.name, settings.error_text)
        self._settler = Settler(transport, rules, self.in_flight)
        pipeline = pipeline_of(definition, policy, self._observation.around())
        # Every message's context variables start from this, and ours go on in it: never another's.
        context = copy_context()
        self._runner = Runner(
            Calls(
                pipeline,
                breaker if settings.breaker_failures else None,
                settings.handler_seconds,
            ),
            _ready_queue(transport),
            self._settler,
            self.in_flight,
            concurrency=settings.concurrency,
            context=context,
        )
        self._deliveries = DeliveryMiddlewareRun(
            pipeline, self._runner, self._settler, self.in_flight, context
        )
        self.receiver = self._make_receiver(settings, pipeline, breaker)
        loop = asyncio.get_running_loop()
        self.lock_renewal = LockRenewal(transport, self.in_flight, loop)
        self.rescue = Rescue(
            transport, self.receiver, self._runner, self._settler, self.in_flight, loop
        )

    def _make_receiver(self, settings: Settings, pipeline: Pipeline, breaker: Breaker) -> Receiver:
        ends_by_itself = self._until is not Until.STOPPED
        return Receiver(
            self._transport,
            self.in_flight,
            self._deliveries if self._definition.delivery_middleware else self._runner,
            self._settler,
            breaker,
            arrived=pipeline.open,
            concurrency=settings.concurrency,
            wait=min(settings.receive_seconds, _SHORT_WAIT if ends_by_itself else inf),
            once=self._until is Until.ONCE,
            patience=_PATIENCE if ends_by_itself else inf,
        )

    async def to_its_end(self) -> None:
        """Poll until `stop` is called, or until `until` says so; then shut down cleanly.

        Raises:
            TransportError: the queue is missing, refuses us, or cannot be used time after time.
        """
        self._start()
        watch_forks(asyncio.get_running_loop())
        changed = self.in_flight.changed
        try:
            while not self._stopping and self.receiver.refusal is None:
                await changed.wait()
                changed.clear()
                if self._until is not Until.STOPPED and await self._reached():
                    break
        finally:
            await self._shut_down()
        if self.receiver.refusal is not None:
            raise self.receiver.refusal

    def stop(self) -> None:
        """Begin to end."""
        self._stopping = True
        self.in_flight.changed.set()

    def _start(self) -> None:
        self.lock_renewal.start()
        self._observation.start()
        self._liveness.start(asyncio.get_running_loop(), self.receiver, self.in_flight)
        self.receiver.top_up()

    async def _reached(self) -> bool:
        if len(self.in_flight):
            return False
        if self._until is Until.ONCE:
            return True
        try:
            depth = await self._transport.depth()
        except TransportError as error:  # the next receive that comes back empty asks again
            metrics.ERRORS.add(1, self._transport.queue, f"depth:{type(error).__name__}")
            return False
        return depth.total == 0 and not len(self.in_flight)

    async def _shut_down(self) -> None:
        """Strand nothing: receives aborted, the waiting given back, the running drained."""
        self._liveness.stopping()
        self._observation.close()
        try:
            await self._end()
        finally:  # a second cancellation must not leave a thread that renews locks for nobody
            self.lock_renewal.close()
            self._runner.close()
            self._liveness.stop()
        await self._observation.flush()

    async def _end(self) -> None:
        ends = monotonic() + self._drain_seconds
        self._runner.stop_starting()
        # Before anything is given back, which a receive still under way would only take again.
        await self.receiver.close()
        self._runner.give_back_waiting(STOPPING)
        await self._drain(ends - monotonic())
        self._runner.interrupt()
        await self._drain(CANCEL_SECONDS)
        for held in self.in_flight.unanswered():
            # Its thread cannot be stopped, but ends with the process.
            events.still_running(held.message, self._definition.name)
            self._runner.answer(held, NOT_STOPPED)
        await self._settle_rest(max(ends, monotonic()) + SETTLE_SECONDS)

    async def _drain(self, seconds: float) -> None:
        changed = self.in_flight.changed
        try:
            async with asyncio.timeout(seconds):
                while self.in_flight.unanswered():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return

    async def _settle_rest(self, ends: float) -> None:
        try:
            async with asyncio.timeout(ends - monotonic()):
                await self._deliveries.end()
                await self._settler.drain()
        except TimeoutError:
            queue = self._transport.queue
            text = "%d messages of %s could not be settled in time: they come back with their locks"
            await self._settler.give_up()
            events.error(queue, "shutdown", text, len(self.in_flight), queue)


def _ready_queue(transport: Transport) -> ReadyQueue:
    # Groups count as sessions, unless the transport has real ones and counts them itself.
    counts_sessions = isinstance(transport, CountsSessions) and transport.counts_sessions
    return ReadyQueue(ordered=transport.ordered, queue=None if counts_sessions else transport.queue)
