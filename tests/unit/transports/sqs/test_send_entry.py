from dataclasses import replace
from typing import Any

import pytest

from queue_runtime.errors import MessageTooLargeError, TransportError
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.sqs.send_entry import send_entry

MEBIBYTE = 1024 * 1024


def entry(message: OutgoingMessage, **options: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"ordered": False, "largest": MEBIBYTE, "by_content": False}
    return send_entry(message, **{**defaults, **options})


def test_every_kind_of_attribute_has_its_type() -> None:
    attributes = {"s": "x", "i": 3, "f": 2.5, "b": b"\x00", "t": True}
    sent = entry(OutgoingMessage(body="body", attributes=attributes, correlation_id="corr"))
    assert sent["MessageAttributes"] == {
        "s": {"DataType": "String", "StringValue": "x"},
        "i": {"DataType": "Number", "StringValue": "3"},
        "f": {"DataType": "Number", "StringValue": "2.5"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x00"},
        "t": {"DataType": "Number", "StringValue": "1"},
        "correlation_id": {"DataType": "String", "StringValue": "corr"},
    }


def test_a_plain_message_is_nothing_but_its_body() -> None:
    assert entry(OutgoingMessage(body="söme".encode())) == {"MessageBody": "söme"}


def test_delays_are_whole_seconds_and_never_too_short() -> None:
    assert entry(OutgoingMessage(body="x", delay=0.2))["DelaySeconds"] == 1
    assert entry(OutgoingMessage(body="x", delay=900))["DelaySeconds"] == 900


def test_a_group_goes_to_a_fair_standard_queue_too() -> None:
    assert entry(OutgoingMessage(body="x", group_id="g")) == {
        "MessageBody": "x",
        "MessageGroupId": "g",
    }


def test_deduplication_ids_on_a_fifo_queue() -> None:
    message = OutgoingMessage(body="x", group_id="g")
    own = entry(replace(message, deduplication_id="d"), ordered=True)
    assert own["MessageDeduplicationId"] == "d"
    first, second = entry(message, ordered=True), entry(message, ordered=True)
    assert first["MessageDeduplicationId"] != second["MessageDeduplicationId"]
    assert "MessageDeduplicationId" not in entry(message, ordered=True, by_content=True)


def test_what_only_sqs_has_goes_along() -> None:
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    message = OutgoingMessage(body="x", native={"MessageSystemAttributes": header})
    assert entry(message)["MessageSystemAttributes"] == header


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (OutgoingMessage(body=""), "its body is empty"),
        (OutgoingMessage(body=b"\xff"), "its body is not text"),
        (OutgoingMessage(body="a\x00b"), "characters that SQS does not take"),
        (OutgoingMessage(body="\ud800"), "characters that SQS does not take"),
        (OutgoingMessage(body="x", delay=901), "by 900 s at most, not 901 s"),
        (OutgoingMessage(body="x", delay=-1), "delay is seconds"),
        (OutgoingMessage(body="x", delay=float("nan")), "delay is seconds"),
        (
            OutgoingMessage(body="x", attributes={f"a{n}": 1 for n in range(11)}),
            "it has 11 attributes",
        ),
        (
            OutgoingMessage(
                body="x",
                attributes={f"a{n}": 1 for n in range(10)},
                correlation_id="c",
            ),
            "it has 11 attributes",
        ),
        (OutgoingMessage(body="x", attributes={"a": ""}), "attribute 'a' is str that is empty"),
        (OutgoingMessage(body="x", attributes={"a": b""}), "attribute 'a' is bytes that is empty"),
        (OutgoingMessage(body="x", attributes={"a": float("inf")}), "attribute 'a' is float"),
        (OutgoingMessage(body="x", attributes={"a": None}), "attribute 'a' is NoneType"),
        (OutgoingMessage(body="x", attributes={"aws.a": 1}), "attribute 'aws.a'"),
        (OutgoingMessage(body="x", attributes={"a..b": 1}), "attribute 'a..b'"),
        (OutgoingMessage(body="x", attributes={".a": 1}), "attribute '.a'"),
        (OutgoingMessage(body="x", attributes={"a b": 1}), "attribute 'a b'"),
        (OutgoingMessage(body="x", attributes={"": 1}), "attribute ''"),
    ],
)
def test_what_sqs_would_refuse_is_said_before(message: OutgoingMessage, sentence: str) -> None:
    with pytest.raises(TransportError, match=sentence):
        entry(message)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (OutgoingMessage(body="x"), "needs a group_id"),
        (OutgoingMessage(body="x", group_id="g", delay=5), "delays no single message"),
    ],
)
def test_what_a_fifo_queue_would_refuse(message: OutgoingMessage, sentence: str) -> None:
    with pytest.raises(TransportError, match=sentence):
        entry(message, ordered=True)


def test_a_message_that_is_too_large_is_said_with_both_sizes() -> None:
    message = OutgoingMessage(body="x" * 1000, attributes={"name": "y" * 24})
    size = 1000 + len("name") + len("String") + 24
    assert entry(message, largest=size)
    with pytest.raises(MessageTooLargeError, match=rf"1,034 bytes .* takes {size - 1:,}"):
        entry(message, largest=size - 1)
