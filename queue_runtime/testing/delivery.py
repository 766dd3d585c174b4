"""Delivers one message to a handler as a host would, with no cloud and no queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queue_runtime.config import load_settings
from queue_runtime.definition import Shape, definition_of
from queue_runtime.message import Message
from queue_runtime.pipeline import Pipeline, run_blocking
from queue_runtime.testing.events import body_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.message import DeadLetterRecord
    from queue_runtime.middleware import Messages
    from queue_runtime.outcome import Outcome


def deliver(
    handler: Handles,
    body: Any,
    *,
    deliveries: int = 1,
    attributes: Mapping[str, Any] | None = None,
    group_id: str | None = None,
    id: str = "message-1",
    dead_letter: DeadLetterRecord | None = None,
    settings: Settings | None = None,
) -> Outcome:
    """Give a handler one message and get its outcome: envelope, decoding, middleware and policy.

    Args:
        handler: the decorated function, sync or async; one that takes a batch gets a batch of one.
        body: bytes or text are sent as they are, anything else (a dict, a model) as JSON.
        deliveries: the delivery count that the message shows: 1 on its first delivery.
        attributes: the producer's attributes.
        group_id: the message group or session.
        id: the message's id.
        dead_letter: why it was dead-lettered, for a handler that consumes a dead-letter queue.
        settings: None takes the decorator's word and the defaults; the environment is not read.

    Raises:
        RuntimeError: an event loop runs here and the handler needs one; await `adeliver` instead.
    """
    pipeline, message = _prepare(
        handler, body, deliveries, attributes, group_id, id, dead_letter, settings
    )
    work = _outcome(pipeline, message)
    if pipeline.blocking:
        return run_blocking(definition_of(handler).name, work)
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise RuntimeError("an event loop is running here: write `await adeliver(...)`")


async def adeliver(
    handler: Handles,
    body: Any,
    *,
    deliveries: int = 1,
    attributes: Mapping[str, Any] | None = None,
    group_id: str | None = None,
    id: str = "message-1",
    dead_letter: DeadLetterRecord | None = None,
    settings: Settings | None = None,
) -> Outcome:
    """Do what `deliver` does inside a running event loop; a sync handler blocks it meanwhile."""
    pipeline, message = _prepare(
        handler, body, deliveries, attributes, group_id, id, dead_letter, settings
    )
    return await _outcome(pipeline, message)


def _prepare(
    handler: Handles,
    body: Any,
    deliveries: int,
    attributes: Mapping[str, Any] | None,
    group_id: str | None,
    id: str,
    dead_letter: DeadLetterRecord | None,
    settings: Settings | None,
) -> tuple[Pipeline, Message[Any]]:
    definition = definition_of(handler)
    if settings is None:
        # In memory, and new each time: a test of a handler meets no claims but its own.
        options = definition.idempotency
        store = "memory://" if options is not None and options.needs_store else None
        arguments = {"idempotency_store": store}
        settings = load_settings(definition.settings, environ={}, arguments=arguments)
    definition = definition.bound(settings)
    payload = body if isinstance(body, bytes) else body_text(body)
    message: Message[Any] = Message.of(
        payload,
        id=id,
        queue=settings.queue or "queue",
        attributes=attributes,
        group_id=group_id,
        delivery_count=deliveries,
    )
    message.dead_letter = dead_letter
    del message.body  # to be read from the payload, as on every host: bytes, out of its envelope
    return Pipeline(definition, definition.policy(settings)), message


async def _outcome(pipeline: Pipeline, message: Message[Any]) -> Outcome:
    async def dispatch(messages: Messages) -> Sequence[Outcome]:
        if pipeline.definition.shape is Shape.BATCH:
            return await pipeline.run_batch(messages)
        return [await pipeline.run(each) for each in messages]

    return (await pipeline.deliver([message], dispatch))[0]
