from datetime import UTC, datetime
from typing import Any

import pytest

from queue_runtime.errors import BodyDecodeError
from queue_runtime.message import Message
from queue_runtime.testing import sqs_record
from queue_runtime.transports.sqs.wire import (
    LAMBDA_RECORD,
    LARGEST_MESSAGE,
    RECEIVED_MESSAGE,
    SqsWire,
    copy_of,
    entry_size,
)

FACTS = ['{"id":"full","reason":"..."}', '{"id":"least"}']


def _in_capitals(record: dict[str, Any]) -> dict[str, Any]:
    """The same message as ReceiveMessage gives it: other keys, and bytes that are decoded."""

    def key(name: str) -> str:
        return name[0].upper() + name[1:]

    attributes = {
        name: {
            key(k): b"\x00\xff" if k == "binaryValue" else v
            for k, v in item.items()
            if not k.endswith("ListValues")
        }
        for name, item in record["messageAttributes"].items()
    }
    return {
        "MessageId": record["messageId"],
        "ReceiptHandle": record["receiptHandle"],
        "Body": record["body"],
        "Attributes": record["attributes"],
        "MessageAttributes": attributes,
    }


SHAPES = [(LAMBDA_RECORD, dict), (RECEIVED_MESSAGE, _in_capitals)]


def _record(**attributes: Any) -> dict[str, Any]:
    record = sqs_record(
        "body", id="m1", deliveries=2, group_id="g", queue="orders.fifo", attributes=attributes
    )
    record["attributes"]["SentTimestamp"] = "1700000000123"
    return record


@pytest.mark.parametrize(("wire", "shape"), SHAPES)
def test_both_shapes_say_the_same(wire: SqsWire, shape: Any) -> None:
    raw = shape(_record(correlation_id="c", count=3, price=2.5, raw=b"\x00\xff", text="t"))
    message: Message[bytes] = Message(raw, wire, "orders.fifo")
    assert (message.id, message.broker_id, message.receipt) == ("m1", "m1", "AQEB-receipt-1")
    assert (message.payload, message.body) == ("body", b"body")
    assert (message.group_id, message.correlation_id, message.delivery_count) == ("g", "c", 2)
    assert message.enqueued_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert message.attributes == {
        "correlation_id": "c",
        "count": 3,
        "price": 2.5,
        "raw": b"\x00\xff",
        "text": "t",
    }


@pytest.mark.parametrize(("wire", "shape"), SHAPES)
def test_a_copy_shows_its_originals_identity_and_all_attempts(wire: SqsWire, shape: Any) -> None:
    raw = shape(_record(queue_runtime='{"id":"original","attempts":3}', mine="x"))
    message: Message[bytes] = Message(raw, wire, "q")
    assert (message.id, message.broker_id) == ("original", "m1")
    assert message.delivery_count == 5
    assert message.attributes == {"mine": "x"}


@pytest.mark.parametrize(
    "record",
    [
        {"messageId": "m", "body": "b", "receiptHandle": "r"},
        {"messageId": "m", "attributes": None, "messageAttributes": None},
        {"messageId": "m", "attributes": {}, "messageAttributes": {}},
    ],
)
def test_a_record_made_by_hand_may_leave_out_what_has_a_default(record: dict[str, Any]) -> None:
    message: Message[bytes] = Message(record, LAMBDA_RECORD, "q")
    assert (message.id, message.delivery_count, message.attributes) == ("m", 1, {})
    assert (message.group_id, message.correlation_id, message.enqueued_at) == (None, None, None)


@pytest.mark.parametrize("count", ["9" * 5000, "-1", "x", ""])
def test_a_count_that_sqs_would_not_write_can_be_counted_on(count: str) -> None:
    record = {"messageId": "m", "attributes": {"ApproximateReceiveCount": count}}
    delivered = LAMBDA_RECORD.delivery_count(record)
    assert 1 <= delivered <= 2**63 - 1


