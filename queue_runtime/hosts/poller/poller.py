"""Polls one queue with one handler: what it holds, how it starts, and how it ends."""

from __future__ import annotations

import asyncio
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime import report
from queue_runtime.breaker import Breaker
from queue_runtime.config import load_settings
from queue_runtime.dispatch import CANCEL_SECONDS
from queue_runtime.hosts.poller.entry import Entry
from queue_runtime.hosts.poller.lease import LeaseKeeper
from queue_runtime.hosts.poller.receiver import Receiver
from queue_runtime.hosts.poller.running import Running
from queue_runtime.hosts.poller.settler import Settler
from queue_runtime.hosts.poller.threads import in_daemon_thread
from queue_runtime.outcome import ACK, Disposition, Outcome, unrun
from queue_runtime.pipeline import run_blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.errors import TransportError
    from queue_runtime.message import Message
    from queue_runtime.pipeline import Messages
    from queue_runtime.transports.base import Transport

# A poller that ends by itself looks often whether it may.
_SHORT_WAIT: Final = 0.2
# What settling may take beyond the drain.
_SETTLE_SECONDS: Final = 0.5
_STOPPING: Final = unrun("the process is stopping", delay=0.0)


class Until(Enum):
    """When a poller ends by itself: never, when its queue is empty, or after one receive."""

    STOPPED = "stopped"
    EMPTY = "empty"
    ONCE = "once"


