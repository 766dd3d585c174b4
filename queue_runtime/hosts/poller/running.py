"""Runs held messages: async handlers on the loop, sync ones on threads, groups in order."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any, Final

from queue_runtime import report
from queue_runtime.definition import Shape
from queue_runtime.dispatch import Order, eager_task
from queue_runtime.hosts.poller.backlog import Backlog
from queue_runtime.hosts.poller.threads import in_daemon_thread
from queue_runtime.hosts.poller.workers import Workers
from queue_runtime.outcome import Disposition, Outcome, unrun
from queue_runtime.pipeline import Pipeline, run_blocking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.hosts.poller.entry import Entry
    from queue_runtime.message import Message
    from queue_runtime.retry import RetryPolicy

_LOST: Final = unrun("its lock had ended")
_INTERRUPTED: Final = unrun("it was interrupted")
_BROKEN: Final = unrun("an error of queue_runtime itself")


class Running:
    """What runs, what waits to run, and what follows from an outcome for the rest of its group.

    Args:
        definition: the handler.
        policy: what becomes of failures.
        ordered: whether groups are kept in order.
        concurrency: how many calls of the handler run together.
        answer: takes each message's outcome, once, on the event loop.
        settle_now: carries a dead-letter out while its group waits.
    """

    def __init__(
        self,
        definition: HandlerDefinition,
        policy: RetryPolicy,
        *,
        ordered: bool,
        concurrency: int,
        answer: Callable[[Entry, Outcome], None],
        settle_now: Callable[[Entry, Outcome], Awaitable[Outcome]],
    ) -> None:
        self.pipeline = Pipeline(definition, policy)
        if not self.pipeline.blocking and not definition.is_async:
            self.pipeline = Pipeline(_off_loop(definition), policy)
        self._loop = asyncio.get_running_loop()
        self._ordered = ordered
        self._free = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._answer = answer
        self._settle_now = settle_now
        self._backlog = Backlog(ordered=ordered)
        self._starting = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._workers = Workers(
            concurrency, self._backlog, self._run_in_thread, self._finished, self._loop
        )

    def schedule(self, entries: Sequence[Entry]) -> None:
        """Take messages that arrived together; each is answered sooner or later."""
        if self.pipeline.definition.shape is Shape.BATCH:
            self._spawn(self._run_batch(entries))
        else:
            self._backlog.add(entries)
            self._start_ready()

    def give_back_waiting(self, outcome: Outcome) -> None:
        """Answer everything that has not started."""
        for entry in self._backlog.drain():
            self._give(entry, outcome)

    def interrupt(self) -> None:
        """Cancel the async handlers that run; sync ones cannot be."""
        for task in self._tasks:
            task.cancel("the process is stopping")

    def close(self) -> None:
        """Let idle threads end."""
        self._workers.close()

    # --- one message at a time -------------------------------------------------------------------

    def _start_ready(self) -> None:
        if self.pipeline.blocking:
            self._workers.wake()
        elif not self._starting:
            # An eager task may end at once and come back here: the loop below then goes on.
            self._starting = True
            while self._free > 0 and (entry := self._backlog.take()) is not None:
                self._free -= 1
                entry.task = self._spawn(self._run_on_loop(entry))
            self._starting = False

    async def _run_on_loop(self, entry: Entry) -> None:
        outcome = _LOST
        try:
            if not entry.stale():
                outcome = await self.pipeline.run(entry.message)
        except asyncio.CancelledError:
            outcome = _INTERRUPTED
        except Exception as error:
            outcome = _our_own_error(error)
        self._free += 1
        self._finished(entry, outcome)

    def _run_in_thread(self, entry: Entry) -> Outcome:
        if entry.stale():
            return _LOST
        try:
            return run_blocking(self.pipeline.definition.name, _run(self.pipeline, entry))
        except BaseException as error:  # a worker thread outlives whatever happens in it
            return _our_own_error(error)

    def _finished(self, entry: Entry, outcome: Outcome) -> None:
        if entry.answered:
            return
        if entry.lost:
            outcome = _LOST
        if self._ordered and outcome.disposition is Disposition.DEAD_LETTER:
            self._spawn(self._dead_letter_first(entry, outcome))
            return
        self._go_on(entry, outcome)

    async def _dead_letter_first(self, entry: Entry, outcome: Outcome) -> None:
        self._go_on(entry, await self._settle_now(entry, outcome))

    def _go_on(self, entry: Entry, outcome: Outcome) -> None:
        held = self._backlog.done(entry, outcome)
        self._give(entry, outcome)
        for later, unrun_with_it in held:
            self._give(later, unrun_with_it)
        if self._ordered or not self.pipeline.blocking:
            self._start_ready()

    # --- a batch at a time -----------------------------------------------------------------------

    async def _run_batch(self, entries: Sequence[Entry]) -> None:
        async with self._slots:
            outcomes = await self._call_batch([entry.message for entry in entries])
        order = Order(self._dead_letter_in(entries)) if self._ordered else None
        for entry, outcome in zip(entries, outcomes, strict=True):
            final = _LOST if entry.lost else outcome
            if order is not None:
                held = order.held(entry.message)
                final = held or await order.settle(entry.message, final)
            self._give(entry, final)

    async def _call_batch(self, messages: Sequence[Message[Any]]) -> Sequence[Outcome]:
        pipeline = self.pipeline
        try:
            if not pipeline.blocking:
                return await pipeline.run_batch(messages)
            name = pipeline.definition.name
            return await in_daemon_thread(lambda: run_blocking(name, pipeline.run_batch(messages)))
        except asyncio.CancelledError:
            return [_INTERRUPTED] * len(messages)
        except Exception as error:
            return [_our_own_error(error)] * len(messages)

    def _dead_letter_in(
        self, entries: Sequence[Entry]
    ) -> Callable[[Message[Any], Outcome], Awaitable[Outcome]]:
        by_message = {id(entry.message): entry for entry in entries}

        async def settle(message: Message[Any], outcome: Outcome) -> Outcome:
            return await self._settle_now(by_message[id(message)], outcome)

        return settle

    # --- both ------------------------------------------------------------------------------------

    def _give(self, entry: Entry, outcome: Outcome) -> None:
        if not entry.answered:
            entry.answered = True
            self._answer(entry, outcome)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = eager_task(work)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task


async def _run(pipeline: Pipeline, entry: Entry) -> Outcome:
    return await pipeline.run(entry.message)


def _off_loop(definition: HandlerDefinition) -> HandlerDefinition:
    """Let a sync handler run under a middleware that needs the loop, without blocking it."""
    moved, function = copy.copy(definition), definition.function

    async def on_a_thread(argument: Any) -> None:
        await in_daemon_thread(lambda: function(argument))

    moved.function, moved.is_async = on_a_thread, True
    return moved


def _our_own_error(error: BaseException) -> Outcome:
    report.logger.error("%s in queue_runtime; the message comes back", type(error).__qualname__)
    return _BROKEN
