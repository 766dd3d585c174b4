"""Decodes an encoded AMQP 1.0 message, as the Functions host hands one over.

Not by the SDK: importing that takes half a second of a cold start, and it reads a message that is
cut off as a shorter one. Section 3 of the standard's messaging part has the form of a message,
section 1.6 of its types part the encodings
(https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-overview-v1.0-os.html).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import BodyDecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

_DEEPEST: Final = 32
_MOST_ELEMENTS: Final = 65_536  # as the SDKs bound them; arrays of nulls take no bytes

_CONSTANTS: Final = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_NUMBERS: Final = {
    code: Struct(">" + form)
    for code, form in {
        **{0x50: "B", 0x51: "b", 0x52: "B", 0x53: "B", 0x54: "b", 0x55: "b", 0x56: "?"},
        **{0x60: "H", 0x61: "h", 0x70: "I", 0x71: "i", 0x72: "f"},
        **{0x80: "Q", 0x81: "q", 0x82: "d", 0x83: "q"},
    }.items()
}
# Width in bits: of the exponent, and what is subtracted from it.
_DECIMALS: Final = {0x74: (32, 8, 101), 0x84: (64, 10, 398), 0x94: (128, 14, 6176)}
_SIZES: Final = (Struct(">B"), Struct(">I"))

_HEADER, _ANNOTATIONS, _PROPERTIES, _APPLICATION = 0x70, 0x72, 0x73, 0x74
_DATA, _SEQUENCE, _VALUE = 0x75, 0x76, 0x77
_TO_SKIP: Final = (0x71, 0x78)  # delivery annotations, footer

_MESSAGE_ID, _TO, _SUBJECT, _REPLY_TO, _CORRELATION_ID, _CONTENT_TYPE = 0, 2, 3, 4, 5, 6
_GROUP_ID, _REPLY_TO_GROUP_ID = 10, 12
_TIME_TO_LIVE, _DELIVERY_COUNT = 2, 4


class AmqpMessage:
    """A message with the names that the SDK's `ServiceBusReceivedMessage` has for its parts.

    Text is str and binary is bytes, in properties too.

    Raises:
        ValueError: these bytes are no whole AMQP message.
    """

    __slots__ = (
        "_annotations",
        "_body",
        "_header",
        "_kind",
        "_properties",
        "application_properties",
    )

    def __init__(self, encoded: bytes) -> None:
        self._header: list[Any] = []
        self._annotations: Mapping[Any, Any] = {}
        self._properties: list[Any] = []
        self.application_properties: Mapping[Any, Any] = {}
        self._kind, self._body = "data", b""
        try:
            for section, value in _sections(encoded):
                self._take(section, value)
        except (IndexError, KeyError, TypeError, OverflowError) as error:
            raise ValueError("not an AMQP message") from error

    def body(self) -> str | bytes:
        """Give the body: data sections joined, or a value section that holds text or bytes.

        Null is an empty body, as of a JMS message without one.

        Raises:
            BodyDecodeError: it is of another AMQP type.
        """
        if isinstance(self._body, str | bytes):
            return self._body
        if self._body is None:
            return b""
        raise BodyDecodeError(f"the body is an AMQP {self._kind} that is no text")

    @property
    def message_id(self) -> Any:
        """The sender's id: text, binary, a number or a UUID."""
        return self._property(_MESSAGE_ID)

    @property
    def session_id(self) -> Any:
        """The session."""
        return self._property(_GROUP_ID)

    @property
    def correlation_id(self) -> Any:
        """The sender's correlation id, of the same types as the message id."""
        return self._property(_CORRELATION_ID)

    @property
    def content_type(self) -> Any:
        """What the sender says that the body is."""
        return self._property(_CONTENT_TYPE)

    @property
    def subject(self) -> Any:
        """The label."""
        return self._property(_SUBJECT)

    @property
    def to(self) -> Any:
        """The address to which the sender sent it."""
        return self._property(_TO)

    @property
    def reply_to(self) -> Any:
        """Where an answer goes."""
        return self._property(_REPLY_TO)

    @property
    def reply_to_session_id(self) -> Any:
        """The session of an answer."""
        return self._property(_REPLY_TO_GROUP_ID)

    @property
    def delivery_count(self) -> Any:
        """Deliveries so far, as the header has them; 0 where it has none."""
        return _at(self._header, _DELIVERY_COUNT) or 0

    @property
    def time_to_live(self) -> timedelta | None:
        """How long it may wait."""
        milliseconds = _at(self._header, _TIME_TO_LIVE)
        return None if milliseconds is None else timedelta(milliseconds=milliseconds)

    @property
    def sequence_number(self) -> Any:
        """The queue's own number of it."""
        return self._annotations.get("x-opt-sequence-number")

    @property
    def enqueued_time_utc(self) -> datetime | None:
        """When it was sent."""
        return _time(self._annotations.get("x-opt-enqueued-time"))

    @property
    def locked_until_utc(self) -> datetime | None:
        """When its lock ends."""
        return _time(self._annotations.get("x-opt-locked-until"))

    def _property(self, at: int) -> Any:
        return _at(self._properties, at)

    def _take(self, section: int, value: Any) -> None:
        if section == _DATA:
            self._body = self._body + _must(value, bytes)
        elif section == _VALUE:
            self._kind, self._body = "value", value
        elif section == _SEQUENCE:
            self._kind, self._body = "sequence", _must(value, list)
        elif section == _HEADER:
            self._header = _must(value, list)
        elif section == _PROPERTIES:
            self._properties = _must(value, list)
        elif section == _ANNOTATIONS:
            self._annotations = _must(value, dict)
        elif section == _APPLICATION:
            self.application_properties = _must(value, dict)
        elif section not in _TO_SKIP:
            raise ValueError("not an AMQP message")


