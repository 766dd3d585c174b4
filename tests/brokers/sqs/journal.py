"""What happened in the broker, in order, for tests that ask about effects and not replies."""

from __future__ import annotations

import threading
from collections import Counter, deque
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(StrEnum):
    """The events; a call is a request that arrived, everything else is an effect."""

    CALL = "call"
    FAULT = "fault"
    CREATED = "created"
    ATTRIBUTES_SET = "attributes_set"
    PURGED = "purged"
    SENT = "sent"
    DEDUPLICATED = "deduplicated"
    RECEIVED = "received"
    RECEIVE_REPEATED = "receive_repeated"
    VISIBLE_AGAIN = "visible_again"
    DELAY_ENDED = "delay_ended"
    VISIBILITY_CHANGED = "visibility_changed"
    DELETED = "deleted"
    STALE_DELETE = "stale_delete"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


class Event(NamedTuple):
    """One line of the journal; `detail` is the call, the fault, or the number that matters."""

    at: float
    kind: Kind
    queue: str
    message_id: str = ""
    detail: str = ""


class Journal:
    """Keeps the newest events and the totals of all; may be read from any thread."""

    def __init__(self, keep: int = 100_000) -> None:
        self._events: deque[Event] = deque(maxlen=keep)
        self._changed = threading.Condition()
        self._watchers = 0
        self.totals: Counter[Kind] = Counter()
        self.calls: Counter[str] = Counter()

    def record(self, event: Event) -> None:
        self._events.append(event)
        self.totals[event.kind] += 1
        if event.kind is Kind.CALL:
            self.calls[event.detail] += 1
        if self._watchers:
            with self._changed:
                self._changed.notify_all()

    def events(self, *kinds: Kind, queue: str = "", message_id: str = "") -> list[Event]:
        """The kept events that match, oldest first; no kind means every kind."""
        return [
            event
            for event in self._events.copy()
            if (not kinds or event.kind in kinds)
            and (not queue or event.queue == queue)
            and (not message_id or event.message_id == message_id)
        ]

    def wait_until(self, condition: Callable[[], bool], timeout: float = 45.0) -> None:
        """Block until `condition` holds, looking again after each event."""
        with self._changed:
            self._watchers += 1
            try:
                # The journal writes without the lock, so a wake-up can be missed: look again soon.
                reached = self._wait(condition, timeout)
            finally:
                self._watchers -= 1
        if not reached:
            last = ", ".join(event.kind for event in self.events()[-10:])
            msg = f"not reached within {timeout} s; the last events were: {last or 'none'}"
            raise TimeoutError(msg)

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        for _ in range(max(1, int(timeout / 0.02))):
            if self._changed.wait_for(condition, 0.02):
                return True
        return condition()

    def clear(self) -> None:
        """Forget events and totals, so that a test counts from here."""
        self._events.clear()
        self.totals.clear()
        self.calls.clear()
