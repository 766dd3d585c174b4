"""One of the SDK's receivers: opened and closed within a deadline, and told from its successors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.message import Message
from queue_runtime.transports.service_bus.errors import translated
from queue_runtime.transports.service_bus.wire import RECEIVED

if TYPE_CHECKING:
    from collections.abc import Callable

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


class _Door:
    """Opens a receiver again whose connection broke: once for all requests, and never when closed.

    The SDK does it for each request by itself, and closes what another one is about to open. A
    hundred settlements under way were a hundred connections, some of which outlived the receiver.
    """

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver
        self._open, self._create = receiver._open, receiver._create_handler
        self._made: Any = None
        self._turn = asyncio.Lock()
        self.closed = False

    async def open(self, *arguments: Any, **options: Any) -> None:
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
            if made is not None and (self.closed or made is not self._receiver._handler):
                with suppress(Exception):
                    await asyncio.wait_for(made.close_async(), CLOSE_SECONDS)

    def make(self, *arguments: Any) -> None:
        self._create(*arguments)
        self._made = self._receiver._handler

    def _check(self) -> None:
        if self.closed:
            from azure.servicebus.exceptions import ServiceBusConnectionError

            raise ServiceBusConnectionError(message="the receiver was replaced by another")


async def open_receiver(receiver: Any, queue: str, seconds: float = OPEN_SECONDS) -> None:
    """Connect and attach.

    Raises:
        TransportError: it could not be done, or not in time.
    """
    with suppress(AttributeError):  # without these private names the SDK's own way remains
        receiver.door = door = _Door(receiver)
        receiver._open, receiver._create_handler = door.open, door.make
    # The SDK's own time-out does not cover a peer that accepts and stays silent.
    try:
        await asyncio.wait_for(receiver.__aenter__(), seconds)
    except BaseException as error:
        await close_receiver(receiver)
        if isinstance(error, Exception):
            raise translated(error, queue) from error
        raise


async def close_receiver(receiver: Any) -> None:
    """Let go of a receiver, whatever state it is in; what it had buffered is released."""
    if isinstance(door := getattr(receiver, "door", None), _Door):
        door.closed = True
    _stop_keep_alive(receiver)
    _have_it_drained(receiver)
    with suppress(Exception):  # it is given up, and often because it does not work
        await asyncio.wait_for(receiver.close(), CLOSE_SECONDS)


def _stop_keep_alive(receiver: Any) -> None:
    """Spare the close the second that the SDK's keep-alive sleeps before it looks around."""
    handler = getattr(receiver, "_handler", None)
    task = getattr(handler, "_keep_alive_thread", None)
    if isinstance(task, asyncio.Task):
        handler._keep_alive_thread = None  # type: ignore[union-attr]  # there, or no task was
        task.cancel()


def _have_it_drained(receiver: Any) -> None:
    """Have the close wait for what is still on its way, and release it.

    The SDK does so only where credit is left, and for a tenth of a second at our socket's pace. But
    messages that were asked for before the credit was taken back come all the same, and would stay
    locked for nobody.
    """
    with suppress(AttributeError):  # they come back with their locks' end then
        handler = receiver._handler
        handler._link.current_link_credit = max(1, handler._link.current_link_credit)
        handler._socket_timeout = _LAST_READ_SECONDS
        receiver._receive_context.set()
