"""How each shape of a Service Bus message is read, whatever its sender made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from azure.functions.servicebus import ServiceBusMessage as FunctionMessage
from azure.servicebus import ServiceBusReceivedMessage

from queue_runtime import BodyDecodeError, Message
from queue_runtime.transports.service_bus.functions_wire import DELIVERY, LOCKED, Delivery, data_of
from queue_runtime.transports.service_bus.wire import RECEIVED, SINGLE, FunctionWire
from tests.brokers.service_bus.encode import encode
from tests.brokers.service_bus.types import Described, ULong
from tests.hosts.azure_functions.encoding import Sent, amqp

CARRIED = '{"id":"original","attempts":2}'


def of_function(**fields: Any) -> Any:
    given: dict[str, Any] = {"body": b"b", "message_id": "m", "lock_token": "t"} | fields
    properties = given.pop("properties", {})
    return FunctionMessage(application_properties=properties, user_properties=properties, **given)


def delivery(sent: Sent) -> Delivery:
    return Delivery(UUID(sent.lock_token).bytes_le + amqp(sent))


def read(native: Any, wire: Any) -> Message[Any]:
    return Message(native, wire, "orders")


def test_a_single_function_message() -> None:
    message = read(
        of_function(
            correlation_id="c",
            session_id="s",
            delivery_count=3,
            enqueued_time_utc=datetime(2026, 1, 2),  # as the host sends it
            properties={"tenant": "one", "queue_runtime": CARRIED},
        ),
        SINGLE,
    )
    assert (message.id, message.broker_id, message.receipt) == ("original", "m", "t")
    assert (message.correlation_id, message.group_id) == ("c", "s")
    assert message.delivery_count == 5
    assert message.attributes == {"tenant": "one"}
    assert message.enqueued_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert message.payload == b"b"


@pytest.mark.parametrize(
    ("number", "identity"), [(7, "sequence-7"), (None, "t")], ids=["numbered", "bare"]
)
@pytest.mark.parametrize("message_id", [None, ""])
def test_a_message_without_an_id_has_the_queues_own(
    message_id: Any, number: int | None, identity: str
) -> None:
    message = read(of_function(message_id=message_id, sequence_number=number), SINGLE)
    assert message.id == identity


def test_a_bare_function_message() -> None:
    message = read(of_function(body=None, properties=None), SINGLE)
    assert message.payload == b""
    assert message.attributes == {}
    assert message.delivery_count == 1
    assert (message.enqueued_at, message.group_id, message.correlation_id) == (None, None, None)


def test_a_slid_array_says_nothing_about_any_message_and_is_told_once() -> None:
    told: list[str] = []
    metadata = {
        "MessageIdArray": SimpleNamespace(python_value=["a", "b"]),
        "CorrelationIdArray": SimpleNamespace(python_value=["of one of them"]),
        "SessionIdArray": SimpleNamespace(python_value=[]),
    }
    wire = FunctionWire(2, told.append)
    messages = [
        read(
            of_function(
                message_id=name,
                correlation_id="of one of them",
                trigger_metadata=metadata,
                sequence_number=1,
            ),
            wire,
        )
        for name in ("a", "b")
    ]
    assert [message.id for message in messages] == ["a", "b"]
    assert [message.correlation_id for message in messages] == [None, None]
    assert [message.group_id for message in messages] == [None, None]
    assert wire.further(messages[0].native, "content_type") is None
    assert told == ["correlation_id"]


def test_a_delivery_has_all_fields_of_its_own() -> None:
    sent = Sent(
        b"body",
        message_id="m",
        correlation_id="c",
        session_id="s",
        content_type="text/plain",
        delivery_count=2,
        properties={"tenant": "one", "queue_runtime": CARRIED, "raw": b"\xff"},
    )
    native = delivery(sent)
    message = read(native, DELIVERY)
    assert (message.id, message.broker_id, message.group_id) == ("original", "m", "s")
    assert (message.correlation_id, message.receipt) == ("c", sent.lock_token)
    assert message.delivery_count == 4
    assert message.attributes == {"tenant": "one", "raw": b"\xff"}
    assert message.enqueued_at == sent.enqueued
    assert message.payload == b"body"
    assert DELIVERY.further(native, "content_type") == "text/plain"
    assert "body" not in repr(native)


def test_a_delivery_without_an_id_has_the_queues_own() -> None:
    assert read(delivery(Sent(sequence_number=41)), DELIVERY).id == "sequence-41"


def test_bytes_that_are_no_message_are_poison_and_no_more() -> None:
    native = Delivery(UUID(int=1).bytes_le + b"no AMQP at all")
    message = read(native, DELIVERY)
    assert message.id == str(UUID(int=1))
    assert message.delivery_count == 1
    assert message.attributes == {}
    assert (message.group_id, message.enqueued_at) == (None, None)
    with pytest.raises(BodyDecodeError, match="not an AMQP message"):
        _ = message.payload


@pytest.mark.parametrize(
    ("value", "payload"), [("text", b"text"), (b"\xff", b"\xff")], ids=["text", "bytes"]
)
def test_a_value_body_of_text_or_bytes_is_a_body(value: Any, payload: bytes) -> None:
    assert read(delivery(Sent(value_body=value)), DELIVERY).payload == payload


@pytest.mark.parametrize("value", [7, True], ids=["int", "bool"])
def test_a_value_body_of_another_type_is_poison(value: Any) -> None:
    with pytest.raises(BodyDecodeError, match="AMQP value"):
        _ = read(delivery(Sent(value_body=value)), DELIVERY).payload


def section(code: int, value: Any) -> bytes:
    return encode(Described(ULong(code), value))


@pytest.mark.parametrize(
    ("encoded", "data"),
    [
        (b"", b""),
        (section(0x75, b"a" * 300), b"a" * 300),
        (section(0x75, b"a") + section(0x75, b"b"), b"ab"),
        (section(0x73, []) + section(0x75, b"a"), b"a"),
        (section(0x74, {f"k{n}": "v" * 50 for n in range(9)}) + section(0x75, b"a"), b"a"),
        (section(0x75, b"abc")[:-1], None),
        (b"\x00\x53", None),
        (section(0x76, [1]), None),
        (section(0x77, "text"), None),
        (b"\x00\x53\x70\x40", None),
    ],
)
def test_where_an_encoded_messages_data_is(encoded: bytes, data: bytes | None) -> None:
    assert data_of(encoded) == data


def test_the_sdks_own_message() -> None:
    received = ServiceBusReceivedMessage.from_bytes(
        amqp(Sent(b"body", message_id="m", delivery_count=1))
    )
    message = read(received, LOCKED)
    assert (message.id, message.delivery_count, message.payload) == ("m", 1, b"body")
    assert message.receipt == str(received.lock_token)
    assert read(received, RECEIVED).receipt is received


@pytest.mark.parametrize("on_the_wire", [0, 3])
def test_the_wire_counts_the_deliveries_before_this_one(on_the_wire: int) -> None:
    received = ServiceBusReceivedMessage.from_bytes(amqp(Sent(delivery_count=on_the_wire)))
    assert read(received, RECEIVED).delivery_count == on_the_wire + 1


def test_strange_properties_keep_no_message_from_its_outcome() -> None:
    class Broken:
        lock_token = "t"
        message_id = b"\xff"
        delivery_count = None
        body = (1,)
        body_type = SimpleNamespace(value="sequence")

        @property
        def application_properties(self) -> Any:
            raise ValueError("not decodable")

    message = read(Broken(), LOCKED)
    assert message.id == "b'\\xff'"
    assert message.attributes == {}
    assert message.delivery_count == 1
    assert message.correlation_id is None
    with pytest.raises(BodyDecodeError, match="AMQP sequence"):
        _ = message.payload
