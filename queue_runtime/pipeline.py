"""Decodes bodies, runs the middleware and calls the handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from queue_runtime.definition import Shape
from queue_runtime.message import Batch, Message
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, Outcome, Signal, unrun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from queue_runtime.bodies import Decoder
    from queue_runtime.definition import Envelope, HandlerDefinition
    from queue_runtime.middleware import (
        Around,
        DeliveryMiddleware,
        Messages,
        Process,
        Run,
        RunBatch,
    )
    from queue_runtime.retry import RetryPolicy

ResultT = TypeVar("ResultT")


def _opener(envelopes: Sequence[Envelope]) -> Callable[[Message[Any]], None] | None:
    if not envelopes:
        return None
    from queue_runtime.envelopes import opener  # most messages come without one

    return opener(envelopes)


class Pipeline:
    """One handler's way from messages to outcomes: exactly one outcome for each, whatever breaks.

    `run` takes one message, and is there unless the handler takes a batch; `run_batch` takes many.
    Poison makes no call. `blocking` tells that nothing in it suspends.

    Args:
        definition: the handler.
        policy: decides what becomes of failures.
        around: surrounds every call, of one message or of a batch.
        call: an async function that is called in place of the handler, to run it somewhere else.
    """

    def __init__(
        self,
        definition: HandlerDefinition,
        policy: RetryPolicy,
        *,
        around: Around | None = None,
        call: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self.definition = definition
        self.policy = policy
        self._function: Callable[[Any], Any] = call or definition.function
        self._is_async = definition.is_async or call is not None
        chain = (*definition.delivery_middleware, *definition.call_middleware)
        self.blocking = not self._is_async and all(
            getattr(middleware, "blocking", False) for middleware in chain
        )
        self._unwrap = _opener(definition.envelope)
        # Whether messages can be decided before it is their turn.
        self._early = self._unwrap is not None or bool(definition.delivery_middleware)
        run, run_batch = self._build_run(), self._run_batch
        self.run: Run = run if around is None else around.one(run)
        self.run_batch: RunBatch = run_batch if around is None else around.batch(run_batch)

    def open(self, messages: Messages) -> None:
        """Open the envelopes, before anything is told of the messages; once for each message.

        One that cannot be opened is poison, but is passed on all the same: on an ordered queue it
        has to be settled in its turn.
        """
        unwrap = self._unwrap
        if unwrap is None:
            return
        for message in messages:
            if message.opened:
                continue
            message.opened = True
            try:
                unwrap(message)
            except Exception as error:  # whatever a producer wrote, only its own message may fail
                message.decided = self.policy.outcome(error, message)

    def deliver(
        self, messages: Messages, dispatch: Process
    ) -> Coroutine[Any, Any, Sequence[Outcome]]:
        """Answer for all messages of one delivery, through `dispatch`, which runs them."""
        self.open(messages)
        middleware = self.definition.delivery_middleware
        if middleware:
            self._read_first(messages)
        return _through(middleware, messages, dispatch) if middleware else dispatch(messages)

    async def _run_batch(self, messages: Messages) -> list[Outcome]:
        """Answer for many messages by one call of a batch handler, or by none if all are poison."""
        outcomes: dict[int, Outcome] = {}
        good: list[Message[Any]] = []
        for position, message in enumerate(messages):
            decided = self._decode(message)
            if decided is None:
                good.append(message)
            else:
                outcomes[position] = decided
        if good:
            middleware = self.definition.call_middleware
            answers = iter(await _through(middleware, good, self._call_batch))
            for position in range(len(messages)):
                if position not in outcomes:
                    outcomes[position] = next(answers)
        return [outcomes[position] for position in range(len(messages))]

    def _read_first(self, messages: Messages) -> None:
        """Decide what cannot be read: by no id of such a message can anything be claimed."""
        decode = self.definition.decode if self.definition.decodes_first else None
        for message in messages:
            if message.decided is not None:
                continue
            try:
                payload = message.payload
                if decode is not None:
                    message.body = decode(payload)
            except Exception as error:  # whatever a producer wrote, only its own message may fail
                message.decided = self.policy.outcome(error, message)

    def _decode(self, message: Message[Any]) -> Outcome | None:
        if self._early and message.decided is not None:
            return message.decided
        try:
            if not self.definition.decodes_first:
                message.body = self.definition.decode(message.payload)
        except Exception as error:  # poison, or a validator of the user's that needs a service
            return self.policy.outcome(error, message)
        return None

    def _build_run(self) -> Run:
        middleware, definition = self.definition.call_middleware, self.definition
        if not middleware:
            call = self._call_one(None if definition.decodes_first else definition.decode)
            if not self._early:
                return call
            return lambda message: (
                call(message) if message.decided is None else _known(message.decided)
            )
        call = self._call_one(None)

        async def process(messages: Messages) -> Sequence[Outcome]:
            return (await call(messages[0]),)

        async def run(message: Message[Any]) -> Outcome:
            decided = self._decode(message)
            if decided is not None:
                return decided
            return (await _through(middleware, (message,), process))[0]

        return run

    def _call_one(self, decode: Decoder | None) -> Run:
        # Closures, not methods: this is the inner loop, and each attribute less is 3 % of it.
        function, failed = self._function, self.policy.outcome
        takes_body = self.definition.shape is Shape.BODY
        is_async = self._is_async

        async def call(message: Message[Any]) -> Outcome:
            try:
                if decode is not None:
                    message.body = decode(message.payload)
                result = function(message.body if takes_body else message)
                if result is not None:
                    await _finished(result, is_async)
            except (Exception, SystemExit) as error:
                if is_async:
                    _raise_if_interrupted(error)
                return failed(error, message)
            except BaseException as error:
                if not _cancelled_itself(error):
                    raise
                return failed(error, message)
            return ACK

        return call

    async def _call_batch(self, messages: Messages) -> Sequence[Outcome]:
        batch = Batch(messages)
        raised: BaseException | None = None
        try:
            result = self._function(batch)
            if result is not None:
                await _finished(result, self._is_async)
        except (Exception, SystemExit) as error:
            if self._is_async:
                _raise_if_interrupted(error)
            raised = error
        except BaseException as error:
            if not _cancelled_itself(error):
                raise
            raised = error
        outcome, marked = self.policy.outcome, batch.failures
        return [
            outcome(marked[position], message)
            if position in marked
            else ACK
            if raised is None
            else outcome(raised, message, shared=True)
            for position, message in enumerate(messages)
        ]


def run_blocking(name: str, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run what never suspends in one step, so that asyncio need not be imported for it.

    Raises:
        RuntimeError: it did suspend: a middleware said `blocking = True` and waited.
    """
    try:
        work.send(None)
    except StopIteration as done:
        result: ResultT = done.value
        return result
    work.close()
    raise RuntimeError(f"{name}: a middleware said blocking = True and waited for something")