class PollStats:
    """What has become of messages so far; `held` ones are not settled yet."""

    __slots__ = (
        "completed",
        "dead_lettered",
        "discarded",
        "held",
        "lost",
        "received",
        "retried",
        "returned",
    )

    def __init__(self) -> None:
        self.received = self.completed = self.discarded = self.retried = 0
        self.returned = self.dead_lettered = self.lost = self.held = 0

    def count(self, outcome: Outcome) -> None:
        """Count one settled message."""
        if outcome is ACK:
            self.completed += 1
        elif outcome.disposition is Disposition.ACK:
            self.discarded += 1
        elif outcome.disposition is Disposition.DEAD_LETTER:
            self.dead_lettered += 1
        elif outcome.unrun:
            self.returned += 1
        else:
            self.retried += 1

    def as_dict(self) -> dict[str, int]:
        """Give all numbers by name."""
        return {name: getattr(self, name) for name in PollStats.__slots__}


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
        self.definition = handler.definition
        self.settings = settings or load_settings(self.definition.settings)
        self.stats = PollStats()
        if transport.ordered:
            self.definition.refuse_order(transport.queue)
        self._transport = transport
        self._observe = observe
        self._breaker = Breaker.of(self.settings)
        self._held: dict[int, Entry] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._stopping = self._ending = False
        self._refusal: TransportError | None = None
        self._changed = asyncio.Event()

    async def run(self, until: Until = Until.STOPPED) -> PollStats:
        """Poll until `stop` is called, or until `until` says so; then shut down cleanly.

        Raises:
            TransportError: the queue is missing or refuses us at start; while running, such an
                answer is retried and counted.
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
        self._changed.set()

    def last_answer(self) -> float:
        """When a receive was last answered, on the monotonic clock; old where polling stalls."""
        return self._receiver.last_answer

    # --- start and end ---------------------------------------------------------------------------

    def _start(self, until: Until) -> None:
        wait, most = self.settings.receive_seconds, self.settings.in_flight
        most = max(most, self._transport.batch_size)
        self._settler = Settler(self._transport, self._settled)
        self._running = Running(
            self.definition,
            self.definition.policy(self.settings),
            ordered=self._transport.ordered,
            concurrency=self.settings.concurrency,
            answer=self._answered,
            settle_now=self._settler.settle_now,
        )
        self._receiver = Receiver(
            self._transport,
            lambda: most - len(self._held),
            self._arrived,
            self._refused,
            self._breaker,
            wait=wait if until is Until.STOPPED else min(wait, _SHORT_WAIT),
            once=until is Until.ONCE,
        )
        self._loop = asyncio.get_running_loop()
        self._keeper = LeaseKeeper(
            self._transport, lambda: list(self._held.values()), self._lost_elsewhere
        )
        self._keeper.start()
        self._receiver.top_up()

    def _refused(self, error: TransportError) -> None:
        self._refusal = error
        self.stop()

    async def _reached(self, until: Until) -> bool:
        if self._held:
            return False
        if until is Until.ONCE:
            return True
        depth = await self._transport.depth()
        return depth.total == 0 and not self._held

    async def _shut_down(self) -> None:
        """Strand nothing: receives aborted, the waiting given back, the running drained."""
        self._ending = True
        ends = monotonic() + self.settings.drain_seconds
        await self._receiver.close()
        self._running.give_back_waiting(_STOPPING)
        await self._drain(self.settings.drain_seconds)
        self._running.interrupt()
        await self._drain(CANCEL_SECONDS)
        for entry in list(self._held.values()):
            if not entry.answered:  # its thread cannot be stopped, but ends with the process
                entry.answered = True
                self._answered(entry, _STOPPING)
        await self._settle_rest(max(ends, monotonic()) + _SETTLE_SECONDS)
        self._keeper.close()
        self._running.close()

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
                if self._deliveries:
                    await asyncio.wait(self._deliveries)
                await self._settler.drain()
        except TimeoutError:
            report.logger.error(
                "%d messages of %s could not be settled in time; they come back when their locks "
                "end",
                len(self._held),
                self._transport.queue,
                extra={"queue_name": self._transport.queue, "operation": "shutdown"},
            )

    # --- what arrives ----------------------------------------------------------------------------

    def _arrived(self, messages: Sequence[Message[Any]]) -> None:
        entries = [Entry(message) for message in messages]
        self._held.update((id(entry), entry) for entry in entries)
        self.stats.received += len(entries)
        self.stats.held = len(self._held)
        if not entries:
            self._changed.set()
        elif self.definition.delivery_middleware or self.definition.envelope:
            task = asyncio.create_task(self._deliver(entries))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        else:
            self._running.schedule(entries)

    async def _deliver(self, entries: Sequence[Entry]) -> None:
        """Take what arrived together through the delivery middleware, which answers for all."""
        loop = asyncio.get_running_loop()
        by_message = {id(entry.message): entry for entry in entries}

        async def dispatch(messages: Messages) -> Sequence[Outcome]:
            chosen = [by_message[id(message)] for message in messages]
            answers: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in chosen]
            for entry, answer in zip(chosen, answers, strict=True):
                entry.answer = answer
            self._running.schedule(chosen)
            return await asyncio.gather(*answers)

        messages = [entry.message for entry in entries]
        outcomes = await self._through_middleware(messages, dispatch)
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.answered, entry.answer = True, None
            self._settler.add(entry, outcome)
        self._changed.set()

    async def _through_middleware(
        self,
        messages: Messages,
        dispatch: Callable[[Messages], Coroutine[Any, Any, Sequence[Outcome]]],
    ) -> Sequence[Outcome]:
        pipeline, loop = self._running.pipeline, asyncio.get_running_loop()
        if not all(getattr(m, "blocking", False) for m in self.definition.delivery_middleware):
            return await pipeline.deliver(messages, dispatch)

        async def from_thread(passed: Messages) -> Sequence[Outcome]:
            return asyncio.run_coroutine_threadsafe(dispatch(passed), loop).result()

        # Its middleware blocks, so it gets a thread, on which it may wait for the loop.
        name = self.definition.name
        return await in_daemon_thread(
            lambda: run_blocking(name, pipeline.deliver(messages, from_thread))
        )

    # --- what becomes of it ----------------------------------------------------------------------

    def _answered(self, entry: Entry, outcome: Outcome) -> None:
        self._breaker.record(outcome)
        if entry.answer is None:
            self._settler.add(entry, outcome)
        elif not entry.answer.done():
            entry.answer.set_result(outcome)
        if self._ending:
            self._changed.set()

    def _settled(self, entry: Entry, outcome: Outcome) -> None:
        if self._held.pop(id(entry), None) is None:
            return
        if entry.lost:
            self.stats.lost += 1
        else:
            self.stats.count(outcome)
        self.stats.held = len(self._held)
        if self._observe and not entry.lost:
            self._observe(entry.message, outcome)
        self._receiver.top_up()
        if not self._held:
            self._changed.set()

    def _lost_elsewhere(self, entry: Entry) -> None:
        self._loop.call_soon_threadsafe(self._lock_lost, entry)

    def _lock_lost(self, entry: Entry) -> None:
        if entry.lost:
            return
        entry.lost = True
        if entry.task is not None:
            entry.task.cancel("the message's lock was lost")