def _must(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError("not an AMQP message")
    return value


def _at(values: list[Any], at: int) -> Any:
    return values[at] if at < len(values) else None


def _time(milliseconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):  # none, or one that no calendar has
        return None


def _sections(encoded: bytes) -> list[tuple[int, Any]]:
    found, read = [], _Reader(encoded)
    while read.at < len(encoded):
        if encoded[read.at] != 0:
            raise ValueError("not an AMQP message")
        read.at += 1
        section = read.value(0)
        found.append((section, read.value(0)))
    return found


class _Reader:
    """Reads one value after the other."""

    __slots__ = ("_encoded", "at")

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self.at = 0

    def value(self, depth: int) -> Any:
        """Read the value that begins here, and stand behind it."""
        code = self._encoded[self.at]
        self.at += 1
        return self._of(code, depth)

    def _of(self, code: int, depth: int) -> Any:
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS:
            form = _NUMBERS[code]
            return form.unpack(self._next(form.size))[0]
        kind, wide = code & 0xEF, code >> 4 & 1
        if kind in _VARIABLE:
            return _VARIABLE[kind](self._next(self._size(wide)))
        if code in _DECIMALS:
            return _decimal(self._next(_DECIMALS[code][0] // 8), *_DECIMALS[code])
        if code in _FIXED:
            size, convert = _FIXED[code]
            return convert(self._next(size))
        return self._compound(code, kind, wide, depth + 1)

    def _compound(self, code: int, kind: int, wide: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deep")
        if code == 0x00:  # described: the value counts, whatever it is called
            self.value(depth)
            return self.value(depth)
        if code == 0x45:
            return []
        if kind not in (0xC0, 0xC1, 0xE0):
            raise ValueError("no type of AMQP")
        end = self._size(wide) + self.at
        count = self._size(wide)
        if end > len(self._encoded) or count > _MOST_ELEMENTS:
            raise ValueError("cut off, or too many elements")
        values = self._array(count, depth) if kind == 0xE0 else self._several(count, depth)
        if self.at != end or (kind == 0xC1 and count % 2):
            raise ValueError("not as long as it says")
        return dict(zip(values[::2], values[1::2], strict=True)) if kind == 0xC1 else values

    def _several(self, count: int, depth: int) -> list[Any]:
        return [self.value(depth) for _ in range(count)]

    def _array(self, count: int, depth: int) -> list[Any]:
        code = self._next(1)[0]
        if code == 0x00:
            self.value(depth)
            code = self._next(1)[0]
        return [self._of(code, depth) for _ in range(count)]

    def _size(self, wide: int) -> int:
        form = _SIZES[wide]
        size: int = form.unpack(self._next(form.size))[0]
        return size

    def _next(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self._encoded):
            raise ValueError("cut off")
        return self._encoded[start : self.at]


def _decimal(encoded: bytes, bits: int, width: int, bias: int) -> Decimal:
    """Read a decimal of IEEE 754 whose coefficient is a binary integer."""
    from decimal import Decimal  # few send any

    number, mask = int.from_bytes(encoded, "big"), (1 << width) - 1
    sign, shift = number >> (bits - 1), bits - 1 - width
    top = number >> (bits - 6) & 0b11111
    if top >= 0b11110:
        return Decimal("NaN") if top & 1 else Decimal("-Infinity" if sign else "Infinity")
    coefficient = number & ((1 << shift) - 1)
    if top >= 0b11000:  # two bits of the coefficient are not written down
        shift -= 2
        coefficient = 0b100 << shift | number & ((1 << shift) - 1)
    exponent = (number >> shift & mask) - bias
    return Decimal((sign, tuple(map(int, str(coefficient))), exponent))


def _uuid(encoded: bytes) -> Any:
    from uuid import UUID

    return UUID(bytes=encoded)


_VARIABLE: Final[Mapping[int, Callable[[bytes], Any]]] = {
    0xA0: lambda encoded: encoded,
    0xA1: bytes.decode,
    0xA3: bytes.decode,
}
_FIXED: Final[Mapping[int, tuple[int, Callable[[bytes], Any]]]] = {
    0x73: (4, lambda encoded: encoded.decode("utf-32-be")),
    0x98: (16, _uuid),
}
