"""A message as the Functions host hands it over whole: a lock token and the AMQP message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from queue_runtime.errors import BodyDecodeError
from queue_runtime.transports.service_bus.wire import ReceivedWire

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

_TOKEN_LENGTH: Final = 16
_SMALL, _LARGE, _EMPTY_LIST = (0xA0, 0xC0, 0xC1), (0xB0, 0xD0, 0xD1), 0x45
_DATA, _SEQUENCE, _VALUE = 0x75, 0x76, 0x77


class Delivery:
    """One message of a batch; decoded by the SDK when anything but its body is asked for.

    Decoding all of it takes 20 us, and the first time half a second to import the SDK.

    Args:
        content: the lock token's 16 bytes in .NET's order, then the encoded message.
    """

    def __init__(self, content: bytes) -> None:
        self._token = content[:_TOKEN_LENGTH]
        self.amqp = content[_TOKEN_LENGTH:]
        self._received: ServiceBusReceivedMessage | None = None
        self._decoded = False

    @property
    def lock_token(self) -> str:
        """What the host wants back when the message is settled."""
        return str(UUID(bytes_le=self._token))

    @property
    def received(self) -> ServiceBusReceivedMessage | None:
        """The SDK's own message, or None where it is no AMQP message."""
        if not self._decoded:
            from azure.servicebus import ServiceBusReceivedMessage

            self._decoded = True
            try:
                self._received = ServiceBusReceivedMessage.from_bytes(self.amqp)
            except Exception:  # whatever is wrong with it, this message alone is poison
                self._received = None
        return self._received

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.amqp)} bytes>"


class DeliveryWire(ReceivedWire):
    """Reads a `Delivery`: the body at once, the rest by way of the SDK."""

    __slots__ = ()

    # The host's own SDK has added this delivery before the message is encoded again for us.
    first_count = 1

    def payload(self, raw: Any) -> str | bytes:
        """Give the body.

        Raises:
            BodyDecodeError: it is no AMQP message, or its body is of another AMQP type.
        """
        data = data_of(raw.amqp)
        if data is not None:
            return data
        if raw.received is None:
            raise BodyDecodeError("it is not an AMQP message")
        return super().payload(raw)

    def receipt(self, raw: Any) -> str:
        """Give the lock token."""
        token: str = raw.lock_token
        return token

    def _sdk(self, raw: Any) -> Any:
        return raw.received


class LockedWire(ReceivedWire):
    """Reads the SDK's message where it comes from the host, which settles it by its lock token."""

    __slots__ = ()

    first_count = 1

    def receipt(self, raw: Any) -> str:
        """Give the lock token."""
        return str(raw.lock_token)


DELIVERY: Final = DeliveryWire()
LOCKED: Final = LockedWire()


def data_of(amqp: bytes) -> bytes | None:
    """Find an encoded message's data without decoding what is before it.

    None where the body is no data, or is written in a way that the SDK has to read.
    """
    try:
        parts = _data_sections(amqp)
    except IndexError:
        return None
    if parts is None:
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _data_sections(amqp: bytes) -> list[bytes] | None:
    at, end = 0, len(amqp)
    parts: list[bytes] = []
    while at < end:
        section, code = amqp[at + 2], amqp[at + 3]
        at += 4
        if code in _SMALL:
            start, stop = at + 1, at + 1 + amqp[at]
        elif code in _LARGE:
            start = at + 4
            stop = start + int.from_bytes(amqp[at:start], "big")
        elif code == _EMPTY_LIST:
            start = stop = at
        else:
            return None
        if stop > end or section in (_SEQUENCE, _VALUE):
            return None
        if section == _DATA:
            parts.append(amqp[start:stop])
        at = stop
    return parts
