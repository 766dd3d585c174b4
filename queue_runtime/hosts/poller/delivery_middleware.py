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
    from contextvars import Context

    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.in_flight import InFlight
    from queue_runtime.hosts.poller.runner import Runner
    from queue_runtime.hosts.poller.settler import Settler
    from queue_runtime.middleware import Messages
    from queue_runtime.outcome import Outcome
    from queue_runtime.pipeline import Pipeline

Dispatch: TypeAlias = "Callable[[Messages], Coroutine[Any, Any, Sequence[Outcome]]]"


class DeliveryMiddlewareRun:
    """The deliveries that are under way through the delivery middleware.

    Args:
        pipeline: has the middleware.
        runner: runs the handler for what the middleware passes on.
        settler: takes the outcomes that the middleware gives in the end.
        in_flight: woken when it has given them.
        context: what goes on after the middleware goes on in, without what it has set.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        runner: Runner,
        settler: Settler,
        in_flight: InFlight,
        context: Context,
    ) -> None:
        self._pipeline = pipeline
        self._runner = runner
        self._settler = settler
        self._in_flight = in_flight
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()

    def schedule(self, arrived: Sequence[HeldMessage]) -> None:
        """Take messages that arrived together through the middleware."""
        task = asyncio.create_task(self._deliver(arrived))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Wait until all are over."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _deliver(self, arrived: Sequence[HeldMessage]) -> None:
        loop = asyncio.get_running_loop()
        by_message = {id(held.message): held for held in arrived}

        async def dispatch(messages: Messages) -> Sequence[Outcome]:
            # A middleware may pass a message on twice, at once or one after the other.
            chosen = {id(message): by_message[id(message)] for message in messages}
            context, answers = copy_context(), {key: loop.create_future() for key in chosen}
            for key, held in chosen.items():
                held.answered, held.answer, held.context = False, answers[key], context
            self._runner.schedule([*chosen.values()])
            await asyncio.gather(*answers.values())
            return [answers[id(message)].result() for message in messages]

        messages = [held.message for held in arrived]
        try:
            outcomes = await self._through_middleware(messages, dispatch)
        except BaseException as error:  # what is not answered would be held for ever
            if not isinstance(error, asyncio.CancelledError):
                text = "to be delivered again: a middleware raised %s"
                events.error(messages, "middleware", text, error, raised=error)
            outcomes = [unrun("a middleware failed")] * len(arrived)
        self._context.copy().run(self._hand_on, arrived, outcomes)

    def _hand_on(self, arrived: Sequence[HeldMessage], outcomes: Sequence[Outcome]) -> None:
        for held, outcome in zip(arrived, outcomes, strict=True):
            held.answered, held.answer = True, None
            self._settler.add(held, outcome)
        self._in_flight.changed.set()

    async def _through_middleware(
        self, messages: Messages, dispatch: Dispatch
    ) -> Sequence[Outcome]:
        pipeline, loop = self._pipeline, asyncio.get_running_loop()
        definition = pipeline.definition
        if not all(getattr(m, "blocking", False) for m in definition.delivery_middleware):
            return await pipeline.deliver(messages, dispatch)

        async def from_thread(passed: Messages) -> Sequence[Outcome]:
            return asyncio.run_coroutine_threadsafe(dispatch(passed), loop).result()

        # Its middleware blocks, so it gets a thread, on which it may wait for the loop.
        return await in_daemon_thread(
            lambda: run_blocking(definition.name, pipeline.deliver(messages, from_thread))
        )
