"""The embedded queue: a file that several processes share, or memory of this one; no cloud."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.settlement.plan import Abilities
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.errors import BUSY_SECONDS
from queue_runtime.transports.local.queue import MOST_AT_ONCE, LocalQueue
from queue_runtime.transports.threads import JobThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.config import Settings
    from queue_runtime.message import Message
    from queue_runtime.settlement.failures import SettleFailure
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import (
        Depth,
        OutgoingMessage,
        SendResult,
    )
    from queue_runtime.transports.local.address import LocalAddress
    from queue_runtime.transports.local.queue import Clock

# How soon a waiting receive sees what another process has sent, or what has become due.
LOOK_EVERY_SECONDS: Final = 0.05

_OF_DEAD_LETTERS: Final = Abilities(no_dead_letter="it is in the dead-letter queue")


def open_local(url: str, settings: Settings, handler: str = "") -> LocalTransport:
    """Open the queue of a `local://` URL, by the settings where the URL does not say it.

    Raises:
        QueueNotFoundError: the URL names no local queue.
        TransportError: the file cannot be used; the text says what to do.
    """
    return LocalTransport(
        read_address(url, settings.local_directory),
        lock_seconds=settings.visibility_seconds,
        handler=handler,
        error_text=settings.error_text,
    )


class LocalTransport:
    """One local queue, or its dead-letters; the file is opened, and made, at once.

    Args:
        address: which queue, and how it behaves.
        lock_seconds: how long a receive locks a message, where the address does not say it.
        handler: the handler's name, for dead-letter entries.
        error_text: whether an exception's own text may be in them.
        clock: what tells the time; tests have one that they move.

    Raises:
        TransportError: the file cannot be used; the text says what to do.
    """

    system = "local"
    place = None  # a file, which has no server

    def __init__(
        self,
        address: LocalAddress,
        *,
        lock_seconds: float = 300.0,
        handler: str = "",
        error_text: bool = True,
        clock: Clock = time,
    ) -> None:
        self.queue = address.queue
        self.lock_seconds = lock_seconds if address.lock is None else address.lock
        self._queue = LocalQueue(
            address,
            lock_seconds=self.lock_seconds,
            handler=handler,
            error_text=error_text,
            clock=clock,
        )
        self.ordered = self._queue.ordered
        self.batch_size = MOST_AT_ONCE
        self.abilities = _OF_DEAD_LETTERS if address.dead_letters else Abilities()
        # One, since a database takes one writer at a time; an end may have to wait for another's.
        self._thread = JobThreads(f"local queue {self.queue}", end_seconds=2 * BUSY_SECONDS)
        self._closing = False

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        """Lock and give at most `limit` messages, and at most 100; see `Transport.receive`.

        Sends of this process end the wait at once, those of others within 50 ms.
        """
        # Not the queue's own clock: under one that a test has stopped, it would wait for ever.
        deadline = time.monotonic() + wait
        while True:
            arrival = self._queue.arrivals.expect()
            try:
                messages = await self._thread.run_cancellable(
                    partial(self._take, limit), self._queue.give_back
                )
                left = deadline - time.monotonic()
                if messages or left <= 0:
                    return messages
                await arrival.wait(min(left, LOOK_EVERY_SECONDS))
            finally:
                self._queue.arrivals.forget(arrival)
            if self._closing:
                return []

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        """Carry steps out, all in one transaction; see `Transport.settle`."""
        return await self._thread.run(partial(self._queue.settle, steps)) if steps else []

    async def renew(self, messages: Sequence[Message[Any]]) -> Sequence[SettleFailure]:
        """Lock messages anew, all in one transaction; see `Transport.renew`."""
        return await self._thread.run(partial(self._queue.renew, messages))

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        """Send all that can be sent, in one transaction; see `Transport.send`.

        A `deduplication_id` that was sent within the last 5 minutes is accepted and sends nothing.
        """
        return await self._thread.run(partial(self._queue.send, messages))

    async def depth(self) -> Depth:
        """Count what is in the queue now."""
        return await self._thread.run(self._queue.depth)

    async def purge(self) -> int:
        """Remove everything from this queue, locked or not, and tell how much it was."""
        return await self._thread.run(self._queue.purge)

    async def aclose(self) -> None:
        """End this transport's thread and its waiting receives; what is locked stays locked."""
        self._closing = True
        self._queue.arrivals.announce()
        await self._thread.aclose(self._queue.close)

    def _take(self, limit: int) -> list[Message[Any]]:
        return [] if self._closing else self._queue.take(limit)
