"""Takes what arrived together through the delivery middleware, which answers for all of it."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeAlias

from queue_runtime.hosts.poller.daemon_thread import in_daemon_thread
from queue_runtime.observability.events import events
from queue_runtime.outcome import unrun
from queue_runtime.pipeline import run_blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from queue_runtime.hosts.poller.held_message import Entry
    from queue_runtime.hosts.poller.runner import Running
    from queue_runtime.middleware import Messages
    from queue_runtime.outcome import Outcome

Dispatch: TypeAlias = "Callable[[Messages], Coroutine[Any, Any, Sequence[Outcome]]]"


class Deliveries:
    """The deliveries that are under way.

    Args:
        running: runs the handler for what the middleware passes on.
        delivered: takes the outcomes that the middleware gives in the end.
    """

    def __init__(
        self, running: Running, delivered: Callable[[Sequence[Entry], Sequence[Outcome]], None]
    ) -> None:
        self._running = running
        self._delivered = delivered
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, entries: Sequence[Entry]) -> None:
        """Let what has just arrived take its way."""
        task = asyncio.create_task(self._deliver(entries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Wait until all are over."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _deliver(self, entries: Sequence[Entry]) -> None:
        loop = asyncio.get_running_loop()
        by_message = {id(entry.message): entry for entry in entries}

        async def dispatch(messages: Messages) -> Sequence[Outcome]:
            # A middleware may pass a message on twice, at once or one after the other.
            chosen = {id(message): by_message[id(message)] for message in messages}
            context, answers = copy_context(), {key: loop.create_future() for key in chosen}
            for key, entry in chosen.items():
                entry.answered, entry.answer, entry.context = False, answers[key], context
            self._running.schedule([*chosen.values()])
            await asyncio.gather(*answers.values())
            return [answers[id(message)].result() for message in messages]

        messages = [entry.message for entry in entries]
        try:
            outcomes = await self._through_middleware(messages, dispatch)
        except BaseException as error:  # what is not answered would be held for ever
            if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
                raise
            text = "to be delivered again: a middleware raised %s"
            events.error(messages, "middleware", text, error, raised=error)
            outcomes = [unrun("a middleware failed")] * len(entries)
        self._running.in_own_context(self._delivered, entries, outcomes)

    async def _through_middleware(
        self, messages: Messages, dispatch: Dispatch
    ) -> Sequence[Outcome]:
        pipeline, loop = self._running.pipeline, asyncio.get_running_loop()
        definition = pipeline.definition
        if not all(getattr(m, "blocking", False) for m in definition.delivery_middleware):
            return await pipeline.deliver(messages, dispatch)

        async def from_thread(passed: Messages) -> Sequence[Outcome]:
            return asyncio.run_coroutine_threadsafe(dispatch(passed), loop).result()

        # Its middleware blocks, so it gets a thread, on which it may wait for the loop.
        return await in_daemon_thread(
            lambda: run_blocking(definition.name, pipeline.deliver(messages, from_thread))
        )
