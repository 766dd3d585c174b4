"""Keeps the locks of held messages alive, from a thread that no handler can hold up."""

from __future__ import annotations

import asyncio
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

from queue_runtime.errors import LockLostError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.in_flight import InFlight
    from queue_runtime.transports.base import Transport


_LONGEST_PAUSE: Final = 1.0
_SWEEPS_PER_LOCK: Final = 6


class LockRenewal:
    """Renews every held message, running or waiting, once half of its lock has passed.

    A renewal that fails is tried again at the next sweep and never stops the worker. A message
    whose lock ended all the same is told so on `loop`.
    """

    def __init__(
        self, transport: Transport, in_flight: InFlight, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._in_flight = in_flight
        self._loop = loop
        self._stop = Event()
        self._thread = Thread(target=self._run, name="queue-runtime-lock-renewal", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def close(self) -> None:
        """Stop sweeping; a renewal under way is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        pause = min(_LONGEST_PAUSE, self._transport.lock_seconds / _SWEEPS_PER_LOCK)
        with asyncio.Runner() as runner:
            while not self._stop.wait(pause):
                try:
                    runner.run(self.sweep())
                except Exception as error:
                    self._failed(type(error).__name__)

    async def sweep(self) -> None:
        """Look at every held message once: renew it, leave it, or report it lost."""
        now, half = monotonic(), self._transport.lock_seconds / 2
        due = []
        for held in self._in_flight.all():
            if held.lost:
                continue
            if held.stale():
                self._lost(held)
            elif held.message.locked_until - now <= half:
                due.append(held)
        size = self._transport.batch_size
        # At the same time: one request that is not answered must not cost the others their locks.
        chunks = (due[start : start + size] for start in range(0, len(due), size))
        await asyncio.gather(*(self._renew(chunk) for chunk in chunks))

    async def _renew(self, messages: Sequence[HeldMessage]) -> None:
        by_message = {id(held.message): held for held in messages}
        limit = self._transport.lock_seconds / 3
        try:
            async with asyncio.timeout(limit):
                failures = await self._transport.renew([held.message for held in messages])
        except Exception as error:  # a transport's own bug is as good a reason to try again
            self._failed(type(error).__name__)
            return
        for failure in failures:
            if isinstance(failure.error, LockLostError):
                self._lost(by_message[id(failure.message)])
            else:
                self._failed(type(failure.error).__name__)

    def _lost(self, held: HeldMessage) -> None:
        self._loop.call_soon_threadsafe(held.lose)

    def _failed(self, kind: str) -> None:
        queue = self._transport.queue
        metrics.ERRORS.add(1, queue, f"renew:{kind}")
        text = "a lock of %s could not be renewed (%s); it is tried again"
        events.warning(queue, "renew", text, queue, kind)
