"""A message as the broker sees it: sections cut by size, read where needed, else left whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from .decode import decode, end_of, map_items
from .encode import encode, encode_map
from .errors import ProtocolError
from .types import Described, Symbol, Timestamp, UInt, ULong

if TYPE_CHECKING:
    from collections.abc import Mapping

BATCH_FORMAT: Final = 0x80013700
_HEADER, _DELIVERY, _ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA = range(0x70, 0x76)
_BODY_SECTIONS = (0x75, 0x76, 0x77, 0x78)
_SCHEDULED = Symbol("x-opt-scheduled-enqueue-time")
_MESSAGE_ID, _GROUP_ID, _PROPERTY_COUNT = 0, 10, 13
_TTL, _DELIVERY_COUNT = 2, 4


@dataclass(frozen=True, slots=True)
class Content:
    """One message; annotations and application properties keep the sender's bytes per value."""

    header: tuple[Any, ...]
    annotations: Mapping[Any, bytes]
    properties: bytes
    application: Mapping[Any, bytes]
    body: bytes
    message_id: Any = None
    session_id: str | None = None

    @property
    def ttl(self) -> float | None:
        """Seconds to live as the sender asked for, None for no limit."""
        milliseconds = self.header[_TTL]
        return milliseconds / 1000 if isinstance(milliseconds, int) else None

    @property
    def scheduled_for(self) -> float | None:
        """When the sender wants it enqueued, as seconds since the epoch."""
        raw = self.annotations.get(_SCHEDULED)
        value = decode(raw)[0] if raw else None
        return value / 1000 if isinstance(value, Timestamp) else None

    @property
    def application_properties(self) -> dict[Any, Any]:
        """The application properties, decoded."""
        return {key: decode(raw)[0] for key, raw in self.application.items()}

    @property
    def data(self) -> bytes:
        """The bytes of the data sections; a body of another kind gives what it is encoded as."""
        parts = list(_sections(self.body))
        if any(code != _DATA for code, _, _ in parts):
            return self.body
        return b"".join(decode(self.body, start)[0] for _, start, _ in parts)

    def with_application_properties(self, extra: Mapping[str, str]) -> Content:
        """A copy in which `extra` is set, as the broker does when it dead-letters."""
        added = {key: encode(value) for key, value in extra.items()}
        return replace(self, application={**self.application, **added})

    def render(self, annotations: Mapping[str, Any], delivery_count: int) -> bytes:
        """The message as delivered: the sender's bytes with the broker's annotations spliced in."""
        header = [*self.header[:_DELIVERY_COUNT], UInt(delivery_count)]
        own = {Symbol(key): encode(value) for key, value in annotations.items()}
        parts = [
            _section(_HEADER, encode(header)),
            _section(_ANNOTATIONS, _raw_map({**self.annotations, **own})),
            self.properties,
        ]
        if self.application:
            parts.append(_section(_APPLICATION, _raw_map(self.application)))
        return b"".join((*parts, self.body))


def parse_message(payload: bytes) -> Content:
    """Reads one encoded message; a ProtocolError where it is none."""
    header: tuple[Any, ...] = (None,) * 5
    maps: dict[int, dict[Any, bytes]] = {}
    properties, body = b"", []
    listed: list[Any] = []
    for code, start, end in _sections(payload):
        if code == _HEADER:
            header = _header(payload, start)
        elif code in (_ANNOTATIONS, _APPLICATION):
            maps[code] = map_items(payload, start)
        elif code == _PROPERTIES:
            listed = _fields(payload, start, _PROPERTY_COUNT)
            properties = _section(code, payload[start:end])
        elif code in _BODY_SECTIONS:
            body.append(_section(code, payload[start:end]))
    return Content(
        header=header,
        annotations=maps.get(_ANNOTATIONS, {}),
        properties=properties,
        application=maps.get(_APPLICATION, {}),
        body=b"".join(body),
        message_id=_identifier(listed[_MESSAGE_ID]) if listed else None,
        session_id=_text(listed[_GROUP_ID]) if listed else None,
    )


def parse_messages(payload: bytes, message_format: int) -> list[Content]:
    """The messages of one transfer: several where the format says batch."""
    if message_format != BATCH_FORMAT:
        return [parse_message(payload)]
    return [parse_message(_binary(payload, start)) for code, start, _ in _sections(payload)
            if code == _DATA]  # fmt: skip


def value_body(value: Any) -> bytes:
    """An amqp-value section."""
    return encode(Described(ULong(0x77), value))


def read_request(payload: bytes) -> tuple[list[Any], dict[Any, Any], Any]:
    """A management request: its properties, application properties and amqp-value."""
    properties: list[Any] = [None] * _PROPERTY_COUNT
    application: dict[Any, Any] = {}
    value: Any = None
    for code, start, _ in _sections(payload):
        if code == _PROPERTIES:
            properties = _fields(payload, start, _PROPERTY_COUNT)
        elif code == _APPLICATION:
            application = {k: decode(raw)[0] for k, raw in map_items(payload, start).items()}
        elif code == 0x77:
            value = decode(payload, start)[0]
    return properties, application, value


def response(correlation_id: Any, application: Mapping[str, Any], value: Any) -> bytes:
    """A management response."""
    properties = [None] * 5 + [correlation_id] + [None] * 7
    return b"".join(
        (
            _section(_PROPERTIES, encode(properties)),
            _section(_APPLICATION, encode(dict(application))),
            value_body(value),
        )
    )


def _sections(payload: bytes) -> list[tuple[int, int, int]]:
    """Code, start of the value and end, for each section."""
    found, offset = [], 0
    while offset < len(payload):
        if payload[offset] != 0:
            raise ProtocolError("a message section without a descriptor")
        descriptor, start = decode(payload, offset + 1)
        if type(descriptor) is not ULong:
            raise ProtocolError("a message section with an unknown descriptor")
        offset = end_of(payload, start)
        found.append((int(descriptor), start, offset))
    return found


def _fields(payload: bytes, start: int, count: int) -> list[Any]:
    value, _ = decode(payload, start)
    if not isinstance(value, list):
        raise ProtocolError("a message section that must be a list is none")
    return [*value[:count], *[None] * (count - len(value))]


def _header(payload: bytes, start: int) -> tuple[Any, ...]:
    values = tuple(_fields(payload, start, 5))
    if not all(value is None or isinstance(value, int) for value in values):
        raise ProtocolError("a header field of a type that no header has")
    return values


def _identifier(value: Any) -> Any:
    return value if isinstance(value, str | bytes | int | UUID) else None


def _binary(payload: bytes, start: int) -> bytes:
    value, _ = decode(payload, start)
    if not isinstance(value, bytes):
        raise ProtocolError("a data section is not binary")
    return value


def _section(code: int, encoded: bytes) -> bytes:
    return b"\x00\x53" + bytes((code,)) + encoded


def _raw_map(items: Mapping[Any, bytes]) -> bytes:
    return encode_map((encode(key), raw) for key, raw in items.items())


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
