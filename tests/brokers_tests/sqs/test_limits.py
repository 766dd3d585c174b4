"""The limits to the byte, and the codes of what is beyond them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.sqs.errors import SqsError
from tests.brokers.sqs.limits import check_body, check_message_attributes, message_size
from tests.brokers.sqs.md5 import attributes_md5
from tests.brokers_tests.sqs.refusals import refusal, refused

if TYPE_CHECKING:
    from tests.brokers_tests.sqs.conftest import Ours

MEBIBYTE = 1024 * 1024


def text_attributes(*names: str) -> Any:
    return {name: {"DataType": "String", "StringValue": "v"} for name in names}


def test_attributes_count_towards_the_size(ours: Ours) -> None:
    url = ours.queue()
    attributes: Any = {
        "name": {"DataType": "String", "StringValue": "value"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"1234"},
    }
    taken = len("name" + "String" + "value" + "bytes" + "Binary") + 4
    send = ours.client.send_message
    body = "x" * (MEBIBYTE - taken)
    send(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    code, text = refused(
        lambda: send(QueueUrl=url, MessageBody=body + "x", MessageAttributes=attributes)
    )
    assert code == "InvalidParameterValue"
    assert text.endswith(f"Message must be shorter than {MEBIBYTE} bytes.")


def test_the_size_is_in_bytes_of_utf_8(ours: Ours) -> None:
    url = ours.queue(MaximumMessageSize="1024")
    send = ours.client.send_message
    send(QueueUrl=url, MessageBody="€" * 341)
    assert refusal(lambda: send(QueueUrl=url, MessageBody="€" * 342)) == "InvalidParameterValue"


def test_a_batch_counts_attributes_too(ours: Ours) -> None:
    url = ours.queue()
    entries: Any = [
        {"Id": "a", "MessageBody": "x" * (MEBIBYTE // 2)},
        {"Id": "b", "MessageBody": "x" * (MEBIBYTE // 2 - 8), "MessageAttributes": {}},
    ]
    entries[1]["MessageAttributes"] = text_attributes("n")
    ours.client.send_message_batch(QueueUrl=url, Entries=entries)
    entries[0]["MessageBody"] += "x"
    code, text = refused(lambda: ours.client.send_message_batch(QueueUrl=url, Entries=entries))
    assert code == "AWS.SimpleQueueService.BatchRequestTooLong"
    assert text.endswith(f"You have sent {MEBIBYTE + 1} bytes.")


def test_the_trace_header_does_not_count(ours: Ours) -> None:
    url = ours.queue()
    sent = ours.client.send_message(
        QueueUrl=url,
        MessageBody="x" * MEBIBYTE,
        MessageSystemAttributes={
            "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3f"}
        },
    )
    assert "MD5OfMessageSystemAttributes" in sent


def test_ten_attributes_are_the_most(ours: Ours) -> None:
    url = ours.queue()
    names = [f"n{number}" for number in range(11)]
    send = ours.client.send_message
    send(QueueUrl=url, MessageBody="x", MessageAttributes=text_attributes(*names[:10]))
    code = refusal(
        lambda: send(QueueUrl=url, MessageBody="x", MessageAttributes=text_attributes(*names))
    )
    assert code == "InvalidParameterValue"


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_characters_outside_xml_are_refused(ours: Ours, character: str) -> None:
    url = ours.queue()
    send = ours.client.send_message
    code = refusal(lambda: send(QueueUrl=url, MessageBody=f"a{character}b"))
    assert code == "InvalidMessageContents"
    entries: Any = [{"Id": "bad", "MessageBody": character}, {"Id": "good", "MessageBody": "x"}]
    reply = ours.client.send_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Code"] for entry in reply["Failed"]] == ["InvalidMessageContents"]
    assert [entry["Id"] for entry in reply["Successful"]] == ["good"]


@pytest.mark.parametrize(
    "body", ["\t\n\r ", "\x7f\x80", "\ud7ff\ue000\ufffd", "\U00010000\U0010ffff"]
)
def test_characters_of_xml_pass(body: str) -> None:
    check_body(body)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(SqsError) as caught:
        check_body("\ud800")
    assert caught.value.code == "InvalidMessageContents"


@pytest.mark.parametrize(
    "name", ["", ".a", "a.", "a..b", "a b", "aws.x", "AWS.x", "Amazon.x", "é", "x" * 257, "a\n"]
)
def test_attribute_names_that_are_refused(name: str) -> None:
    with pytest.raises(SqsError):
        check_message_attributes(text_attributes(name))


@pytest.mark.parametrize("name", ["a", "a.b-c_D9", "awsx", "x" * 256])
def test_attribute_names_that_pass(name: str) -> None:
    check_message_attributes(text_attributes(name))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"DataType": "String"},
        {"DataType": "Text", "StringValue": "v"},
        {"DataType": "String", "BinaryValue": "AA=="},
        {"DataType": "String", "StringValue": "v", "BinaryValue": "AA=="},
        {"DataType": "Binary", "StringValue": "v"},
        {"DataType": "Binary", "BinaryValue": "no base64"},
        {"DataType": "Number", "StringValue": "one"},
        {"DataType": "String", "StringValue": "\x00"},
        {"DataType": "String.\ud800", "StringValue": "v"},
    ],
)
def test_attribute_values_that_are_refused(value: dict[str, str]) -> None:
    with pytest.raises(SqsError):
        check_message_attributes({"name": value})


def test_a_binary_value_counts_decoded() -> None:
    for data, size in (("AA==", 1), ("AAA=", 2), ("AAAA", 3)):
        attributes = {"n": {"DataType": "Binary", "BinaryValue": data}}
        assert message_size("", attributes) == len("nBinary") + size


def test_attribute_digests_are_those_that_the_service_was_seen_to_make() -> None:
    kenobi = {"General": "Kenobi", "Hello": "There", "Help.Me": "Me"}
    attributes = {
        name: {"DataType": "String", "StringValue": text} for name, text in kenobi.items()
    }
    assert attributes_md5(attributes) == "4c360f3fdafd970e05fae2f149d997f5"
    del attributes["Help.Me"]
    assert attributes_md5(attributes) == "fca026605781cb4126a1e9044df24232"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43201"),
        ("DelaySeconds", "901"),
        ("MessageRetentionPeriod", "59"),
        ("MaximumMessageSize", str(MEBIBYTE + 1)),
        ("MaximumMessageSize", "1023"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("VisibilityTimeout", "-1"),
        ("VisibilityTimeout", "ten"),
        ("FifoQueue", "false"),
    ],
)
def test_queue_attributes_out_of_range_are_refused(ours: Ours, name: str, value: str) -> None:
    attributes: Any = {name: value}
    assert refusal(lambda: ours.queue(**attributes)) == "InvalidAttributeValue"


def test_unknown_attributes_are_refused(ours: Ours) -> None:
    url = ours.queue()
    get: Any = ours.client.get_queue_attributes
    assert refusal(lambda: ours.queue(Nonsense="1")) == "InvalidAttributeName"
    assert refusal(lambda: ours.queue(ContentBasedDeduplication="true")) == "InvalidAttributeName"
    code = refusal(lambda: get(QueueUrl=url, AttributeNames=["Nonsense"]))
    assert code == "InvalidAttributeName"
    receive: Any = ours.client.receive_message
    code = refusal(lambda: receive(QueueUrl=url, MessageSystemAttributeNames=["Nonsense"]))
    assert code == "InvalidAttributeName"
    receive(QueueUrl=url, AttributeNames=["VisibilityTimeout"])  # a queue's: known, not shown


def test_ids_and_groups_are_printable_and_short(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    send: Any = ours.client.send_message
    for token in ("a b", "é", "x" * 129):
        for group, deduplication_id in ((token, "d"), ("g", token)):
            given = {"MessageGroupId": group, "MessageDeduplicationId": deduplication_id}
            code = refusal(partial(send, QueueUrl=url, MessageBody="x", **given))
            assert code == "InvalidParameterValue"
    send(
        QueueUrl=url,
        MessageBody="x",
        MessageGroupId="!~" * 64,
        MessageDeduplicationId="x" * 128,
    )


def test_a_queue_of_another_account_is_unknown(ours: Ours) -> None:
    url = ours.queue().replace("123456789012", "210987654321")
    code = refusal(lambda: ours.receive(url))
    assert code == "AWS.SimpleQueueService.NonExistentQueue"
