"""Messages for the in-process Service Bus that no client has sent, which takes half a second."""

from __future__ import annotations

from tests.brokers.service_bus.content import Content, parse_message
from tests.brokers.service_bus.encode import encode
from tests.brokers.service_bus.types import Described, ULong

_PROPERTIES, _DATA = 0x73, 0x75


def content(body: str, *, message_id: str, session_id: str | None = None) -> Content:
    """Make a message as it would come over the wire."""
    sections = {
        _PROPERTIES: [message_id, *[None] * 9, session_id],
        _DATA: body.encode(),
    }
    encoded = (encode(Described(ULong(code), value)) for code, value in sections.items())
    return parse_message(b"".join(encoded))
