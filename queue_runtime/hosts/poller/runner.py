"""Runs held messages: async handlers on the loop, sync ones on threads, groups in order."""

from __future__ import annotations

import asyncio
import copy
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from queue_runtime.definition import Shape
from queue_runtime.dispatch import EAGER, Order
from queue_runtime.hosts.poller.daemon_thread import in_daemon_thread
from queue_runtime.hosts.poller.ready_queue import Backlog
from queue_runtime.hosts.poller.workers import Workers
from queue_runtime.observability.events import events
from queue_runtime.outcome import Disposition, Outcome, unrun
from queue_runtime.pipeline import Pipeline, run_blocking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from contextvars import Context

    from queue_runtime.breaker import Breaker
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.hosts.poller.held_message import Entry
    from queue_runtime.message import Message
    from queue_runtime.observability.telemetry import Watch
    from queue_runtime.retry import RetryPolicy

ResultT = TypeVar("ResultT")

# Without delay, since what waits behind it in its group is given back with it, and is still ours.
_LOST: Final = unrun("its lock had ended", delay=0.0)
_INTERRUPTED: Final = unrun("it was interrupted", delay=0.0)
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
        breaker: while it is open, no handler is called; None where there is none.
        queue: the queue's name, for metrics.
        groups_are_sessions: whether groups count as sessions; some transports have real ones.
        watch: observes calls.
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
        breaker: Breaker | None = None,
        queue: str = "",
        groups_are_sessions: bool = True,
        watch: Watch | None = None,
    ) -> None:
        around = None if watch is None else watch.around(queue)
        self.pipeline = Pipeline(definition, policy, around=around)
        if not self.pipeline.blocking and not definition.is_async:
            self.pipeline = Pipeline(_off_loop(definition), policy, around=around)
        self._loop = asyncio.get_running_loop()
        self._ordered = ordered
        self._free = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._answer = answer
        self._settle_now = settle_now
        self._breaker = breaker
        # What every message's context variables start from, and ours go on in: never another's.
        self._context = copy_context()
        self._closing: Outcome | None = None
        self._kept: list[Entry] | None = None
        self._queued: set[Entry] = set()
        self._backlog = Backlog(ordered=ordered, queue=queue if groups_are_sessions else None)
        self._starting = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._workers = Workers(
            concurrency,
            self._backlog,
            self._run_in_thread,
            self._finished,
            self._loop,
            self._context,
        )

    def schedule(self, entries: Sequence[Entry]) -> None:
        """Take messages that arrived together; each is answered sooner or later."""
        if self._closing is not None:
            for entry in entries:
                self._give(entry, self._closing)
        elif self._kept is not None:
            self._kept.extend(entries)
        elif self.pipeline.definition.shape is Shape.BATCH:
            self._queued.update(entries)
            task = self._spawn(self._run_batch(entries), entries[0].context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._backlog.add(entries)
            self._start_ready()

    def stop_starting(self) -> None:
        """Keep what waits, and what comes from now on, until `give_back_waiting`."""
        self._kept = self._backlog.drain()

    def give_back_waiting(self, outcome: Outcome) -> None:
        """Answer everything that has not started, or comes from now on; after `stop_starting`."""
        self._closing = outcome
        for entry in [*(self._kept or ()), *self._queued]:
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
            self._starting = True
            while self._free > 0 and (entry := self._backlog.take()) is not None:
                self._free -= 1
                task = self._spawn(self._run_on_loop(entry), entry.context)
                if task.done():  # an eager one that never had to wait
                    self._free += 1
                    self._finished(entry, task.result())
                else:
                    entry.task = task
                    self._tasks.add(task)
                    task.add_done_callback(partial(self._ran, entry), context=self._context)
            self._starting = False

    async def _run_on_loop(self, entry: Entry) -> Outcome:
        try:
            held = self._held_back(entry)
            if held is not None:
                return held
            outcome = await self.pipeline.run(entry.message)
        except asyncio.CancelledError:
            return _INTERRUPTED
        except BaseException as error:  # of a middleware: the others must go on
            if isinstance(error, KeyboardInterrupt):
                raise
            return _our_own_error(entry.message, error)
        self._learn(outcome)
        return outcome

    def _ran(self, entry: Entry, task: asyncio.Task[Outcome]) -> None:
        self._tasks.discard(task)
        self._free += 1
        # One that is cancelled before its first step, where tasks are not eager, has no result.
        self._finished(entry, _INTERRUPTED if task.cancelled() else task.result())

    def _run_in_thread(self, entry: Entry) -> Outcome:
        held = self._held_back(entry)
        if held is not None:
            return held
        try:
            outcome = run_blocking(self.pipeline.definition.name, _run(self.pipeline, entry))
        except BaseException as error:  # a worker thread outlives whatever happens in it
            return _our_own_error(entry.message, error)
        self._learn(outcome)
        return outcome

    def _held_back(self, entry: Entry) -> Outcome | None:
        if entry.stale() or entry.answered:
            return _LOST
        return None if self._breaker is None else _while_open(self._breaker)

    def _learn(self, outcome: Outcome) -> None:
        # Where it ran, not where it is collected: until then a thread could call many times more.
        if self._breaker is not None:
            self._breaker.record(outcome)

    def _finished(self, entry: Entry, outcome: Outcome) -> None:
        if entry.answered:  # while it ran, by a middleware that gave up: its group is still taken
            self._go_on(entry, _LOST)
            return
        if entry.stale():
            outcome = _LOST
        if self._ordered and outcome.disposition is Disposition.DEAD_LETTER:
            self._spawn(self._dead_letter_first(entry, outcome))
            return
        self._go_on(entry, outcome)

    async def _dead_letter_first(self, entry: Entry, outcome: Outcome) -> None:
        self._go_on(entry, await self._settle_now(entry, outcome))

    def _go_on(self, entry: Entry, outcome: Outcome) -> None:
        held = self._backlog.done(entry, outcome) if self._ordered else ()
        self._give(entry, outcome)
        for later, unrun_with_it in held:
            self._give(later, unrun_with_it)
        if not self._starting and (self._ordered or not self.pipeline.blocking):
            self._start_ready()

    # --- a batch at a time -----------------------------------------------------------------------

    async def _run_batch(self, entries: Sequence[Entry]) -> None:
        async with self._slots:
            self._queued.difference_update(entries)
            entries = [entry for entry in entries if not entry.answered]
            outcomes = {entry: self._held_back(entry) for entry in entries}
            ready = [entry for entry in entries if outcomes[entry] is None]
            if ready:
                answers = await self._call_batch([entry.message for entry in ready])
                outcomes.update(zip(ready, answers, strict=True))
        order = Order(self._dead_letter_in(entries)) if self._ordered else None
        for entry, outcome in outcomes.items():
            final = _LOST if outcome is None or entry.stale() else outcome
            if order is not None:
                held = order.held(entry.message)
                final = held or await order.settle(entry.message, final)
            self._give(entry, final)

    async def _call_batch(self, messages: Sequence[Message[Any]]) -> Sequence[Outcome]:
        pipeline = self.pipeline
        try:
            if not pipeline.blocking:
                outcomes = await pipeline.run_batch(messages)
            else:
                name, work = pipeline.definition.name, pipeline.run_batch
                outcomes = await in_daemon_thread(lambda: run_blocking(name, work(messages)))
        except asyncio.CancelledError:
            return [_INTERRUPTED] * len(messages)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return [_our_own_error(messages, error)] * len(messages)
        for outcome in outcomes:
            self._learn(outcome)
        return outcomes

    def _dead_letter_in(
        self, entries: Sequence[Entry]
    ) -> Callable[[Message[Any], Outcome], Awaitable[Outcome]]:
        by_message = {id(entry.message): entry for entry in entries}

        async def settle(message: Message[Any], outcome: Outcome) -> Outcome:
            return await self._settle_now(by_message[id(message)], outcome)

        return settle

    def in_own_context(self, call: Callable[..., None], *arguments: Any) -> None:
        """Go on after a handler or middleware without what it has set in its context."""
        self._context.copy().run(call, *arguments)

    # --- both ------------------------------------------------------------------------------------

    def _give(self, entry: Entry, outcome: Outcome) -> None:
        if not entry.answered:
            entry.answered = True
            self._answer(entry, outcome)

    def _spawn(
        self, work: Coroutine[Any, Any, ResultT], context: Context | None = None
    ) -> asyncio.Task[ResultT]:
        own = (context or self._context).copy()
        return asyncio.Task(work, loop=self._loop, context=own, **EAGER)


def _while_open(breaker: Breaker) -> Outcome | None:
    wait = breaker.admit(1).wait
    return unrun("the circuit breaker is open", delay=wait) if wait else None


async def _run(pipeline: Pipeline, entry: Entry) -> Outcome:
    return await pipeline.run(entry.message)


def _off_loop(definition: HandlerDefinition) -> HandlerDefinition:
    """Let a sync handler run under a middleware that needs the loop, without blocking it."""
    moved, function = copy.copy(definition), definition.function

    async def on_a_thread(argument: Any) -> None:
        await in_daemon_thread(lambda: function(argument))

    moved.function, moved.is_async = on_a_thread, True
    return moved


def _our_own_error(about: Message[Any] | Sequence[Message[Any]], error: BaseException) -> Outcome:
    events.error(
        about, "process", "to be delivered again: %s in queue_runtime", error, raised=error
    )
    return _BROKEN
