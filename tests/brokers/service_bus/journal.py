"""A record of everything the broker did, to assert on and to wait for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(StrEnum):
    """What can happen."""

    CONNECTED = "connected"
    OPENED = "opened"
    AUTHORIZED = "authorized"
    AUTHORIZATION_REFUSED = "authorization-refused"
    ATTACHED = "attached"
    ATTACH_REFUSED = "attach-refused"
    DETACHED = "detached"
    DISCONNECTED = "disconnected"
    PROTOCOL_ERROR = "protocol-error"
    FAULT = "fault"
    MANAGEMENT = "management"
    MANAGEMENT_REFUSED = "management-refused"
    ADMINISTRATION = "administration"
    ENQUEUED = "enqueued"
    DUPLICATE = "duplicate"
    SEND_REFUSED = "send-refused"
    SCHEDULED = "scheduled"
    SCHEDULE_CANCELLED = "schedule-cancelled"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    ABANDONED = "abandoned"
    DEFERRED = "deferred"
    RELEASED = "released"
    DEAD_LETTERED = "dead-lettered"
    EXPIRED = "expired"
    LOCK_RENEWED = "lock-renewed"
    LOCK_EXPIRED = "lock-expired"
    SETTLE_REFUSED = "settle-refused"
    SESSION_AWAITED = "session-awaited"
    SESSION_ACCEPTED = "session-accepted"
    SESSION_RENEWED = "session-renewed"
    SESSION_RELEASED = "session-released"
    SESSION_LOST = "session-lost"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; fields that do not apply are None."""

    number: int
    at: float
    kind: Kind
    entity: str | None = None
    message_id: Any = None
    session_id: str | None = None
    sequence_number: int | None = None
    delivery_count: int | None = None
    connection: int | None = None
    detail: str = ""


@dataclass(slots=True)
class Journal:
    """Events in order, the oldest dropped beyond `limit`; safe to read from any thread."""

    now: Callable[[], float]
    limit: int = 100_000
    _events: deque[Event] = field(init=False)
    _changed: threading.Condition = field(init=False, default_factory=threading.Condition)
    _count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._events = deque(maxlen=self.limit)

    def record(self, kind: Kind, entity: str | None = None, **facts: Any) -> None:
        """Appends an event and wakes whoever waits for it."""
        with self._changed:
            self._count += 1
            self._events.append(Event(self._count, self.now(), kind, entity, **facts))
            self._changed.notify_all()

    def events(self, kind: Kind | None = None, **facts: Any) -> list[Event]:
        """The events of this kind whose fields equal `facts`."""
        with self._changed:
            return [event for event in self._events if _matches(event, kind, facts)]

    def clear(self) -> None:
        """Forgets what happened so far; numbers go on."""
        with self._changed:
            self._events.clear()

    def wait_for(
        self, kind: Kind, *, count: int = 1, timeout: float = 45.0, **facts: Any
    ) -> list[Event]:
        """Blocks until `count` such events are there, past ones included; else TimeoutError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := self.events(kind, **facts)) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    seen = [str(event.kind) for event in self._events]
                    raise TimeoutError(f"{len(found)} of {count} {kind} {facts}; seen: {seen}")
            return found

    async def wait_for_async(self, kind: Kind, *, count: int = 1, **facts: Any) -> list[Event]:
        """`wait_for` without blocking the caller's event loop."""
        return await asyncio.to_thread(self.wait_for, kind, count=count, **facts)


def _matches(event: Event, kind: Kind | None, facts: dict[str, Any]) -> bool:
    if kind is not None and event.kind is not kind:
        return False
    return all(getattr(event, name) == value for name, value in facts.items())
