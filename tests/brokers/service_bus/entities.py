"""What an entity is made of: its options, a stored message, a lock, a session."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from .types import Int, Timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .content import Content
    from .journal import Kind


class MessageState(IntEnum):
    """As clients see it when they peek."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


class Settlement(StrEnum):
    """What a receiver can do with a locked message."""

    COMPLETE = "complete"
    ABANDON = "abandon"
    DEFER = "defer"
    DEAD_LETTER = "dead-letter"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """How a queue or subscription behaves; durations in seconds, defaults are the service's."""

    lock_duration: float = 60.0
    max_delivery_count: int = 10
    requires_session: bool = False
    default_ttl: float | None = None
    dead_letter_on_expiry: bool = False
    duplicate_window: float | None = None
    max_message_bytes: int = 1024 * 1024


class Record(Protocol):
    """Where the state machine reports what it did."""

    def __call__(self, kind: Kind, entity: str | None = None, **facts: Any) -> None:
        """Takes one event."""


class SessionHolder(Protocol):
    """Whoever has a session locked, told when the lock is gone."""

    def session_lost(self) -> None:
        """The lock expired or was taken away; nothing under it can be settled any more."""


@dataclass(slots=True)
class Lock:
    """A receiver's claim on one message."""

    token: UUID
    until: float


@dataclass(slots=True, eq=False)
class Session:
    """The messages of one session id, its state and its lock."""

    id: str | None
    available: list[int] = field(default_factory=list)
    state: bytes | None = None
    state_changed_at: float | None = None
    holder: SessionHolder | None = None
    locked_until: float = 0.0

    def push(self, sequence_number: int) -> None:
        """Makes a message available again at its old place."""
        heapq.heappush(self.available, sequence_number)

    def pop(self) -> int | None:
        """The oldest available message."""
        return heapq.heappop(self.available) if self.available else None


@dataclass(slots=True, eq=False)
class Stored:
    """A message in an entity; `delivery_count` counts the deliveries that failed."""

    content: Content
    sequence_number: int
    enqueued_at: float
    state: MessageState = MessageState.ACTIVE
    delivery_count: int = 0
    expires_at: float | None = None
    enqueued_sequence_number: int = 0
    lock: Lock | None = None

    def expired(self, now: float) -> bool:
        """Whether its time to live is over."""
        return self.expires_at is not None and self.expires_at <= now

    def facts(self) -> dict[str, Any]:
        """What the journal says about it."""
        return {
            "message_id": self.content.message_id,
            "session_id": self.content.session_id,
            "sequence_number": self.sequence_number,
            "delivery_count": self.delivery_count,
        }

    def render(self, *, peeked: bool = False) -> bytes:
        """The message as a receiver gets it."""
        return self.content.render(self._annotations(peeked), self.delivery_count)

    def _annotations(self, peeked: bool) -> Mapping[str, Any]:
        notes: dict[str, Any] = {
            "x-opt-sequence-number": self.sequence_number,
            "x-opt-enqueued-time": Timestamp(self.enqueued_at * 1000),
            "x-opt-enqueue-sequence-number": self.enqueued_sequence_number,
        }
        if self.lock:
            notes["x-opt-locked-until"] = Timestamp(self.lock.until * 1000)
        if peeked or self.state is not MessageState.ACTIVE:
            notes["x-opt-message-state"] = Int(self.state)
        return notes
