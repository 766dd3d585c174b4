"""The broker's time, which tests move forward instead of waiting for it to pass."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Wall time plus whatever it was advanced by; give `source` a constant for a frozen clock."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._ahead = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the epoch, as the broker sees it."""
        return self._source() + self._ahead

    def unmoved(self) -> float:
        """The time without advances: what clients sign tokens by."""
        return self._source()

    def advance(self, seconds: float) -> None:
        """Only forward: locks and schedules that fell due stay due."""
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        with self._lock:
            self._ahead += seconds
