"""Polls one queue with one handler: what it holds, how it starts, and how it ends."""

from __future__ import annotations

import asyncio
from enum import Enum
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.breaker import Breaker
from queue_runtime.config import load_settings
from queue_runtime.dispatch import CANCEL_SECONDS
from queue_runtime.errors import TransportError
from queue_runtime.hosts.poller.counts import PollStats
from queue_runtime.hosts.poller.delivery_middleware import Deliveries
from queue_runtime.hosts.poller.held_message import Entry
from queue_runtime.hosts.poller.liveness import Vitals
from queue_runtime.hosts.poller.lock_renewal import LeaseKeeper
from queue_runtime.hosts.poller.observation import Observed
from queue_runtime.hosts.poller.receiver import Receiver
from queue_runtime.hosts.poller.runner import Running
from queue_runtime.hosts.poller.settler import Settler
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import Outcome, unrun
from queue_runtime.settlement.plan import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.message import Message
    from queue_runtime.transports.base import Depth, Transport

# A poller that ends by itself looks often whether it may.
_SHORT_WAIT: Final = 0.2
# And does not wait for ever for a queue that cannot be used; one that is to run always does.
_PATIENCE: Final = 5
# What settling may take beyond the drain.
_SETTLE_SECONDS: Final = 0.5
_STOPPING: Final = unrun("the process is stopping", delay=0.0)
_NOT_TRIED: Final = unrun("the circuit breaker lets one message try", delay=0.0)
_NOT_STOPPED: Final = unrun("the process is stopping", delay=0.0, may_run=True)


