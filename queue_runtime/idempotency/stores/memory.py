"""Claims in this process's memory: for tests, and where one process is all there is."""

from __future__ import annotations

from threading import Lock
from time import time
from typing import TYPE_CHECKING, Final, TypeAlias

from queue_runtime.idempotency.store import FRESH, found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.idempotency.store import Claim, Clock, Found

_SWEEP_AT: Final = 1024


# Owner, end, done, payload: a tuple of such values costs the garbage collector nothing.
_Row: TypeAlias = tuple[str, float, bool, str]


class MemoryStore:
    """Forgets everything with its process; rows that have ended are swept as their number grows."""

    def __init__(self, *, clock: Clock = time) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._sweep_at = _SWEEP_AT
        self._lock = Lock()

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        """Take what is free, under one lock."""
        now, rows = self._clock(), self._rows
        answers: list[Found] = []
        with self._lock:
            for key, payload in claims:
                row = rows.get(key)
                if row is None or row[1] <= now or row[0] == owner:
                    rows[key] = (owner, now + seconds, False, payload)
                    answers.append(FRESH)
                else:
                    _, ends, done, their_payload = row
                    answers.append(found(done=done, remaining=ends - now, payload=their_payload))
            if len(rows) > self._sweep_at:
                self._sweep(now)
        return answers

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        """Move the ends of what is the owner's and unfinished."""
        ends = self._clock() + seconds
        with self._lock:
            for key, _ in claims:
                row = self._rows.get(key)
                if row is not None and row[0] == owner and not row[2]:
                    self._rows[key] = (owner, ends, False, row[3])

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        """Mark as done what is the owner's, or nobody's."""
        ends, rows = self._clock() + retention, self._rows
        answers = []
        with self._lock:
            for key, payload in claims:
                row = rows.get(key)
                ours = row is None or row[0] == owner
                if ours:
                    rows[key] = (owner, ends, True, payload)
                answers.append(ours)
        return answers

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        """Remove what is the owner's and unfinished."""
        with self._lock:
            for key, _ in claims:
                row = self._rows.get(key)
                if row is not None and row[0] == owner and not row[2]:
                    del self._rows[key]

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rows.clear()

    def _sweep(self, now: float) -> None:
        self._rows = {key: row for key, row in self._rows.items() if row[1] > now}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._rows))