@pytest.mark.parametrize("sent", ["9" * 5000, "99999999999999999"])
def test_a_time_beyond_the_calendar_is_its_end(sent: str) -> None:
    record = {"messageId": "m", "attributes": {"SentTimestamp": sent}}
    when = LAMBDA_RECORD.enqueued_at(record)
    assert when is not None
    assert when.year == 9999


@pytest.mark.parametrize("sent", ["", "x", None])
def test_a_time_that_is_none_is_not_told(sent: Any) -> None:
    record = {"messageId": "m", "attributes": {"SentTimestamp": sent}}
    assert LAMBDA_RECORD.enqueued_at(record) is None
    assert LAMBDA_RECORD.sent_at(record) is None


def _attribute(**item: Any) -> dict[str, Any]:
    return {"messageId": "m", "body": "b", "messageAttributes": {"a": item}}


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ({"stringValue": "x"}, "x"),
        ({"stringValue": "x", "dataType": "String.custom"}, "x"),
        ({"stringValue": "12345678901234567890", "dataType": "Number"}, 12345678901234567890),
        ({"stringValue": "1e3", "dataType": "Number.float"}, 1000.0),
        ({"binaryValue": "AP8=", "dataType": "Binary.png"}, b"\x00\xff"),
    ],
)
def test_a_value_is_read_by_its_data_type(item: dict[str, Any], value: Any) -> None:
    assert LAMBDA_RECORD.attributes(_attribute(**item)) == {"a": value}


@pytest.mark.parametrize(
    "item",
    [
        {"binaryValue": "SECRET!", "dataType": "Binary"},
        {"binaryValue": "QQ", "dataType": "Binary"},
        {"binaryValue": "caf\u00e9", "dataType": "Binary"},
        {"dataType": "Binary"},
        {"stringValue": "SECRET", "dataType": "Number"},
        {"dataType": "Number"},
        {"stringValue": "9" * 5000, "dataType": "Number"},
        {"stringValue": "Infinity", "dataType": "Number"},
    ],
)
def test_a_value_that_does_not_fit_its_type_is_poison_that_shows_nothing(
    item: dict[str, Any],
) -> None:
    with pytest.raises(BodyDecodeError) as caught:
        LAMBDA_RECORD.attributes(_attribute(**item))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("sent", ["x", [1], {"a": "x"}, {"a": None}, {"a": {"dataType": 7}}])
def test_attributes_of_another_form_are_poison(sent: Any) -> None:
    record = {"messageId": "m", "body": "b", "messageAttributes": sent}
    with pytest.raises(BodyDecodeError, match="not of the form that SQS gives it"):
        LAMBDA_RECORD.payload(record)
    assert LAMBDA_RECORD.body(record) == "b"


def test_an_attribute_without_a_type_is_text() -> None:
    assert LAMBDA_RECORD.payload(_attribute(stringValue="x")) == "b"


def _copy(record: dict[str, Any], *, fifo: bool = False, facts: Any = FACTS) -> Any:
    return copy_of(Message(record, LAMBDA_RECORD, "q"), LAMBDA_RECORD, facts, fifo=fifo)


