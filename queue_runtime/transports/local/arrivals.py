"""Wakes the receives of this process that wait on a local queue, when something comes to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock
from typing import Final
from weakref import WeakValueDictionary


class Arrival:
    """Wakes one receive when messages arrive; made before the receive looks, to miss none."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    async def wait(self, seconds: float) -> None:
        """Return when something has come, or after `seconds`."""
        timer = self._loop.call_later(seconds, self._wake)
        try:
            await self._future
        finally:
            timer.cancel()

    def announce(self) -> None:
        """Wake the waiting receive, from any thread."""
        with suppress(RuntimeError):  # a closed loop has taken its receive with it
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class Arrivals:
    """All that wait on one queue file, whichever transport and event loop they are on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: set[Arrival] = set()

    def expect(self) -> Arrival:
        """Register a receive that is about to look; `forget` it afterwards."""
        arrival = Arrival()
        with self._lock:
            self._waiting.add(arrival)
        return arrival

    def forget(self, arrival: Arrival) -> None:
        """Take a receive out again."""
        with self._lock:
            self._waiting.discard(arrival)

    def announce(self) -> None:
        """Wake every receive that waits."""
        with self._lock:
            waiting = tuple(self._waiting)
        for arrival in waiting:
            arrival.announce()


_lock: Final = Lock()
_known: Final[WeakValueDictionary[str, Arrivals]] = WeakValueDictionary()


def arrivals_of(key: str) -> Arrivals:
    """Give the one object of this process for a queue file."""
    with _lock:
        arrivals = _known.get(key)
        if arrivals is None:
            arrivals = _known[key] = Arrivals()
        return arrivals
