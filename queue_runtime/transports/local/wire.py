"""Writes a message as a row of a local queue, and reads it back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from json import dumps, loads
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from queue_runtime.errors import TransportError
from queue_runtime.settlement.lineage import (
    ATTRIBUTE,
    NOTHING_CARRIED,
    Carried,
    read_carried,
    read_dead_letter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from queue_runtime.message import DeadLetterRecord
    from queue_runtime.transports.base import OutgoingMessage

# The positions of what local_schema's statements select.
SEQ, TOKEN, RECEIVES, ID, SENT, GROUP, CORRELATION, BODY, ATTRIBUTES, FACTS, DUE = range(11)

_LONGEST_ID: Final = 128


class LocalWire:
    """Reads a row; each field on first use."""

    __slots__ = ()

    def id(self, raw: Any) -> str:
        """Give the original id where a copy carries one, else the one made at the send."""
        return self._carried(raw).id or self.broker_id(raw)

    def broker_id(self, raw: Any) -> str:
        """Give the id that was made at the send."""
        return str(raw[ID])

    def payload(self, raw: Any) -> str | bytes:
        """Give the body as it was sent."""
        body: str | bytes = raw[BODY]
        return body

    def attributes(self, raw: Any) -> Mapping[str, Any]:
        """Decode the producer's attributes."""
        return decode_attributes(raw[ATTRIBUTES])

    def group_id(self, raw: Any) -> str | None:
        """Give the message group."""
        group: str | None = raw[GROUP]
        return group

    def correlation_id(self, raw: Any) -> str | None:
        """Give the producer's correlation id."""
        correlation: str | None = raw[CORRELATION]
        return correlation

    def delivery_count(self, raw: Any) -> int:
        """Add this queue's receives, counted as they happen, to the attempts of earlier copies."""
        received: int = raw[RECEIVES]
        return self._carried(raw).attempts + received

    def enqueued_at(self, raw: Any) -> datetime | None:
        """Give the time of the send."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(raw[SENT], UTC)

    def receipt(self, raw: Any) -> tuple[int, int]:
        """Give the row and the token of this receive, which no other receive has."""
        return raw[SEQ], raw[TOKEN]

    def dead_letter(self, raw: Any) -> DeadLetterRecord | None:
        """Give what our attribute says of the failure."""
        facts = raw[FACTS]
        return read_dead_letter(facts) if facts else None

    def _carried(self, raw: Any) -> Carried:
        facts = raw[FACTS]
        return read_carried(facts) if facts else NOTHING_CARRIED


ROW: Final = LocalWire()


class Entry(NamedTuple):
    """A checked message on its way into the table."""

    id: str
    delay: float
    group_id: str | None
    correlation_id: str | None
    deduplication_id: str | None
    body: str | bytes
    attributes: str | None
    facts: str | None


def entry_of(message: OutgoingMessage, *, ordered: bool) -> Entry:
    """Check a message and write it down.

    Raises:
        TransportError: the queue cannot take it; the text says what to change.
    """
    if ordered and message.group_id is None:
        raise TransportError("an ordered queue needs a group_id with every message: send one")
    if not 0 <= message.delay < float("inf"):
        raise TransportError(f"delay is seconds, 0 or more, not {message.delay!r}")
    facts = message.attributes.get(ATTRIBUTE)
    return Entry(
        uuid4().hex,
        message.delay,
        _name("group_id", message.group_id),
        _text("correlation_id", message.correlation_id),
        _name("deduplication_id", message.deduplication_id),
        _storable(message.body),
        encode_attributes(message.attributes),
        facts if isinstance(facts, str) else None,
    )


def _name(field: str, value: str | None) -> str | None:
    if value is None or (0 < len(value) <= _LONGEST_ID and value.isprintable()):
        return value
    raise TransportError(f"{field} takes 1 to {_LONGEST_ID} printable characters")


def _text(field: str, value: str | None) -> str | None:
    try:
        if value is not None:
            value.encode()
    except UnicodeEncodeError:
        raise TransportError(f"{field} has half a surrogate pair, which UTF-8 lacks") from None
    return value


def _storable(body: str | bytes) -> str | bytes:
    if isinstance(body, str):
        _text("the body", body)
        return body
    if isinstance(body, bytes):
        return body
    raise TransportError(f"a body is str or bytes, not {type(body).__name__}: encode it first")


def encode_attributes(attributes: Mapping[str, Any]) -> str | None:
    """Write attributes as JSON, without our own, which has a column for itself.

    Raises:
        TransportError: one is of a type that no queue service takes.
    """
    own = {name: _encoded(name, value) for name, value in attributes.items() if name != ATTRIBUTE}
    return dumps(own, separators=(",", ":")) if own else None


def _encoded(name: str, value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    raise TransportError(
        f"attribute {name!r} is {type(value).__name__}: str, int, bytes and finite floats can be "
        "sent"
    )


def decode_attributes(text: str | None) -> dict[str, Any]:
    """Read what `encode_attributes` wrote."""
    if text is None:
        return {}
    stored: dict[str, Any] = loads(text)
    return {
        name: b64decode(value["base64"]) if isinstance(value, dict) else value
        for name, value in stored.items()
    }