class Until(Enum):
    """When a poller ends by itself: never, when its queue is empty, or after one receive."""

    STOPPED = "stopped"
    EMPTY = "empty"
    ONCE = "once"


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
        self.settings = settings or load_settings(handler.definition.settings)
        self.definition = handler.definition.bound(self.settings)
        self.stats = PollStats()
        for sentence in (*self.settings.warnings, *self.settings.unusable_on("poll")):
            events.warning(transport.queue, "settings", "%s", sentence)
        if transport.ordered:
            self.definition.refuse_order(transport.queue)
        self._transport = transport
        self._observe = observe
        self._breaker = Breaker.of(self.settings)
        self._breaker.queue = transport.queue
        self._held: dict[int, Entry] = {}
        self._stopping = self._ending = False
        self._refusal: Exception | None = None
        self._changed = asyncio.Event()
        self.vitals = Vitals(self._breaker)

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
        self._start(until)
        try:
            while not self._stopping:
                await self._changed.wait()
                self._changed.clear()
                if until is not Until.STOPPED and await self._reached(until):
                    break
        finally:
            await self._shut_down()
        if self._refusal is not None:
            raise self._refusal
        return self.stats

    def stop(self) -> None:
        """Begin to end: no new messages; what runs has `drain_seconds`. On the event loop only."""
        self._stopping = True
        self.vitals.stopping()
        self._changed.set()

    def last_answer(self) -> float:
        """When a receive was last answered, on the monotonic clock; old where polling stalls."""
        return self._receiver.last_answer

    # --- start and end ---------------------------------------------------------------------------

    def _start(self, until: Until) -> None:
        wait, most = self.settings.receive_seconds, self.settings.in_flight
        self._observed = Observed(self._transport, self.settings, self.definition)
        policy = self.definition.policy(self.settings)
        rules = Rules(policy.backoff.delay, self.definition.name, self.settings.error_text)
        self._settler = Settler(self._transport, rules, self._settled)
        self._running = Running(
            self.definition,
            policy,
            ordered=self._transport.ordered,
            concurrency=self.settings.concurrency,
            answer=self._answered,
            settle_now=self._settler.settle_now,
            breaker=self._breaker if self.settings.breaker_failures else None,
            queue=self._transport.queue,
            groups_are_sessions=not getattr(self._transport, "counts_sessions", False),
            watch=self._observed.watch,
        )
        self._deliveries = Deliveries(self._running, self._delivered)
        self._receiver = Receiver(
            self._transport,
            lambda: most - len(self._held),
            self._arrived,
            self._refused,
            self._breaker,
            most=most,
            concurrency=self.settings.concurrency,
            wait=wait if until is Until.STOPPED else min(wait, _SHORT_WAIT),
            once=until is Until.ONCE,
            patience=inf if until is Until.STOPPED else _PATIENCE,
        )
        self._loop = asyncio.get_running_loop()
        self._keeper = LeaseKeeper(
            self._transport, lambda: list(self._held.values()), self._lost_elsewhere
        )
        self._keeper.start()
        self._observed.start()
        self.vitals.start(self._loop, self._receiver)
        self._receiver.top_up()

    def _refused(self, error: Exception) -> None:
        self._refusal = error
        self.stop()

    async def _reached(self, until: Until) -> bool:
        if self._held:
            return False
        if until is Until.ONCE:
            return True
        try:
            depth = await self._transport.depth()
        except TransportError as error:  # the next receive that comes back empty asks again
            metrics.ERRORS.add(1, self._transport.queue, f"depth:{type(error).__name__}")
            return False
        return depth.total == 0 and not self._held

    async def _shut_down(self) -> None:
        """Strand nothing: receives aborted, the waiting given back, the running drained."""
        self._ending = True
        self.vitals.stopping()
        self._observed.close()
        try:
            await self._end()
        finally:  # a second cancellation must not leave a thread that renews locks for nobody
            self._keeper.close()
            self._running.close()
            self.vitals.stop()
        await self._observed.flush()

    async def _end(self) -> None:
        ends = monotonic() + self.settings.drain_seconds
        self._running.stop_starting()
        # Before anything is given back, which a receive still under way would only take again.
        await self._receiver.close()
        self._running.give_back_waiting(_STOPPING)
        await self._drain(self.settings.drain_seconds)
        self._running.interrupt()
        await self._drain(CANCEL_SECONDS)
        for entry in list(self._held.values()):
            if not entry.answered:  # its thread cannot be stopped, but ends with the process
                entry.answered = True
                events.still_running(entry.message, self.definition.name)
                self._answered(entry, _NOT_STOPPED)
        await self._settle_rest(max(ends, monotonic()) + _SETTLE_SECONDS)

    async def _drain(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while any(not entry.answered for entry in self._held.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    async def _settle_rest(self, ends: float) -> None:
        try:
            async with asyncio.timeout_at(self._loop.time() + ends - monotonic()):
                await self._deliveries.end()
                await self._settler.drain()
        except TimeoutError:
            events.error(
                self._transport.queue,
                "shutdown",
                "%d messages of %s could not be settled in time; they come back when their locks "
                "end",
                len(self._held),
                self._transport.queue,
            )

    # --- what arrives ----------------------------------------------------------------------------

    def _arrived(self, messages: Sequence[Message[Any]]) -> None:
        entries: Sequence[Entry] = [Entry(message) for message in messages]
        self._held.update((id(entry), entry) for entry in entries)
        self.stats.received += len(entries)
        self._count_held()
        if not entries:
            self._changed.set()
        elif not (entries := self._admitted(entries)):
            return
        elif self.definition.delivery_middleware or self.definition.envelope:
            self._deliveries.begin(entries)
        else:
            self._running.schedule(entries)

    def _admitted(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Give back what came of a whole receive while one message at a time is to be tried."""
        if len(self._held) > 1 and self._breaker.admit(1).on_trial:
            alone = len(self._held) == len(entries)
            for entry in entries[alone:]:
                entry.answered = True
                self._settler.add(entry, _NOT_TRIED)
            return entries[:alone]
        return entries

    def _delivered(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.answered, entry.answer = True, None
            self._settler.add(entry, outcome)
        self._changed.set()

    # --- what becomes of it ----------------------------------------------------------------------

    def _answered(self, entry: Entry, outcome: Outcome) -> None:
        if entry.answer is None:
            self._settler.add(entry, outcome)
        elif not entry.answer.done():
            entry.answer.set_result(outcome)
        if self._ending:
            self._changed.set()

    def _settled(self, pairs: Sequence[tuple[Entry, Outcome]]) -> None:
        for entry, outcome in pairs:
            if self._held.pop(id(entry), None) is None:
                continue
            if entry.lost:
                self.stats.lost += 1
                continue
            self.stats.count(outcome)
            if self._observe:
                # The rest of the request is settled too, and has to be counted.
                events.observe(entry.message, self._observe, entry.message, outcome)
        self._count_held()
        self._receiver.top_up()
        if not self._held:
            self._changed.set()

    def _count_held(self) -> None:
        self.stats.held = len(self._held)
        self._observed.held(self.stats.held)

    def _lost_elsewhere(self, entry: Entry) -> None:
        self._loop.call_soon_threadsafe(self._lock_lost, entry)

    def _lock_lost(self, entry: Entry) -> None:
        if entry.lost:
            return
        entry.lost = True
        if entry.task is not None:
            entry.task.cancel("the message's lock was lost")
