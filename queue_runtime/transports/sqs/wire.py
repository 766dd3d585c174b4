"""Reads and writes SQS's forms of a message: in a Lambda event, a receive and a send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import BodyDecodeError
from queue_runtime.settlement.lineage import (
    ATTRIBUTE,
    NOTHING_CARRIED,
    Carried,
    read_carried,
    read_dead_letter,
)
from queue_runtime.untrusted import number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from queue_runtime.message import DeadLetterRecord, Message

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MOST_ATTRIBUTES: Final = 10
LARGEST_MESSAGE: Final = 1024 * 1024

# The last millisecond that a datetime can tell.
_END_OF_TIME_MS: Final = 253_402_300_799_999


class SqsWire:
    """Reads one of the two shapes in which SQS gives a message; they differ in their keys.

    Numbers are given as int, or float where they have a fraction; binary values as bytes.
    """

    __slots__ = ("_attributes", "_binary", "_body", "_id", "_receipt", "_system", "_text", "_type")

    def __init__(self, *, capitals: bool) -> None:
        def key(name: str) -> str:
            return name if capitals else name[0].lower() + name[1:]

        self._id, self._body, self._receipt = key("MessageId"), key("Body"), key("ReceiptHandle")
        self._attributes, self._system = key("MessageAttributes"), key("Attributes")
        self._text, self._binary, self._type = (
            key("StringValue"),
            key("BinaryValue"),
            key("DataType"),
        )

    def id(self, raw: Any) -> str:
        """Give the original id where a copy carries one, else SQS's."""
        item = (raw.get(self._attributes) or {}).get(ATTRIBUTE)
        carried = read_carried(item.get(self._text)).id if item else None
        return carried or str(raw[self._id])

    def broker_id(self, raw: Any) -> str:
        """Give SQS's id of this copy."""
        return str(raw[self._id])

    def payload(self, raw: Any) -> str:
        """Give the body, which SQS has as text.

        Raises:
            BodyDecodeError: an attribute cannot be read; it would break the handler's own loop.
        """
        if not self.is_plain(raw):
            self._check(raw[self._attributes])
        return self.body(raw)

    def is_plain(self, raw: Any) -> bool:
        """Whether every attribute is text, so that there is none that could not be read."""
        sent, kind = raw.get(self._attributes), self._type
        if not sent:
            return True
        try:
            for item in sent.values():
                if item[kind] != "String":
                    return False
        except (AttributeError, KeyError, TypeError):
            return False
        return True

    def body(self, raw: Any) -> str:
        """Give the body, whatever the attributes are."""
        body: str = raw[self._body]
        return body

    def attributes(self, raw: Any) -> Mapping[str, Any]:
        """Decode the producer's attributes.

        Raises:
            BodyDecodeError: a value does not fit its own data type.
        """
        sent = raw.get(self._attributes) or {}
        return {name: self._value(item) for name, item in sent.items() if name != ATTRIBUTE}

    def group_id(self, raw: Any) -> str | None:
        """Give the message group, of a FIFO queue or of a fair standard one."""
        group: str | None = self._of_system(raw, "MessageGroupId")
        return group

    def correlation_id(self, raw: Any) -> str | None:
        """Give the attribute `correlation_id`, which is how SQS producers send one."""
        item = (raw.get(self._attributes) or {}).get("correlation_id") or {}
        text: str | None = item.get(self._text)
        return text

    def delivery_count(self, raw: Any) -> int:
        """Add SQS's receive count, which starts at 1, to the attempts of earlier copies."""
        received = whole_number(self._of_system(raw, "ApproximateReceiveCount"), least=1)
        return self._carried(raw).attempts + (received or 1)

    def enqueued_at(self, raw: Any) -> datetime | None:
        """Give the time of the send, to the millisecond."""
        sent = self.sent_at(raw)
        if sent is None:
            return None
        from datetime import UTC, datetime

        return datetime.fromtimestamp(sent, UTC)

    def sent_at(self, raw: Any) -> float | None:
        """Give the time of the send in seconds; cheaper than `enqueued_at`, for metrics."""
        sent = whole_number(self._of_system(raw, "SentTimestamp"), most=_END_OF_TIME_MS)
        return None if sent is None else sent / 1000

    def receipt(self, raw: Any) -> Any:
        """Give the receipt handle, which is good for this receive only."""
        return raw[self._receipt]

    def dead_letter(self, raw: Any) -> DeadLetterRecord | None:
        """Give what our attribute says of the failure."""
        item = (raw.get(self._attributes) or {}).get(ATTRIBUTE)
        return read_dead_letter(item.get(self._text)) if item else None

    def copied_attributes(self, raw: Any) -> dict[str, Any]:
        """Give the producer's attributes in the form of a send, unchanged.

        Raises:
            BodyDecodeError: one cannot be read, so it cannot be copied either.
        """
        sent = raw.get(self._attributes) or {}
        return {name: self._copied(item) for name, item in sent.items() if name != ATTRIBUTE}

    def trace_header(self, raw: Any) -> str | None:
        """Give the X-Ray header, which counts neither as an attribute nor as size."""
        header: str | None = self._of_system(raw, "AWSTraceHeader")
        return header

    def _check(self, sent: Any) -> None:
        try:
            for item in sent.values():
                if not (item.get(self._type) or "String").startswith("String"):
                    self._value(item)
        except (AttributeError, TypeError):
            raise BodyDecodeError("an attribute is not of the form that SQS gives it") from None

    def _of_system(self, raw: Any, name: str) -> Any:
        return (raw.get(self._system) or {}).get(name)

    def _carried(self, raw: Any) -> Carried:
        item = (raw.get(self._attributes) or {}).get(ATTRIBUTE)
        return read_carried(item.get(self._text)) if item else NOTHING_CARRIED

    def _value(self, item: Any) -> Any:
        kind = item.get(self._type) or "String"
        if kind.startswith("Binary"):
            return self._bytes(item)
        text = item.get(self._text)
        if not kind.startswith("Number"):
            return text
        try:
            return number(text)
        except ValueError:
            raise BodyDecodeError("a number attribute is not a number") from None

    def _copied(self, item: Any) -> dict[str, Any]:
        kind = item.get(self._type) or "String"
        if kind.startswith("Binary"):
            return {"DataType": kind, "BinaryValue": self._bytes(item)}
        return {"DataType": kind, "StringValue": item.get(self._text)}

    def _bytes(self, item: Any) -> bytes:
        value = item.get(self._binary)
        if isinstance(value, bytes):
            return value
        from base64 import b64decode

        try:
            return b64decode(value, validate=True)
        except (TypeError, ValueError):
            raise BodyDecodeError("a binary attribute is not base64") from None