async def _known(outcome: Outcome) -> Outcome:
    return outcome


async def _finished(result: Any, is_async: bool) -> None:
    """Await an async handler's result; refuse an awaitable of a sync one, which would never run."""
    if is_async and hasattr(result, "__await__"):
        await result
    elif hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()
        raise TypeError(
            "the handler returned an awaitable without being async: its work was not done; "
            "write async def, or run it inside"
        )


def _cancelled_itself(error: BaseException) -> bool:
    """Tell a cancellation that the handler made (a failure) from one that was done to it."""
    if type(error).__name__ != "CancelledError":
        return False
    import asyncio

    return isinstance(error, asyncio.CancelledError) and not _being_cancelled()


def _raise_if_interrupted(error: BaseException) -> None:
    """Make a cancellation again of what a handler that was cancelled turned into its own error.

    Else the deadline would count as a failure, and on the last delivery dead-letter the message.
    """
    # A group is no cancellation: until Python 3.12 a TaskGroup that failed leaves one counted.
    if not isinstance(error, Signal | BaseExceptionGroup) and _being_cancelled():
        from asyncio import CancelledError

        raise CancelledError from None


def _being_cancelled() -> bool:
    from asyncio import current_task

    try:
        task = current_task()
    except RuntimeError:  # no loop runs here, so nobody but the handler can have cancelled
        return False
    return task is not None and task.cancelling() > 0


async def _through(
    middleware: Sequence[DeliveryMiddleware], messages: Messages, innermost: Process
) -> Sequence[Outcome]:
    """Go through the chain, outermost first; a crash or a wrong answer costs a redelivery only."""
    step = innermost
    for each in reversed(middleware):
        step = _bound(each, step)
    try:
        outcomes = await step(messages)
        if len(outcomes) == len(messages) and all(isinstance(o, Outcome) for o in outcomes):
            return outcomes
        text = "to be delivered again: a middleware gave %d outcomes for %d messages"
        events.error(messages, "middleware", text, len(outcomes), len(messages))
    except Exception as error:
        text = "to be delivered again: a middleware raised %s"
        events.error(messages, "middleware", text, error, raised=error)
    return [unrun("a middleware failed") for _ in messages]


def _bound(middleware: DeliveryMiddleware, call_next: Process) -> Process:
    async def step(messages: Messages) -> Sequence[Outcome]:
        return await middleware(messages, call_next)

    return step
