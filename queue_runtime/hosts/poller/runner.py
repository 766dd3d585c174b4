"""Runs held messages: async handlers on the loop, sync ones on threads, groups in order."""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from queue_runtime.definition import Shape
from queue_runtime.dispatch import EAGER, Order
from queue_runtime.hosts.poller.calls import INTERRUPTED, LOST
from queue_runtime.hosts.poller.workers import Workers
from queue_runtime.outcome import Disposition, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from contextvars import Context

    from queue_runtime.hosts.poller.calls import Calls
    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.in_flight import InFlight
    from queue_runtime.hosts.poller.ready_queue import ReadyQueue
    from queue_runtime.hosts.poller.settler import Settler
    from queue_runtime.message import Message

ResultT = TypeVar("ResultT")

# How long calls that never wait may follow one another before the event loop turns.
_TURN_SECONDS: Final = 0.05


class Runner:
    """Starts what is ready as calls end, and hands each outcome on, once, to the settler.

    Args:
        calls: the handler's.
        ready: where messages wait.
        settler: carries outcomes out.
        in_flight: woken by each outcome once the end has begun.
        concurrency: how many calls run together.
        context: what each message's context variables start from, and ours go on in.
    """

    def __init__(
        self,
        calls: Calls,
        ready: ReadyQueue,
        settler: Settler,
        in_flight: InFlight,
        *,
        concurrency: int,
        context: Context,
    ) -> None:
        self._calls = calls
        self._ready = ready
        self._settler = settler
        self._in_flight = in_flight
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._takes_batches = calls.pipeline.definition.shape is Shape.BATCH
        self._ordered = ready.ordered
        self._on_threads = calls.pipeline.blocking
        self._free = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._closing: Outcome | None = None
        self._kept: list[HeldMessage] | None = None
        self._queued: set[HeldMessage] = set()
        self._starting = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._workers = Workers(
            concurrency, ready, calls.on_thread, self._finished, self._loop, context
        )

    def schedule(self, arrived: Sequence[HeldMessage]) -> None:
        """Take messages that arrived together; each is answered sooner or later."""
        if self._closing is not None:
            for held in arrived:
                self.answer(held, self._closing)
        elif self._kept is not None:
            self._kept.extend(arrived)
        elif self._takes_batches:
            self._queued.update(arrived)
            task = self._spawn(self._run_batch(arrived), arrived[0].context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._ready.add(arrived)
            self._start_ready()

    def stop_starting(self) -> None:
        """Keep what waits, and what comes from now on, until `give_back_waiting`."""
        self._kept = self._ready.drain()

    def give_back_waiting(self, outcome: Outcome) -> None:
        """Answer everything that has not started, or comes from now on; after `stop_starting`."""
        self._closing = outcome
        for held in [*(self._kept or ()), *self._queued]:
            self.answer(held, outcome)

    def take_unstarted(self) -> list[HeldMessage]:
        """Take out everything that has not started; from any thread."""
        unstarted = [*self._ready.drain(), *(self._kept or ()), *self._queued]
        taken = [held for held in unstarted if not held.answered]
        for held in taken:
            held.answered = True
        return taken

    def interrupt(self) -> None:
        """Cancel the async handlers that run; sync ones cannot be."""
        for task in self._tasks:
            task.cancel("the process is stopping")

    def close(self) -> None:
        """Let idle threads end."""
        self._workers.close()

    def answer(self, held: HeldMessage, outcome: Outcome) -> None:
        """Hand a message's outcome on, unless it has one."""
        if held.answered:
            return
        held.answered = True
        if held.answer is None:
            self._settler.add(held, outcome)
        elif not held.answer.done():
            held.answer.set_result(outcome)
        if self._kept is not None:
            self._in_flight.changed.set()

    # --- one message at a time -------------------------------------------------------------------

    def _start_ready(self) -> None:
        if self._on_threads:
            self._workers.wake()
        elif not self._starting:
            self._starting = True
            turn_ends = inf
            while self._free > 0 and (held := self._ready.take()) is not None:
                self._free -= 1
                task = self._spawn(self._calls.on_loop(held), held.context)
                if task.done():  # an eager one that never had to wait
                    self._free += 1
                    self._finished(held, task.result())
                    # Handlers that block: the loop has to hear of signals and settle meanwhile.
                    if held.started > turn_ends:
                        self._loop.call_soon(self._start_ready, context=self._context)
                        break
                    if turn_ends == inf:
                        turn_ends = held.started + _TURN_SECONDS
                else:
                    held.task = task
                    self._tasks.add(task)
                    task.add_done_callback(partial(self._ran, held), context=self._context)
            self._starting = False

    def _ran(self, held: HeldMessage, task: asyncio.Task[Outcome]) -> None:
        self._tasks.discard(task)
        self._free += 1
        # One that is cancelled before its first step, where tasks are not eager, has no result.
        self._finished(held, INTERRUPTED if task.cancelled() else task.result())

    def _finished(self, held: HeldMessage, outcome: Outcome) -> None:
        if held.answered:  # while it ran, by a middleware that gave up: its group is still taken
            self._go_on(held, LOST)
            return
        if held.stale():
            outcome = LOST
        if self._ordered and outcome.disposition is Disposition.DEAD_LETTER:
            self._spawn(self._dead_letter_first(held, outcome))
            return
        self._go_on(held, outcome)

    async def _dead_letter_first(self, held: HeldMessage, outcome: Outcome) -> None:
        self._go_on(held, await self._settler.settle_now(held, outcome))

    def _go_on(self, held: HeldMessage, outcome: Outcome) -> None:
        rest = self._ready.done(held, outcome) if self._ordered else ()
        self.answer(held, outcome)
        for later, unrun_with_it in rest:
            self.answer(later, unrun_with_it)
        if not self._starting and (self._ordered or not self._on_threads):
            self._start_ready()

    # --- a batch at a time -----------------------------------------------------------------------

    async def _run_batch(self, batch: Sequence[HeldMessage]) -> None:
        async with self._slots:
            self._queued.difference_update(batch)
            batch = [held for held in batch if not held.answered]
            outcomes = await self._calls.batch(batch)
        order = Order(self._dead_letter_in(batch)) if self._ordered else None
        for held, outcome in outcomes.items():
            final = outcome
            if order is not None:
                with_its_group = order.held(held.message)
                final = with_its_group or await order.settle(held.message, outcome)
            self.answer(held, final)

    def _dead_letter_in(
        self, batch: Sequence[HeldMessage]
    ) -> Callable[[Message[Any], Outcome], Awaitable[Outcome]]:
        by_message = {id(held.message): held for held in batch}

        async def settle(message: Message[Any], outcome: Outcome) -> Outcome:
            return await self._settler.settle_now(by_message[id(message)], outcome)

        return settle

    def _spawn(
        self, work: Coroutine[Any, Any, ResultT], context: Context | None = None
    ) -> asyncio.Task[ResultT]:
        own = (context or self._context).copy()
        return asyncio.Task(work, loop=self._loop, context=own, **EAGER)
