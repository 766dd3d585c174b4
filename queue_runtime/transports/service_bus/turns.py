"""Who may use a receiver's connection: one poll, or any number of requests that wait for answers.

The SDK reads and writes under one lock, and a poll that waits for messages holds it: a settlement
beside it takes a hundred times as long as one after it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.transports.service_bus import sdk_internals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# The SDK advises polls of 5 seconds or more, so that a lost link can come back within one.
POLL_SECONDS: Final = 5.0
# Where a private name of the SDK is missing, so that a poll cannot be ended, it has to end soon.
_SHORT_POLL_SECONDS: Final = 0.25
# Messages that are there come within so long of each other, and a lot of them within so long.
_GAP_SECONDS: Final = 0.05
_LONGEST_LOT_SECONDS: Final = 1.0


class Turns:
    """Turns on one connection. Requests go first: a poll that has got nothing yet makes way."""

    def __init__(self) -> None:
        self._requests = 0
        self._quiet = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._quiet.set()
        self.ending = False

    @asynccontextmanager
    async def poll(self) -> AsyncIterator[None]:
        """Have the connection for one poll."""
        while self._requests:
            await self._quiet.wait()
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Have the connection together with other requests."""
        self._requests += 1
        self._quiet.clear()
        try:
            await self._free.wait()
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._quiet.set()

    def is_wanted(self) -> bool:
        """Tell a poll that somebody waits for it to end."""
        return self.ending or self._requests > 0


def make_interruptible(receiver: Any, is_wanted: Callable[[], bool]) -> float:
    """Let polls of an open receiver end when they are to; gives how long one may last.

    They also end once messages have come and then none for a moment, where the SDK would wait for a
    fifth of a second from the first message on, however fast or slow the others follow.
    """
    client = sdk_internals.client_of(receiver)
    work, arrived = sdk_internals.work_of(client), sdk_internals.arrived_of(client)
    if work is None or arrived is None:
        return _SHORT_POLL_SECONDS
    patience = sdk_internals.read_patience(client)
    sdk_internals.lengthen_lots(receiver, _LONGEST_LOT_SECONDS)

    async def work_while_it_helps(**options: Any) -> bool:
        before = arrived()
        if is_wanted() and not before:
            return False  # what it gives when the connection is to be read no more
        sdk_internals.wait_for_reads(client, _GAP_SECONDS if before else patience)
        going_on = await work(**options)
        return going_on and not (before and arrived() == before)

    sdk_internals.replace_work(client, work_while_it_helps)
    return POLL_SECONDS


async def revoke_credit(receiver: Any) -> None:
    """Tell the service to push nothing more before the next poll asks for it."""
    sdk_internals.keep_arrivals(receiver, keep=False)
    with suppress(Exception):  # a connection that is broken pushes nothing either
        await sdk_internals.ask_for_nothing(receiver)
