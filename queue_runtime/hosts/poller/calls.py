"""Calls the handler for held messages, on the loop or on a thread, and always gives an outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.hosts.poller.daemon_thread import in_daemon_thread
from queue_runtime.observability import events
from queue_runtime.outcome import Outcome, unrun
from queue_runtime.pipeline import Pipeline, run_blocking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.breaker import Breaker
    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.message import Message

# Without delay, since what waits behind it in its group is given back with it, and is still ours.
LOST: Final = unrun("its lock had ended", delay=0.0)
INTERRUPTED: Final = unrun("it was interrupted", delay=0.0)
_BROKEN: Final = unrun("an error of queue_runtime itself")


def pipeline_of(definition: HandlerDefinition, settings: Settings) -> Pipeline:
    """Build a handler's pipeline; a sync handler under a middleware that awaits gets threads."""
    policy = definition.policy(settings)
    pipeline = Pipeline(definition, policy)
    if pipeline.blocking or definition.is_async:
        return pipeline
    function = definition.function

    async def on_a_thread(argument: Any) -> None:
        await in_daemon_thread(lambda: function(argument))

    return Pipeline(definition, policy, call=on_a_thread)


class Calls:
    """One handler's calls. Whatever a handler or middleware raises costs its own messages only.

    Args:
        pipeline: the handler and what goes around it.
        breaker: while it is open, no handler is called; None where there is none.
    """

    def __init__(self, pipeline: Pipeline, breaker: Breaker | None) -> None:
        self.pipeline = pipeline
        self._breaker = breaker

    async def on_loop(self, held: HeldMessage) -> Outcome:
        """Call the handler for one message."""
        try:
            refused = self._refused(held)
            if refused is not None:
                return refused
            outcome = await self.pipeline.run(held.message)
        except asyncio.CancelledError:
            return INTERRUPTED
        except BaseException as error:  # of a middleware: the others must go on
            if isinstance(error, KeyboardInterrupt):
                raise
            return _our_own_error(error)
        self._learn(outcome)
        return outcome

    def on_thread(self, held: HeldMessage) -> Outcome:
        """Call the handler for one message, on the caller's thread."""
        refused = self._refused(held)
        if refused is not None:
            return refused
        pipeline = self.pipeline
        try:
            outcome = run_blocking(pipeline.definition.name, _run(pipeline, held.message))
        except BaseException as error:  # a worker thread outlives whatever happens in it
            return _our_own_error(error)
        self._learn(outcome)
        return outcome

    async def batch(self, batch: Sequence[HeldMessage]) -> dict[HeldMessage, Outcome]:
        """Call a batch handler once, for the messages of which that is still worth it."""
        outcomes = {held: self._refused(held) for held in batch}
        ready = [held for held, refused in outcomes.items() if refused is None]
        if ready:
            answers = await self._call_batch([held.message for held in ready])
            outcomes.update(zip(ready, answers, strict=True))
        return {
            held: LOST if outcome is None or held.stale() else outcome
            for held, outcome in outcomes.items()
        }

    async def _call_batch(self, messages: Sequence[Message[Any]]) -> Sequence[Outcome]:
        pipeline = self.pipeline
        try:
            if not pipeline.blocking:
                outcomes = await pipeline.run_batch(messages)
            else:
                name, work = pipeline.definition.name, pipeline.run_batch
                outcomes = await in_daemon_thread(lambda: run_blocking(name, work(messages)))
        except asyncio.CancelledError:
            return [INTERRUPTED] * len(messages)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return [_our_own_error(error)] * len(messages)
        for outcome in outcomes:
            self._learn(outcome)
        return outcomes

    def _refused(self, held: HeldMessage) -> Outcome | None:
        if held.stale() or held.answered:
            return LOST
        return None if self._breaker is None else _while_open(self._breaker)

    def _learn(self, outcome: Outcome) -> None:
        # Where it ran, not where it is collected: until then a thread could call many times more.
        if self._breaker is not None:
            self._breaker.record(outcome)


def _while_open(breaker: Breaker) -> Outcome | None:
    wait = breaker.wait() if breaker.on_trial() else 0.0
    return unrun("the circuit breaker is open", delay=wait) if wait else None


async def _run(pipeline: Pipeline, message: Message[Any]) -> Outcome:
    return await pipeline.run(message)


def _our_own_error(error: BaseException) -> Outcome:
    events.logger.error("%s in queue_runtime; the message comes back", type(error).__qualname__)
    return _BROKEN
