"""Sends to one Service Bus queue or topic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.clouds.azure import CALL_SECONDS
from queue_runtime.errors import TransportError
from queue_runtime.transports.base import SendResult
from queue_runtime.transports.service_bus.errors import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.transports.base import OutgoingMessage
    from queue_runtime.transports.service_bus.reconnecting_sender import Clients

_INT32: Final = 2**31
_INT64: Final = 2**63


class ServiceBusSender:
    """Sends from any thread, over one connection that lives on a thread and event loop of its own.

    The SDK's client belongs to one loop, and its blocking twin can wait for ever on a peer that is
    silent; here every send ends within `seconds`.

    Args:
        entity: the queue's or topic's name.
        make_client: makes the SDK's asyncio client, when the first message is sent.
        seconds: how long a send may take, connecting included.
    """

    def __init__(self, entity: str, make_client: Clients, *, seconds: float = CALL_SECONDS) -> None:
        # asyncio is loaded with the first sender, not with a Functions app that delays nothing.
        from queue_runtime.transports.service_bus.loop_thread import LoopThread
        from queue_runtime.transports.service_bus.reconnecting_sender import ReconnectingSender

        self.entity = entity
        self._sender = ReconnectingSender(entity, make_client, seconds=seconds)
        self._thread = LoopThread("service-bus")

    def send_now(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        """Send messages one by one, waiting for it; never from an event loop."""
        return self._thread.start(self._send(messages)).result()

    async def send(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        """Send messages one by one, in their order."""
        return await self._thread.run(self._send(messages))

    def close(self) -> None:
        """Release connection and thread; a later send makes them again."""
        self._thread.close(self._sender.close)

    async def _send(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        return [await self._attempt(message) for message in messages]

    async def _attempt(self, message: OutgoingMessage) -> SendResult:
        try:
            native = service_bus_message(message)
            await self._sender.call(lambda sender: sender.send_messages(native))
        except TransportError as error:
            return SendResult(error=error)
        except Exception as error:  # what the SDK makes no message of
            return SendResult(error=translated(error, self.entity))
        return SendResult(message.deduplication_id)


def service_bus_message(message: OutgoingMessage) -> Any:
    """Build the SDK's message."""
    from azure.servicebus import ServiceBusMessage

    due = datetime.now(UTC) + timedelta(seconds=message.delay) if message.delay else None
    return ServiceBusMessage(
        message.body,
        application_properties=_sendable(message.attributes),
        session_id=message.group_id,
        message_id=message.deduplication_id,
        correlation_id=message.correlation_id,
        scheduled_enqueue_time_utc=due,
        **message.native,
    )


def _sendable(attributes: Mapping[str, Any]) -> dict[str | bytes, Any]:
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        # The SDK makes text of bytes, and fails on those that are none, unless it is told.
        return value if _is_text(value) else {"TYPE": "BINARY", "VALUE": value}
    if isinstance(value, bool | float | str) or value is None:
        return value
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        # The SDK takes every int for an AMQP int of 32 bits, unless it is told.
        short = -_INT32 <= value < _INT32
        return value if short else {"TYPE": "LONG", "VALUE": value}
    from json import dumps

    return dumps(value, default=str)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