LAMBDA_RECORD: Final = SqsWire(capitals=False)
RECEIVED_MESSAGE: Final = SqsWire(capitals=True)


def copy_of(
    message: Message[Any], wire: SqsWire, facts: Iterable[str], *, fifo: bool
) -> dict[str, Any] | None:
    """Build the send entry of a copy with the first of `facts` that fits, or None if none does.

    It has the original body (as it was in its envelope), attributes and trace header. To a FIFO
    queue it goes in the same group, with the broker's id against a send that is repeated.
    """
    try:
        attributes = wire.copied_attributes(message.native)
    except BodyDecodeError:
        return None
    body = wire.body(message.native)
    entry: dict[str, Any] = {"MessageBody": body, "MessageAttributes": attributes}
    header = wire.trace_header(message.native)
    if header:
        entry["MessageSystemAttributes"] = {
            "AWSTraceHeader": {"DataType": "String", "StringValue": header}
        }
    if message.group_id or fifo:
        entry["MessageGroupId"] = message.group_id or message.id
    if fifo:
        # Not the original's: a message that is redriven and fails again within five minutes would
        # be taken for its earlier dead-letter, and be lost.
        entry["MessageDeduplicationId"] = message.broker_id
    if len(attributes) >= MOST_ATTRIBUTES:
        return None
    return _with_first_that_fits(entry, facts)


def _with_first_that_fits(entry: dict[str, Any], facts: Iterable[str]) -> dict[str, Any] | None:
    room = LARGEST_MESSAGE - entry_size(entry)
    for text in facts:
        value = {"DataType": "String", "StringValue": text}
        if _attribute_size(ATTRIBUTE, value) <= room:
            entry["MessageAttributes"][ATTRIBUTE] = value
            return entry
    return None


def entry_size(entry: Mapping[str, Any]) -> int:
    """Count a send entry's bytes as SQS does: the body, and name, type and value of attributes."""
    attributes = entry.get("MessageAttributes") or {}
    return len(entry["MessageBody"].encode()) + sum(
        _attribute_size(name, value) for name, value in attributes.items()
    )


def _attribute_size(name: str, value: Mapping[str, Any]) -> int:
    content = value.get("StringValue", value.get("BinaryValue")) or b""
    raw = content.encode() if isinstance(content, str) else content
    return len(name.encode()) + len(value["DataType"]) + len(raw)
