"""How Service Bus messages are written down: by the Functions host, by the SDK, and in a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.errors import BodyDecodeError
from queue_runtime.settlement.lineage import (
    ATTRIBUTE,
    NOTHING_CARRIED,
    Carried,
    delayed_retry_facts,
    read_carried,
    read_dead_letter,
)
from queue_runtime.untrusted import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from queue_runtime.message import DeadLetterRecord, Message
    from queue_runtime.transports.base import OutgoingMessage

# The service takes no longer reason or description of a dead-letter.
LONGEST_TEXT: Final = 4096

# Where the service keeps why a message was dead-lettered.
_REASON: Final = "DeadLetterReason"
_DESCRIPTION: Final = "DeadLetterErrorDescription"
_NOT_THE_PRODUCERS: Final = frozenset((ATTRIBUTE, _REASON, _DESCRIPTION))

# What a copy keeps besides body, properties, session and correlation id.
_COPIED: Final = ("content_type", "subject", "to", "reply_to", "reply_to_session_id")


class ServiceBusWire(Protocol):
    """What a copy of a message is made of."""

    def payload(self, raw: Any, /) -> str | bytes:
        """Give the body, as it was in its envelope."""

    def attributes(self, raw: Any, /) -> Mapping[str, Any]:
        """Give the application properties, without ours."""

    def further(self, raw: Any, name: str, /) -> Any:
        """Give a property by the name that the SDK has for it, or None."""


class FunctionWire:
    """Reads `azure.functions.ServiceBusMessage`, for a trigger that is bound as binary.

    In a batch the host leaves empty strings out of its metadata arrays, so that later messages'
    values slide onto earlier messages; an array that is too short says nothing about any of them
    (https://github.com/Azure/Azure-Functions/issues/2084).

    Args:
        count: how many messages the batch has; None for a single message.
        slid: told the name of a field that cannot be trusted.
    """

    __slots__ = ("_count", "_slid", "_trusted")

    def __init__(
        self, count: int | None = None, slid: Callable[[str], None] = lambda name: None
    ) -> None:
        self._count = count
        self._slid = slid
        self._trusted: dict[str, bool] = {}

    def id(self, raw: Any) -> str:
        """Give the original id where a copy carries one, else the sender's."""
        return self._carried(raw).id or self.broker_id(raw)

    def broker_id(self, raw: Any) -> str:
        """Give the sender's message id, or for want of one the queue's own number."""
        return _identity(self._own(raw, "message_id"), raw.sequence_number, raw.lock_token)

    def payload(self, raw: Any) -> bytes:
        """Give the body's exact bytes."""
        body: bytes = raw.get_body() or b""
        return body

    def attributes(self, raw: Any) -> Mapping[str, Any]:
        """Give the producer's properties, in the JSON types that the host made of them."""
        sent = raw.application_properties or {}
        return {name: value for name, value in sent.items() if name not in _NOT_THE_PRODUCERS}

    def group_id(self, raw: Any) -> str | None:
        """Give the session."""
        return _text(self._own(raw, "session_id"))

    def correlation_id(self, raw: Any) -> str | None:
        """Give the sender's correlation id."""
        return _text(self._own(raw, "correlation_id"))

    def delivery_count(self, raw: Any) -> int:
        """Add the host's count, which starts at 1, to the attempts of earlier copies."""
        return self._carried(raw).attempts + (whole_number(raw.delivery_count, least=1) or 1)

    def enqueued_at(self, raw: Any) -> datetime | None:
        """Give the time of the send; the host leaves its zone, which is UTC, out."""
        return _in_utc(raw.enqueued_time_utc)

    def receipt(self, raw: Any) -> str:
        """Give the lock token."""
        return str(raw.lock_token)

    def dead_letter(self, raw: Any) -> DeadLetterRecord | None:
        """Give what the service says of the failure, our facts among it."""
        return _dead_letter_of(raw.application_properties or {})

    def further(self, raw: Any, name: str) -> Any:
        """Give another property, or None where a neighbour's might be there instead."""
        return self._own(raw, name)

    def _own(self, raw: Any, name: str) -> Any:
        if self._count is None or self._is_whole(raw, name):
            return getattr(raw, name, None)
        return None

    def _is_whole(self, raw: Any, name: str) -> bool:
        trusted = self._trusted.get(name)
        if trusted is None:
            array = (raw.metadata or {}).get(f"{_camel(name)}Array")
            trusted = not array or len(array) == self._count
            self._trusted[name] = trusted
            if not trusted:
                self._slid(name)
        return trusted

    def _carried(self, raw: Any) -> Carried:
        text = (raw.application_properties or {}).get(ATTRIBUTE)
        return read_carried(text) if text else NOTHING_CARRIED


class ReceivedWire:
    """Reads `azure.servicebus.ServiceBusReceivedMessage`, received or made by `from_bytes`.

    Property names come as bytes from the SDK, and so do values, be they text or binary: what is
    UTF-8 is given as text. A message of which the SDK cannot read what it is told by has no body
    either: it is poison.
    """

    __slots__ = ()

    # What the delivery count is on the first delivery: AMQP counts those that failed before.
    first_count = 0

    def id(self, raw: Any) -> str:
        """Give the original id where a copy carries one, else the sender's."""
        return self._carried(raw).id or self.broker_id(raw)

    def broker_id(self, raw: Any) -> str:
        """Give the sender's message id, or for want of one the queue's own number."""
        sdk = self._sdk(raw)
        return _identity(
            _read(sdk, "message_id"), _read(sdk, "sequence_number"), _read(raw, "lock_token")
        )

    def payload(self, raw: Any) -> str | bytes:
        """Give the body: data sections joined, or a value section that holds text or bytes.

        Null is an empty body, as of a JMS message without one; the SDK shows a missing body so too.

        Raises:
            BodyDecodeError: it is of another AMQP type, or something else cannot be read.
        """
        sdk = self._sdk(raw)
        for name in _TOLD_BY:
            _check(sdk, name)
        kind, body = sdk.body_type.value, sdk.body
        if kind == "data":  # a map has its keys to join, and they are not the body
            return b"".join(body)
        if kind == "value" and isinstance(body, bytes | str | None):
            return b"" if body is None else body
        raise BodyDecodeError(f"the body is an AMQP {kind} that is no text")

    def attributes(self, raw: Any) -> Mapping[str, Any]:
        """Give the producer's properties."""
        sent = _properties(self._sdk(raw))
        return {name: value for name, value in sent.items() if name not in _NOT_THE_PRODUCERS}

    def group_id(self, raw: Any) -> str | None:
        """Give the session."""
        return _text(_read(self._sdk(raw), "session_id"))

    def correlation_id(self, raw: Any) -> str | None:
        """Give the sender's correlation id."""
        return _text(_read(self._sdk(raw), "correlation_id"))

    def delivery_count(self, raw: Any) -> int:
        """Add this message's deliveries, from 1 on, to the attempts of earlier copies."""
        first = self.first_count
        count = whole_number(_read(self._sdk(raw), "delivery_count"), least=first)
        return self._carried(raw).attempts + 1 + (0 if count is None else count - first)

    def enqueued_at(self, raw: Any) -> datetime | None:
        """Give the time of the send."""
        return _in_utc(_read(self._sdk(raw), "enqueued_time_utc"))

    def receipt(self, raw: Any) -> Any:
        """Give the message itself, which is what the SDK's receiver settles."""
        return raw

    def dead_letter(self, raw: Any) -> DeadLetterRecord | None:
        """Give what the service says of the failure, our facts among it."""
        return _dead_letter_of(_properties(self._sdk(raw)))

    def further(self, raw: Any, name: str) -> Any:
        """Give another property, or None."""
        return _read(self._sdk(raw), name)

    def _sdk(self, raw: Any) -> Any:
        return raw

    def _carried(self, raw: Any) -> Carried:
        text = _properties(self._sdk(raw)).get(ATTRIBUTE)
        return read_carried(text) if text else NOTHING_CARRIED


# What a message is told by: to get one of these wrong is to take it for another message.
_TOLD_BY: Final = ("message_id", "session_id", "delivery_count", "application_properties")

SINGLE: Final = FunctionWire()
RECEIVED: Final = ReceivedWire()


def delayed_copy(message: Message[Any], wire: ServiceBusWire, delay: float) -> OutgoingMessage:
    """Build the copy that stands in for a message until it is due.

    Its own message id is new: a queue that detects duplicates would drop the original's.
    """
    from datetime import timedelta
    from uuid import uuid4

    # A function that delays nothing does not load it.
    from queue_runtime.transports.base import OutgoingMessage

    further = {name: wire.further(message.native, name) for name in _COPIED}
    life = wire.further(message.native, "time_to_live")
    if isinstance(life, timedelta) and life:  # which begins anew with the copy
        further["time_to_live"] = life
    return OutgoingMessage(
        body=wire.payload(message.native),
        attributes={**wire.attributes(message.native), ATTRIBUTE: delayed_retry_facts(message)},
        group_id=message.group_id,
        correlation_id=message.correlation_id,
        deduplication_id=str(uuid4()),
        delay=delay,
        native={name: value for name, value in further.items() if value is not None},
    )


def _dead_letter_of(properties: Mapping[str, Any]) -> DeadLetterRecord | None:
    return read_dead_letter(properties.get(_DESCRIPTION), properties.get(_REASON))


def _identity(message_id: Any, sequence_number: Any, lock_token: Any) -> str:
    if message_id is not None and message_id != "":
        return _text(message_id) or ""
    # Only the sender gives message ids; the queue's number is as good within that queue.
    return str(lock_token) if sequence_number is None else f"sequence-{sequence_number}"


def _properties(raw: Any) -> dict[str, Any]:
    sent = _read(raw, "application_properties") or {}
    return {_decoded(name): _decoded(value) for name, value in sent.items()}


def _read(raw: Any, name: str) -> Any:
    try:
        return getattr(raw, name)
    except Exception:  # a sender's strange property must not keep its message from an outcome
        return None


def _check(raw: Any, name: str) -> None:
    """Refuse what `_read` would take for absent: an id, a count or a session is never made up."""
    try:
        getattr(raw, name)
    except Exception:
        raise BodyDecodeError(f"its {name} cannot be read") from None


def _decoded(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _text(value: Any) -> str | None:
    decoded = _decoded(value)
    return None if decoded is None else str(decoded)


def _in_utc(time: datetime | None) -> datetime | None:
    if time is None or time.tzinfo is not None:
        return time
    from datetime import UTC

    return time.replace(tzinfo=UTC)


def _camel(name: str) -> str:
    return "".join(word.title() for word in name.split("_"))
