"""What a FIFO queue remembers for five minutes: sends, and receives that may be repeated."""

from __future__ import annotations

from typing import Generic, TypeVar

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """Entries forgotten a fixed time after they were made, whatever became of the message."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: dict[tuple[str, ...], tuple[float, Value]] = {}

    def get(self, key: tuple[str, ...], now: float) -> Value | None:
        self._forget(now)
        entry = self._entries.get(key)
        return entry[1] if entry else None

    def put(self, key: tuple[str, ...], value: Value, now: float) -> None:
        self._entries.pop(key, None)  # so that the order stays the order of the deadlines
        self._entries[key] = (now + self._seconds, value)

    def _forget(self, now: float) -> None:
        past = []
        for key, (until, _) in self._entries.items():
            if until > now:
                break
            past.append(key)
        for key in past:
            del self._entries[key]
