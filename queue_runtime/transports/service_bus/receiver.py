"""One of the SDK's receivers: opened and closed within a deadline, and told from its successors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.message import Message
from queue_runtime.transports.service_bus import sdk_internals
from queue_runtime.transports.service_bus.errors import translated
from queue_runtime.transports.service_bus.wire import RECEIVED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OPEN_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 5.0
# What a poll lasts at least: the messages are a round trip away.
SHORTEST_POLL: Final = 0.2
# The SDK reads for as long as this before it lets somebody else write; 0.2 s otherwise.
SOCKET_SECONDS: Final = 0.05
# As long as a close waits, twice, for messages that are on their way.
_LAST_READ_SECONDS: Final = 0.2
_TYPICAL_LOCK: Final = 30.0


class LockClock:
    """Translates the service's times into ours, and learns how long its locks last.

    Only the management API would tell the lock's duration, and it needs further rights.

    Args:
        now: the time in UTC; tests have a service whose clock they move.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self.seconds = _TYPICAL_LOCK
        self._known = False

    def until(self, lock_end: datetime | None) -> float:
        """Give the end of a new lock on the monotonic clock."""
        if lock_end is None:
            return monotonic() + self.seconds
        left = (lock_end - self._now()).total_seconds()
        self.seconds = max(left, self.seconds) if self._known else left
        self._known = True
        return monotonic() + left


class Receipt:
    """What settling a message takes: where it came from, and what is known of its lock."""

    __slots__ = ("copied", "lost", "raw", "receiver", "source")

    def __init__(self, raw: Any, receiver: Any, source: Any) -> None:
        self.raw, self.receiver, self.source = raw, receiver, source
        self.lost = self.copied = False


def as_message(
    raw: Any, receiver: Any, source: Any, queue: str, locked_until: float
) -> Message[Any]:
    """Wrap one of the SDK's messages."""
    message: Message[Any] = Message(raw, RECEIVED, queue)
    message.receipt = Receipt(raw, receiver, source)
    message.locked_until = locked_until
    return message


class _ReopenOnce:
    """Opens a receiver again whose connection broke: once for all requests, and never when closed.

    The SDK does it for each request by itself, and closes what another one is about to open. A
    hundred settlements under way were a hundred connections, some of which outlived the receiver.
    """

    def __init__(
        self, receiver: Any, open_: Callable[..., Awaitable[None]], create: Callable[..., None]
    ) -> None:
        self._receiver = receiver
        self._open, self._create = open_, create
        self._made: Any = None
        self._turn = asyncio.Lock()
        self.closed = False

    async def open(self, *arguments: Any, **options: Any) -> None:
        """Open in the SDK's way, when it is this request's turn."""
        made = None
        try:
            async with self._turn:  # once the first succeeds, the others find nothing to do
                self._check()
                try:
                    await self._open(*arguments, **options)
                finally:
                    made = self._made
            self._check()
        finally:
            is_used = made is sdk_internals.client_of(self._receiver) and not self.closed
            if made is not None and not is_used:
                with suppress(Exception):
                    await asyncio.wait_for(made.close_async(), CLOSE_SECONDS)

    def create(self, *arguments: Any) -> None:
        """Make the client in the SDK's way, and know it: a close may have to close it too."""
        self._create(*arguments)
        self._made = sdk_internals.client_of(self._receiver)

    def _check(self) -> None:
        if self.closed:
            from azure.servicebus.exceptions import ServiceBusConnectionError

            raise ServiceBusConnectionError(message="the receiver was replaced by another")


async def open_receiver(receiver: Any, queue: str, seconds: float = OPEN_SECONDS) -> None:
    """Connect and attach.

    Raises:
        TransportError: it could not be done, or not in time.
    """
    _reopen_once(receiver)
    # The SDK's own time-out does not cover a peer that accepts and stays silent.
    try:
        await asyncio.wait_for(receiver.__aenter__(), seconds)
    except BaseException as error:
        await close_receiver(receiver)
        if isinstance(error, Exception):
            raise translated(error, queue) from error
        raise
    sdk_internals.say_what_is_missing(receiver, queue)


async def close_receiver(receiver: Any) -> None:
    """Let go of a receiver, whatever state it is in; what it had buffered is released."""
    if isinstance(reopening := getattr(receiver, "reopening", None), _ReopenOnce):
        reopening.closed = True
    client = sdk_internals.client_of(receiver)
    if client is not None:
        sdk_internals.stop_keep_alive(client)
        sdk_internals.let_close_drain(client)
        # At our socket's pace the SDK would wait a tenth of a second for what is on its way.
        sdk_internals.wait_for_reads(client, _LAST_READ_SECONDS)
    sdk_internals.keep_arrivals(receiver, keep=True)  # so that the close sees and releases them
    with suppress(Exception):  # it is given up, and often because it does not work
        await asyncio.wait_for(receiver.close(), CLOSE_SECONDS)


def _reopen_once(receiver: Any) -> None:
    opening = sdk_internals.opening_of(receiver)
    if opening is not None:
        receiver.reopening = reopening = _ReopenOnce(receiver, *opening)
        sdk_internals.replace_opening(receiver, reopening.open, reopening.create)
