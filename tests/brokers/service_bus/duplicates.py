"""Remembers message ids for as long as a queue looks for duplicates, and no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import Clock
    from .deadlines import Deadlines


class DuplicateWindow:
    """The ids of the last `seconds`; a repeat does not make its id stay longer."""

    def __init__(self, seconds: float, clock: Clock, deadlines: Deadlines) -> None:
        self._seconds = seconds
        self._clock = clock
        self._deadlines = deadlines
        self._until: dict[Any, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def repeats(self, message_id: Any) -> bool:
        """Whether the id was seen within the window; remembers it if not."""
        now = self._clock.now()
        if message_id is None:
            return False
        if self._until.get(message_id, now) > now:
            return True
        self._until[message_id] = now + self._seconds
        self._deadlines.add(now + self._seconds, lambda: self._forget(message_id))
        return False

    def _forget(self, message_id: Any) -> None:
        if self._until.get(message_id, 0.0) <= self._clock.now():
            self._until.pop(message_id, None)
