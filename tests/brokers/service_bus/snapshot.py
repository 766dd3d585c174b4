"""What tests see of the messages in a queue: values, not the broker's own objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .entities import MessageState, Stored
    from .queues import Queue


@dataclass(frozen=True, slots=True)
class MessageSnapshot:
    """One message at one moment."""

    sequence_number: int
    message_id: Any
    session_id: str | None
    body: bytes
    application_properties: dict[Any, Any]
    delivery_count: int
    state: MessageState
    locked: bool


def snapshots(queue: Queue) -> list[MessageSnapshot]:
    """All messages of a queue in order of their numbers."""
    return [_snapshot(stored) for stored in queue.peek(0, 2**31)]


def _snapshot(stored: Stored) -> MessageSnapshot:
    content = stored.content
    return MessageSnapshot(
        sequence_number=stored.sequence_number,
        message_id=content.message_id,
        session_id=content.session_id,
        body=content.data,
        application_properties=content.application_properties,
        delivery_count=stored.delivery_count,
        state=stored.state,
        locked=stored.lock is not None,
    )
