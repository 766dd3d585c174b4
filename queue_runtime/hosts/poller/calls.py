"""Calls the handler for held messages, on the loop or on a thread, and always gives an outcome."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.hosts.poller import forked
from queue_runtime.hosts.poller.daemon_thread import in_daemon_thread
from queue_runtime.hosts.poller.forked import end_fork
from queue_runtime.observability.events import events
from queue_runtime.outcome import Outcome, unrun
from queue_runtime.pipeline import Pipeline, run_blocking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.breaker import Breaker
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.message import Message
    from queue_runtime.middleware import Around
    from queue_runtime.retry import RetryPolicy

# Without delay, since what waits behind it in its group is given back with it, and is still ours.
LOST: Final = unrun("its lock had ended", delay=0.0)
INTERRUPTED: Final = unrun("it was interrupted", delay=0.0)
_BROKEN: Final = unrun("an error of queue_runtime itself")


def pipeline_of(
    definition: HandlerDefinition, policy: RetryPolicy, around: Around | None
) -> Pipeline:
    """Build a handler's pipeline; a sync handler under a middleware that awaits gets threads."""
    pipeline = Pipeline(definition, policy, around=around)
    if pipeline.blocking or definition.is_async:
        return pipeline
    function = definition.function

    async def on_a_thread(argument: Any) -> None:
        await in_daemon_thread(lambda: function(argument))

    return Pipeline(definition, policy, around=around, call=on_a_thread)


class Calls:
    """One handler's calls. Whatever a handler or middleware raises costs its own messages only.

    Args:
        pipeline: the handler and what goes around it.
        breaker: while it is open, no handler is called; None where there is none.
        limit: seconds that an async call may take; 0 sets no limit.
    """

    def __init__(self, pipeline: Pipeline, breaker: Breaker | None, limit: float = 0.0) -> None:
        self.pipeline = pipeline
        self._breaker = breaker
        self._limit = limit

    async def on_loop(self, held: HeldMessage) -> Outcome:
        """Call the handler for one message."""
        try:
            refused = self._refused(held)
            if refused is not None:
                return refused
            if self._limit:
                outcome = await self._in_time(held.message)
            else:
                outcome = await self.pipeline.run(held.message)
        except asyncio.CancelledError:
            return INTERRUPTED
        except BaseException as error:  # whatever it is, the others must go on
            outcome = self._failed(error, held.message)
        if forked.forked:
            end_fork(_exit_code(outcome))
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
            outcome = self._failed(error, held.message)
        if forked.forked:
            end_fork(_exit_code(outcome))
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
                async with asyncio.timeout(self._limit or None):
                    outcomes = await pipeline.run_batch(messages)
            else:
                name, work = pipeline.definition.name, pipeline.run_batch
                outcomes = await in_daemon_thread(lambda: run_blocking(name, work(messages)))
        except asyncio.CancelledError:
            return [INTERRUPTED] * len(messages)
        except TimeoutError as error:  # a handler's own is an outcome already
            policy = self.pipeline.policy
            outcomes = [policy.outcome(error, message) for message in messages]
        except BaseException as error:
            outcomes = [self._failed(error, message) for message in messages]
        if forked.forked:
            end_fork()
        for outcome in outcomes:
            self._learn(outcome)
        return outcomes

    async def _in_time(self, message: Message[Any]) -> Outcome:
        try:
            async with asyncio.timeout(self._limit):
                return await self.pipeline.run(message)
        except TimeoutError as error:  # a handler's own is an outcome already
            return self.pipeline.policy.outcome(error, message)

    def _failed(self, error: BaseException, message: Message[Any]) -> Outcome:
        if isinstance(error, Exception):  # of a middleware, or our own: no handler's reaches us
            return _our_own_error(message, error)
        # A handler's KeyboardInterrupt, GeneratorExit and the like fail its message, no more.
        return self.pipeline.policy.outcome(error, message)

    def _refused(self, held: HeldMessage) -> Outcome | None:
        if forked.forked:
            end_fork()  # a handler forked, and waited: what comes next is its parent's
        now = monotonic()
        if held.lost or held.answered or held.message.locked_until <= now:
            return LOST
        held.started = now
        return None if self._breaker is None else _while_open(self._breaker)

    def _learn(self, outcome: Outcome) -> None:
        # Where it ran, not where it is collected: until then a thread could call many times more.
        if self._breaker is not None:
            self._breaker.record(outcome)


def _while_open(breaker: Breaker) -> Outcome | None:
    wait = breaker.admit(1).wait
    return unrun("the circuit breaker is open", delay=wait) if wait else None


async def _run(pipeline: Pipeline, message: Message[Any]) -> Outcome:
    return await pipeline.run(message)


def _exit_code(outcome: Outcome) -> int:
    """Give the code of a forked process whose handler returned, or called sys.exit()."""
    if isinstance(outcome.error, SystemExit) and isinstance(outcome.error.code, int):
        return outcome.error.code
    return 0 if outcome.error is None else 1


def _our_own_error(message: Message[Any], error: BaseException) -> Outcome:
    text = "to be delivered again: %s in queue_runtime"
    events.error(message, "process", text, error, raised=error)
    return _BROKEN
