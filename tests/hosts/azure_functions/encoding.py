"""Encodes Service Bus messages for the worker as the Functions host and its extension do.

Extension 5.x: metadata that is null is left out, and so are empty strings of a batch's arrays
(GrpcMessageConversionExtensions); a text body that is a JSON object overrides metadata
(Utility.ApplyBindingData); times have no zone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from tests.brokers.service_bus.encode import encode
from tests.brokers.service_bus.types import Described, Symbol, Timestamp, UByte, UInt, ULong
from tests.hosts.azure_functions.protocol import worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STRINGS: Final = {
    "MessageId": "message_id",
    "CorrelationId": "correlation_id",
    "SessionId": "session_id",
    "ContentType": "content_type",
    "Subject": "subject",
    "Label": "subject",
    "To": "to",
    "ReplyTo": "reply_to",
    "LockToken": "lock_token",
}


@dataclass
class Sent:
    """A message in a queue, as the broker has it."""

    body: bytes | str | None = b"{}"
    message_id: str | None = None
    correlation_id: str | None = None
    session_id: str | None = None
    content_type: str | None = None
    subject: str | None = None
    to: str | None = None
    reply_to: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    delivery_count: int = 1
    sequence_number: int = 1
    enqueued: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    locked_for: float = 60.0
    value_body: Any = None
    lock_token: str = field(default_factory=lambda: str(uuid4()))

    @property
    def text(self) -> str:
        """The body as .NET's string conversion gives it."""
        raw = self.data
        return raw.decode(errors="replace")

    @property
    def data(self) -> bytes:
        """The body's bytes."""
        return self.body.encode() if isinstance(self.body, str) else self.body or b""


def single(message: Sent, *, binary: bool) -> tuple[Any, dict[str, Any]]:
    """Value and trigger metadata of an invocation for one message."""
    metadata: dict[str, Any] = {
        name: worker.TypedData(string=value)
        for name, attribute in _STRINGS.items()
        if (value := getattr(message, attribute)) is not None
    }
    properties = worker.TypedData(json=_json(message.properties))
    metadata |= {
        "DeliveryCount": worker.TypedData(json=str(message.delivery_count)),
        "SequenceNumber": worker.TypedData(json=str(message.sequence_number)),
        "EnqueuedTimeUtc": worker.TypedData(json=_json(_zoneless(message.enqueued))),
        "ExpiresAtUtc": worker.TypedData(json=_json("9999-12-31T23:59:59.9999999")),
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }
    if binary:
        return worker.TypedData(bytes=message.data), metadata
    _override(metadata, message.text)
    return worker.TypedData(string=message.text), metadata


def _override(metadata: dict[str, Any], text: str) -> None:
    try:
        body = json.loads(text)
    except ValueError:
        return
    if not isinstance(body, dict):
        return
    spelled = {name.lower(): name for name in metadata}
    for key, value in body.items():
        if value is not None and not isinstance(value, list):
            name = str(spelled.get(key.lower(), key))
            metadata[name] = worker.TypedData(
                **({"string": value} if isinstance(value, str) else {"json": _json(value)})
            )


def batch(messages: Sequence[Sent], *, binary: bool) -> tuple[Any, dict[str, Any]]:
    """Value and trigger metadata of an invocation for several messages, taken apart."""
    metadata = {}
    for name, attribute in _STRINGS.items():
        values = [getattr(message, attribute) for message in messages]
        metadata[f"{name}Array"] = _strings([value for value in values if value])
    properties = worker.TypedData(json=_json([message.properties for message in messages]))
    metadata |= {
        "SequenceNumberArray": worker.TypedData(
            collection_sint64=worker.CollectionSInt64(
                sint64=[message.sequence_number for message in messages]
            )
        ),
        "DeliveryCountArray": worker.TypedData(json=_json([m.delivery_count for m in messages])),
        "EnqueuedTimeUtcArray": worker.TypedData(
            json=_json([_zoneless(message.enqueued) for message in messages])
        ),
        "ApplicationPropertiesArray": properties,
        "UserPropertiesArray": properties,
    }
    if binary:
        bodies = worker.CollectionBytes(bytes=[message.data for message in messages])
        return worker.TypedData(collection_bytes=bodies), metadata
    return _strings([message.text for message in messages if message.text]), metadata


def whole(messages: Sequence[Sent]) -> tuple[Any, dict[str, Any]]:
    """Value of an invocation for a parameter of an SDK type."""
    data = [_model(message) for message in messages]
    collection = worker.CollectionModelBindingData(model_binding_data=data)
    return worker.TypedData(collection_model_binding_data=collection), {}


def whole_one(message: Sent) -> tuple[Any, dict[str, Any]]:
    """Value of an invocation for one message, for a parameter of an SDK type."""
    return worker.TypedData(model_binding_data=_model(message)), {}


def _model(message: Sent) -> Any:
    return worker.ModelBindingData(
        version="1.0",
        source="AzureServiceBusReceivedMessage",
        content_type="application/octet-stream",
        content=UUID(message.lock_token).bytes_le + amqp(message),
    )


def amqp(message: Sent) -> bytes:
    """The message as .NET encodes it, broker's annotations included.

    Its SDK adds one to the delivery count of the wire when it receives (AmqpMessageConverter), and
    the extension encodes what it received.
    """
    locked_until = datetime.now(UTC) + timedelta(seconds=message.locked_for)
    annotations = {
        Symbol("x-opt-enqueued-time"): _timestamp(message.enqueued),
        Symbol("x-opt-sequence-number"): message.sequence_number,
        Symbol("x-opt-locked-until"): _timestamp(locked_until),
    }
    properties = [None] * 13
    fields: Mapping[int, Any] = {
        0: message.message_id,
        2: message.to,
        3: message.subject,
        4: message.reply_to,
        5: message.correlation_id,
        6: Symbol(message.content_type) if message.content_type else None,
        10: message.session_id,
    }
    for at, value in fields.items():
        properties[at] = value
    sections: list[tuple[int, Any]] = [
        (0x70, [True, UByte(4), None, False, UInt(message.delivery_count)]),
        (0x72, annotations),
        (0x73, properties),
    ]
    if message.properties:
        sections.append((0x74, message.properties))
    sections.append((0x77, message.value_body) if message.value_body else (0x75, message.data))
    return b"".join(encode(Described(ULong(code), value)) for code, value in sections)


def _strings(values: list[str]) -> Any:
    return worker.TypedData(collection_string=worker.CollectionString(string=values))


def _timestamp(time: datetime) -> Timestamp:
    return Timestamp(int(time.timestamp() * 1000))


def _zoneless(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="seconds")


def _json(value: Any) -> str:
    return json.dumps(value, default=str)
