"""How each shape of a Service Bus message is read, whatever its sender made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from azure.functions.servicebus import ServiceBusMessage as FunctionMessage
from azure.servicebus import ServiceBusReceivedMessage
from hypothesis import given
from hypothesis import strategies as st

from queue_runtime import BodyDecodeError, Message
from queue_runtime.transports.service_bus.amqp_message import AmqpMessage
from queue_runtime.transports.service_bus.functions_wire import DELIVERY, LOCKED, Delivery
from queue_runtime.transports.service_bus.wire import RECEIVED, SINGLE, FunctionWire
from tests.brokers.service_bus.encode import encode
from tests.brokers.service_bus.types import Described, Symbol, Timestamp, UInt, ULong
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
    ("value", "payload"), [("text", "text"), (b"\xff", b"\xff")], ids=["text", "bytes"]
)
def test_a_value_body_of_text_or_bytes_is_a_body(value: Any, payload: Any) -> None:
    assert read(delivery(Sent(value_body=value)), DELIVERY).payload == payload


@pytest.mark.parametrize("value", [7, True], ids=["int", "bool"])
def test_a_value_body_of_another_type_is_poison(value: Any) -> None:
    with pytest.raises(BodyDecodeError, match="AMQP value"):
        _ = read(delivery(Sent(value_body=value)), DELIVERY).payload


def section(code: int, value: Any) -> bytes:
    return encode(Described(ULong(code), value))


@pytest.mark.parametrize(
    ("encoded", "body"),
    [
        (b"", b""),
        (section(0x75, b"a" * 300), b"a" * 300),
        (section(0x75, b"a") + section(0x75, b"b"), b"ab"),
        (section(0x73, []) + section(0x75, b"a") + section(0x78, {}), b"a"),
        (section(0x74, {f"k{n}": "v" * 50 for n in range(9)}) + section(0x75, b"a"), b"a"),
        (section(0x77, "text"), "text"),
        (section(0x77, b"\xff"), b"\xff"),
        (section(0x77, None), b""),
    ],
)
def test_the_body_of_an_encoded_message(encoded: bytes, body: bytes | str) -> None:
    assert AmqpMessage(encoded).body() == body
    if encoded:
        received = ServiceBusReceivedMessage.from_bytes(encoded)
        expected = body.encode() if isinstance(body, str) else body
        assert RECEIVED.payload(received) == expected


@pytest.mark.parametrize(
    ("value", "kind"), [(7, "value"), ({"a": 1}, "value"), ([b"a", b"b"], "value")]
)
def test_a_body_of_another_type_is_poison_and_never_its_joined_parts(value: Any, kind: str) -> None:
    encoded = section(0x77, value)
    with pytest.raises(BodyDecodeError, match=f"AMQP {kind} that is no text"):
        AmqpMessage(encoded).body()
    with pytest.raises(BodyDecodeError, match=f"AMQP {kind} that is no text"):
        RECEIVED.payload(ServiceBusReceivedMessage.from_bytes(encoded))


def test_a_sequence_is_poison() -> None:
    with pytest.raises(BodyDecodeError, match="AMQP sequence that is no text"):
        AmqpMessage(section(0x76, [b"a"])).body()


WHOLE = section(0x74, {"k": "v" * 50, "n": 5}) + section(0x75, b"abc")


@pytest.mark.parametrize(
    "encoded",
    [
        b"no AMQP at all",
        b"\x00\x53",
        b"\x00\x53\x70\x40",
        b"\x00\x53\x79\x45",  # no section of a message
        b"\x00\x53\x75\x10",  # no type
        b"\x00\x53\x74\xc1\x02\x01\x40",  # half a pair
        b"\x00\x53\x74\xc1\x04\x02\x45\x40",  # a list as a name
        b"\x00\x53\x74\xc1\x03\x02\x40\x40\x00",  # longer than it says
        b"\x00\x53\x73\xd0\x00\x00\x00\x04\xff\xff\xff\xff",  # four thousand million
        b"\x00\x53\x75\xb1\xff\xff\xff\xff",
        b"\x00\x53\x77\xa1\x01\xff",  # text that is none
        section(0x77, "a") + section(0x75, b"b"),
        b"\x00\x53\x77" + b"\xc0\xff\x01" * 40,
        b"\x00\x53\x77" + b"\x00" * 100_000,
        *(WHOLE[:at] for at in (1, 10, 40, len(WHOLE) - 1)),
    ],
)
def test_what_is_no_whole_message_is_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever: it is poison
        AmqpMessage(encoded)


def test_every_type_of_a_property_is_read_as_the_sdk_reads_it() -> None:
    properties = {
        "null": None,
        "yes": True,
        "small": 5,
        "large": 2**40,
        "negative": -(2**40),
        "float": 1.5,
        "text": "é" * 200,
        "binary": b"\xff",
        "uuid": UUID(int=7),
        "unsigned": UInt(9),
        "symbol": Symbol("s"),
        "time": Timestamp(1_700_000_000_123),
        "list": [1, "a", []],
        "map": {"a": {"b": 1}},
    }
    encoded = section(0x74, properties) + section(0x75, b"")
    of_sdk = ServiceBusReceivedMessage.from_bytes(encoded)
    message: Message[Any] = Message(SimpleNamespace(message=AmqpMessage(encoded)), DELIVERY, "q")
    flat = {name for name in properties if name not in ("list", "map")}
    expected = Message[Any](of_sdk, RECEIVED, "q").attributes
    assert {name: message.attributes[name] for name in flat} == {
        name: expected[name] for name in flat
    }
    assert message.attributes["list"] == [1, "a", []]
    assert message.attributes["map"] == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("code", "encoded", "value"),
    [
        (0x74, "32000019", "2.5"),
        (0x84, "b1a0000000000019", "-2.5"),
        (0x94, "3040000000000000000000000000007b", "123"),
        (0x94, "303c000000000000000000000000007b", "1.23"),
        (0x74, "78000000", "Infinity"),
        (0x74, "f8000000", "-Infinity"),
        (0x74, "7c000000", "NaN"),
        (0x74, "6cb89680", "10000000"),
    ],
)
def test_decimals_are_exact(code: int, encoded: str, value: str) -> None:
    message = AmqpMessage(b"\x00\x53\x77" + bytes([code]) + bytes.fromhex(encoded))
    with pytest.raises(BodyDecodeError):
        message.body()
    assert str(message._body) == value


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("73 00000041", "A"),
        ("e0 06 02 a1 01 61 01 62", ["a", "b"]),
        ("f0 0000000b 00000002 00 53 01 71 00000007", None),
        ("00 a3 01 78 54 07", 7),
    ],
)
def test_characters_arrays_and_described_values(encoded: str, value: Any) -> None:
    raw = b"\x00\x53\x77" + bytes.fromhex(encoded)
    if value is None:
        with pytest.raises(ValueError):  # noqa: PT011 - one of two elements is not there
            AmqpMessage(raw)
    else:
        assert AmqpMessage(raw)._body == value


@given(data=st.data())
def test_damaged_messages_are_refused_or_read_and_never_raise_anything_else(data: Any) -> None:
    raw = bytearray(amqp(Sent(b"body", message_id="m", properties={"a": 1, "b": "c"})))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    native = Delivery(UUID(int=1).bytes_le + bytes(raw[:cut]))
    message = read(native, DELIVERY)
    try:
        assert isinstance(message.payload, str | bytes)
    except BodyDecodeError:
        assert message.receipt == str(UUID(int=1))
    assert isinstance(message.id, str)
    assert message.delivery_count >= 1
    assert message.enqueued_at is None or message.enqueued_at.tzinfo is UTC


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


@pytest.mark.parametrize(
    "name", ["message_id", "session_id", "delivery_count", "application_properties"]
)
def test_what_a_message_is_told_by_and_the_sdk_cannot_read_is_poison_and_not_made_up(
    name: str,
) -> None:
    class Broken(SimpleNamespace):
        def __getattr__(self, asked: str) -> Any:
            if asked == name:
                raise ValueError("not decodable")
            raise AttributeError(asked)

    known: dict[str, Any] = {
        "message_id": b"\xff",
        "session_id": None,
        "delivery_count": None,
        "application_properties": {},
        "lock_token": "t",
        "body": [b""],
        "body_type": SimpleNamespace(value="data"),
    }
    del known[name]
    message = read(Broken(**known), LOCKED)
    assert isinstance(message.id, str)  # for the line in the log
    assert message.delivery_count == 1
    with pytest.raises(BodyDecodeError, match=f"its {name} cannot be read"):
        _ = message.payload
