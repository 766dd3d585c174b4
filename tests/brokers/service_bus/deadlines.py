"""What falls due when; whoever is no longer concerned ignores the call, so nothing is removed."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Deadlines:
    """Callbacks by time; each must check for itself that it still applies."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, when: float, callback: Callable[[], None]) -> None:
        """Calls back at the first `run` at or after `when`."""
        heapq.heappush(self._heap, (when, next(self._order), callback))

    def run(self, now: float) -> int:
        """Calls what is due, in order of time, and says how many that were."""
        ran = 0
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
            ran += 1
        return ran

    @property
    def earliest(self) -> float | None:
        """The next time at which `run` has something to do."""
        return self._heap[0][0] if self._heap else None
