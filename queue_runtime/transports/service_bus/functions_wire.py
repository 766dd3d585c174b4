"""A message as the Functions host hands it over whole: a lock token and the AMQP message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from queue_runtime.errors import BodyDecodeError
from queue_runtime.transports.service_bus.amqp_message import AmqpMessage
from queue_runtime.transports.service_bus.wire import ReceivedWire

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

_TOKEN_LENGTH: Final = 16


class Delivery:
    """One message, decoded on first use.

    Args:
        content: the lock token's 16 bytes in .NET's order, then the encoded message.
    """

    def __init__(self, content: bytes) -> None:
        self._token = content[:_TOKEN_LENGTH]
        self.amqp = content[_TOKEN_LENGTH:]
        self._decoded = False
        self._message: AmqpMessage | None = None

    @property
    def lock_token(self) -> str:
        """What the host wants back when the message is settled."""
        return str(UUID(bytes_le=self._token))

    @property
    def message(self) -> AmqpMessage | None:
        """The message, or None where it is no AMQP message."""
        if not self._decoded:
            self._decoded = True
            try:
                self._message = AmqpMessage(self.amqp)
            except ValueError:  # this message alone is poison
                self._message = None
        return self._message

    @property
    def received(self) -> ServiceBusReceivedMessage:
        """The SDK's own message, for what `Message` does not cover; made anew each time.

        Raises:
            ValueError: it is no AMQP message.
        """
        from azure.servicebus import ServiceBusReceivedMessage

        return ServiceBusReceivedMessage.from_bytes(self.amqp)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.amqp)} bytes>"


class DeliveryWire(ReceivedWire):
    """Reads a `Delivery`."""

    __slots__ = ()

    # The host's own SDK has added this delivery before the message is encoded again for us.
    first_count = 1

    def payload(self, raw: Any) -> str | bytes:
        """Give the body.

        Raises:
            BodyDecodeError: it is no AMQP message, or its body is of another AMQP type.
        """
        message: AmqpMessage | None = raw.message
        if message is None:
            raise BodyDecodeError("it is not an AMQP message")
        return message.body()

    def receipt(self, raw: Any) -> str:
        """Give the lock token."""
        token: str = raw.lock_token
        return token

    def _sdk(self, raw: Any) -> Any:
        return raw.message


class LockedWire(ReceivedWire):
    """Reads the SDK's message where it comes from the host, which settles it by its lock token."""

    __slots__ = ()

    first_count = 1

    def receipt(self, raw: Any) -> str:
        """Give the lock token."""
        return str(raw.lock_token)


DELIVERY: Final = DeliveryWire()
LOCKED: Final = LockedWire()