def test_a_copy_has_the_original_body_attributes_and_trace_header() -> None:
    record = sqs_record("body", id="m1", attributes={"t": "x", "n": 7, "raw": b"\x00\xff"})
    record["messageAttributes"]["n"]["dataType"] = "Number.int"
    record["attributes"]["AWSTraceHeader"] = "Root=1-5e3d83c1-e6a0db584850d61342823d4c"
    message: Message[bytes] = Message(record, LAMBDA_RECORD, "q")
    message.payload = "what was in the envelope"
    assert copy_of(message, LAMBDA_RECORD, FACTS, fifo=False) == {
        "MessageBody": "body",
        "MessageAttributes": {
            "t": {"DataType": "String", "StringValue": "x"},
            "n": {"DataType": "Number.int", "StringValue": "7"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
            "queue_runtime": {"DataType": "String", "StringValue": FACTS[0]},
        },
        "MessageSystemAttributes": {
            "AWSTraceHeader": {
                "DataType": "String",
                "StringValue": "Root=1-5e3d83c1-e6a0db584850d61342823d4c",
            }
        },
    }


def test_a_copy_of_a_copy_has_one_attribute_of_ours() -> None:
    entry = _copy(sqs_record("b", attributes={"queue_runtime": '{"id":"original"}'}))
    assert entry["MessageAttributes"] == {
        "queue_runtime": {"DataType": "String", "StringValue": FACTS[0]}
    }


def test_a_copy_to_a_fifo_queue_stays_in_its_group() -> None:
    entry = _copy(sqs_record("b", id="m1", queue="q.fifo", group_id="g"), fifo=True)
    assert (entry["MessageGroupId"], entry["MessageDeduplicationId"]) == ("g", "m1")


def test_a_copy_to_a_fifo_queue_from_no_group_makes_one_of_its_own() -> None:
    assert _copy(sqs_record("b", id="m1"), fifo=True)["MessageGroupId"] == "m1"


def test_a_fair_queues_group_goes_along_without_a_deduplication_id() -> None:
    entry = _copy(sqs_record("b", group_id="tenant"))
    assert entry["MessageGroupId"] == "tenant"
    assert "MessageDeduplicationId" not in entry


def test_a_redriven_message_that_fails_again_at_once_is_no_duplicate_of_its_dead_letter() -> None:
    carried = {"queue_runtime": '{"id":"original"}'}
    first = _copy(sqs_record("b", id="original", queue="q.fifo"), fifo=True)
    again = _copy(sqs_record("b", id="redriven", queue="q.fifo", attributes=carried), fifo=True)
    assert first["MessageDeduplicationId"] != again["MessageDeduplicationId"]


@pytest.mark.parametrize(("count", "fits"), [(9, True), (10, False)])
def test_a_producers_ten_attributes_are_never_broken(count: int, fits: bool) -> None:
    record = sqs_record("b", attributes={f"a{n}": "x" for n in range(count)})
    assert (_copy(record) is not None) == fits


@pytest.mark.parametrize(
    ("room", "facts"), [(0, FACTS[0]), (1, FACTS[1]), (len(FACTS[0]) - len(FACTS[1]), FACTS[1])]
)
def test_what_has_no_room_is_shortened(room: int, facts: str) -> None:
    ours = len("queue_runtime") + len("String") + len(FACTS[0])
    entry = _copy(sqs_record("x" * (LARGEST_MESSAGE - ours + room)))
    assert entry["MessageAttributes"]["queue_runtime"]["StringValue"] == facts
    assert entry_size(entry) <= LARGEST_MESSAGE


@pytest.mark.parametrize("room", [1, 20])
def test_what_has_no_room_even_for_the_id_is_not_copied(room: int) -> None:
    ours = len("queue_runtime") + len("String") + len(FACTS[1])
    assert _copy(sqs_record("x" * (LARGEST_MESSAGE - ours + room))) is None


def test_an_attribute_that_cannot_be_read_cannot_be_copied() -> None:
    record = sqs_record("b", attributes={"raw": b"x"})
    record["messageAttributes"]["raw"]["binaryValue"] = "!"
    assert _copy(record) is None


def test_size_counts_bytes_of_body_names_types_and_values() -> None:
    entry = {
        "MessageBody": "\u00e9",
        "MessageAttributes": {
            "\u00e9": {"DataType": "String", "StringValue": "\u20ac"},
            "b": {"DataType": "Binary", "BinaryValue": b"12"},
        },
    }
    assert entry_size(entry) == 2 + (2 + 6 + 3) + (1 + 6 + 2)
    assert entry_size({"MessageBody": "abc"}) == 3
