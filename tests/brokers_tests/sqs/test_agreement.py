"""Behaviours that moto has right too: both servers are asked the same and must agree."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers_tests.sqs.refusals import refusal

if TYPE_CHECKING:
    from tests.brokers_tests.sqs.conftest import Peer


def test_a_sent_message_arrives_with_body_and_digest(peer: Peer) -> None:
    url = peer.queue()
    sent = peer.client.send_message(QueueUrl=url, MessageBody='{"é": "\\"☃"}\n')
    [message] = peer.receive(url)
    assert message["Body"] == '{"é": "\\"☃"}\n'
    assert message["MessageId"] == sent["MessageId"]
    digest = hashlib.md5('{"é": "\\"☃"}\n'.encode(), usedforsecurity=False).hexdigest()
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"] == digest


def test_message_attributes_arrive_with_their_digest(peer: Peer) -> None:
    url = peer.queue()
    sent = peer.client.send_message(
        QueueUrl=url,
        MessageBody="x",
        MessageAttributes={
            "text": {"DataType": "String", "StringValue": "é"},
            "number": {"DataType": "Number", "StringValue": "1.5"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
    )
    [message] = peer.receive(url)
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["MessageAttributes"]["bytes"]["BinaryValue"] == b"\x00\xff"
    assert message["MessageAttributes"]["text"]["StringValue"] == "é"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], set()),
        (["All"], {"a.one", "a.two", "b"}),
        ([".*"], {"a.one", "a.two", "b"}),
        (["a.*"], {"a.one", "a.two"}),
        (["b", "none"], {"b"}),
    ],
)
def test_only_the_attributes_asked_for_are_shown(
    peer: Peer, names: list[str], shown: set[str]
) -> None:
    url = peer.queue()
    value: Any = {"DataType": "String", "StringValue": "v"}
    peer.client.send_message(
        QueueUrl=url,
        MessageBody="x",
        MessageAttributes=dict.fromkeys(["a.one", "a.two", "b"], value),
    )
    [message] = peer.client.receive_message(QueueUrl=url, MessageAttributeNames=names)["Messages"]
    assert set(message.get("MessageAttributes", {})) == shown


def test_a_received_message_is_hidden_until_released(peer: Peer) -> None:
    url = peer.queue()
    peer.client.send_message(QueueUrl=url, MessageBody="x")
    [first] = peer.receive(url)
    assert peer.receive(url) == []
    peer.client.change_message_visibility(
        QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
    )
    [second] = peer.receive(url)
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert first["ReceiptHandle"] != second["ReceiptHandle"]
    for name in ("SentTimestamp", "ApproximateFirstReceiveTimestamp"):
        assert first["Attributes"][name] == second["Attributes"][name]


def test_a_long_poll_wakes_when_a_visibility_ends(peer: Peer) -> None:
    url = peer.queue(VisibilityTimeout="1")
    peer.client.send_message(QueueUrl=url, MessageBody="x")
    assert peer.bodies(url) == ["x"]
    assert peer.bodies(url, WaitTimeSeconds=10) == ["x"]


def test_a_long_poll_wakes_when_a_message_is_sent(peer: Peer) -> None:
    url = peer.queue()
    timer = threading.Timer(0.1, lambda: peer.client.send_message(QueueUrl=url, MessageBody="late"))
    timer.start()
    assert peer.bodies(url, WaitTimeSeconds=10) == ["late"]
    timer.join()


def test_a_deleted_message_does_not_come_back(peer: Peer) -> None:
    url = peer.queue(VisibilityTimeout="0")
    peer.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = peer.receive(url)
    peer.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert peer.receive(url) == []


def test_deleting_twice_succeeds(peer: Peer) -> None:
    url = peer.queue()
    peer.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = peer.receive(url)
    for _ in range(2):
        peer.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_batches_report_each_entry(peer: Peer) -> None:
    url = peer.queue()
    sent = peer.client.send_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "good", "MessageBody": "a"},
            {"Id": "late", "MessageBody": "b", "DelaySeconds": 901},
        ],
    )
    assert [entry["Id"] for entry in sent["Successful"]] == ["good"]
    [failed] = sent["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == (
        "late",
        "InvalidParameterValue",
        True,
    )
    [message] = peer.receive(url)
    changed = peer.client.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "known", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 60},
            {"Id": "unknown", "ReceiptHandle": "nonsense", "VisibilityTimeout": 60},
        ],
    )
    assert [entry["Id"] for entry in changed["Successful"]] == ["known"]
    assert [(e["Id"], e["Code"]) for e in changed["Failed"]] == [
        ("unknown", "ReceiptHandleIsInvalid")
    ]
    deleted = peer.client.delete_message_batch(
        QueueUrl=url, Entries=[{"Id": "known", "ReceiptHandle": message["ReceiptHandle"]}]
    )
    assert [entry["Id"] for entry in deleted["Successful"]] == ["known"]


def test_delayed_messages_are_counted_and_not_delivered(peer: Peer) -> None:
    url = peer.queue(DelaySeconds="900")
    peer.client.send_message(QueueUrl=url, MessageBody="by queue")
    peer.client.send_message(QueueUrl=url, MessageBody="at once", DelaySeconds=0)
    peer.client.send_message(QueueUrl=url, MessageBody="by message", DelaySeconds=800)
    assert peer.bodies(url) == ["at once"]
    counted = peer.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessages"] == "0"
    assert counted["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert counted["ApproximateNumberOfMessagesDelayed"] == "2"


def test_a_short_delay_ends(peer: Peer) -> None:
    url = peer.queue()
    peer.client.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=1)
    assert peer.bodies(url, WaitTimeSeconds=0) == []
    assert peer.bodies(url, WaitTimeSeconds=10) == ["x"]


def test_a_fifo_group_is_locked_while_in_flight_and_others_go_on(peer: Peer) -> None:
    url = peer.queue(fifo=True)
    peer.send_fifo(url, "a", "a1", "a2", "a3")
    peer.send_fifo(url, "b", "b1")
    assert peer.bodies(url, 2) == ["a1", "a2"]
    assert peer.bodies(url) == ["b1"]
    assert peer.bodies(url) == []


def test_a_released_fifo_group_comes_back_in_order(peer: Peer) -> None:
    url = peer.queue(fifo=True)
    peer.send_fifo(url, "a", "1", "2", "3")
    received = peer.receive(url)
    for message in received:
        peer.client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    assert peer.bodies(url) == ["1", "2", "3"]


def test_fifo_messages_carry_group_deduplication_id_and_number(peer: Peer) -> None:
    url = peer.queue(fifo=True)
    sent = peer.client.send_message(
        QueueUrl=url, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d"
    )
    [message] = peer.receive(url)
    assert message["Attributes"]["MessageGroupId"] == "g"
    assert message["Attributes"]["MessageDeduplicationId"] == "d"
    assert message["Attributes"]["SequenceNumber"] == sent["SequenceNumber"]
    assert len(sent["SequenceNumber"]) == 20


def test_a_repeated_deduplication_id_is_accepted_and_not_delivered(peer: Peer) -> None:
    url = peer.queue(fifo=True)
    for body in ("first", "second"):
        peer.client.send_message(
            QueueUrl=url, MessageBody=body, MessageGroupId="g", MessageDeduplicationId="same"
        )
    assert peer.bodies(url) == ["first"]


def test_content_decides_when_no_deduplication_id_is_given(peer: Peer) -> None:
    url = peer.queue(fifo=True, ContentBasedDeduplication="true")
    for body in ("same", "same", "other"):
        peer.client.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    received = peer.receive(url)
    assert [message["Body"] for message in received] == ["same", "other"]
    digest = hashlib.sha256(b"same").hexdigest()
    assert received[0]["Attributes"]["MessageDeduplicationId"] == digest


def test_a_message_received_too_often_goes_to_the_dead_letter_queue(peer: Peer) -> None:
    letters = peer.queue()
    policy = json.dumps({"deadLetterTargetArn": peer.arn(letters), "maxReceiveCount": 2})
    url = peer.queue(VisibilityTimeout="0", RedrivePolicy=policy)
    sent = peer.client.send_message(QueueUrl=url, MessageBody="poison")
    assert [len(peer.receive(url)) for _ in range(3)] == [1, 1, 0]
    [letter] = peer.receive(letters)
    assert letter["MessageId"] == sent["MessageId"]
    assert letter["Body"] == "poison"


def test_a_trace_header_travels_as_system_attribute(peer: Peer) -> None:
    url = peer.queue()
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    peer.client.send_message(
        QueueUrl=url,
        MessageBody="x",
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}},
    )
    [message] = peer.receive(url)
    assert message["Attributes"]["AWSTraceHeader"] == header
    assert "MessageAttributes" not in message


def test_a_group_id_on_a_standard_queue_is_shown_and_locks_nothing(peer: Peer) -> None:
    url = peer.queue()
    for body in ("1", "2"):
        peer.client.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="tenant")
    received = peer.receive(url, 1) + peer.receive(url, 1)
    assert [message["Attributes"]["MessageGroupId"] for message in received] == ["tenant"] * 2
    assert "SequenceNumber" not in received[0]["Attributes"]


def test_queue_attributes_are_set_and_shown(peer: Peer) -> None:
    url = peer.queue(VisibilityTimeout="45")
    peer.client.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "7"})
    shown = peer.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (shown["VisibilityTimeout"], shown["DelaySeconds"]) == ("45", "7")
    assert shown["MessageRetentionPeriod"] == "345600"
    assert shown["QueueArn"].endswith(url.rpartition("/")[2])


def test_creating_again_gives_the_same_queue_and_url(peer: Peer) -> None:
    url = peer.queue()
    name = url.rpartition("/")[2]
    assert peer.client.create_queue(QueueName=name)["QueueUrl"] == url
    assert peer.client.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert (
        refusal(lambda: peer.client.create_queue(QueueName=name, Attributes={"DelaySeconds": "1"}))
        == "QueueAlreadyExists"
    )


def test_a_purge_empties_the_queue_once_a_minute(peer: Peer) -> None:
    url = peer.queue()
    peer.client.send_message(QueueUrl=url, MessageBody="x")
    peer.client.purge_queue(QueueUrl=url)
    assert peer.receive(url) == []
    code = refusal(lambda: peer.client.purge_queue(QueueUrl=url))
    assert code == "AWS.SimpleQueueService.PurgeQueueInProgress"


def test_an_unknown_queue_is_refused(peer: Peer) -> None:
    url = peer.queue() + "-unknown"
    code = "AWS.SimpleQueueService.NonExistentQueue"
    assert refusal(lambda: peer.client.send_message(QueueUrl=url, MessageBody="x")) == code
    assert refusal(lambda: peer.client.get_queue_url(QueueName="unknown")) == code
    with pytest.raises(peer.client.exceptions.QueueDoesNotExist):
        peer.receive(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MaxNumberOfMessages", 0),
        ("MaxNumberOfMessages", 11),
        ("WaitTimeSeconds", 21),
        ("VisibilityTimeout", 43201),
    ],
)
def test_receives_out_of_range_are_refused(peer: Peer, name: str, value: int) -> None:
    url = peer.queue()
    options: Any = {name: value}
    code = refusal(lambda: peer.client.receive_message(QueueUrl=url, **options))
    assert code == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ([], "EmptyBatchRequest"),
        (["a", "a"], "BatchEntryIdsNotDistinct"),
        (["a b"], "InvalidBatchEntryId"),
        (["x" * 81], "InvalidBatchEntryId"),
        ([str(n) for n in range(11)], "TooManyEntriesInBatchRequest"),
    ],
)
def test_batches_are_refused_as_a_whole(peer: Peer, ids: list[str], code: str) -> None:
    url = peer.queue()
    entries: Any = [{"Id": entry_id, "MessageBody": "x"} for entry_id in ids]
    found = refusal(lambda: peer.client.send_message_batch(QueueUrl=url, Entries=entries))
    assert found == f"AWS.SimpleQueueService.{code}"


def test_one_mebibyte_is_the_most(peer: Peer) -> None:
    url = peer.queue()
    most = 1024 * 1024
    peer.client.send_message(QueueUrl=url, MessageBody="x" * most)
    assert (
        refusal(lambda: peer.client.send_message(QueueUrl=url, MessageBody="x" * (most + 1)))
        == "InvalidParameterValue"
    )
    halves: Any = [{"Id": i, "MessageBody": "x" * (most // 2 + 1)} for i in ("a", "b")]
    code = refusal(lambda: peer.client.send_message_batch(QueueUrl=url, Entries=halves))
    assert code == "AWS.SimpleQueueService.BatchRequestTooLong"


def test_fifo_sends_need_a_group_and_a_deduplication_id(peer: Peer) -> None:
    url = peer.queue(fifo=True)
    send = peer.client.send_message
    assert (
        refusal(lambda: send(QueueUrl=url, MessageBody="x", MessageDeduplicationId="d"))
        == "MissingParameter"
    )
    assert (
        refusal(lambda: send(QueueUrl=url, MessageBody="x", MessageGroupId="g"))
        == "InvalidParameterValue"
    )


def test_a_fifo_queue_takes_no_delay_by_message(peer: Peer) -> None:
    url = peer.queue(fifo=True)
    assert (
        refusal(
            lambda: peer.client.send_message(
                QueueUrl=url,
                MessageBody="x",
                MessageGroupId="g",
                MessageDeduplicationId="d",
                DelaySeconds=1,
            )
        )
        == "InvalidParameterValue"
    )


def test_nonsense_is_no_receipt(peer: Peer) -> None:
    url = peer.queue()
    code = refusal(
        lambda: peer.client.change_message_visibility(
            QueueUrl=url, ReceiptHandle="nonsense", VisibilityTimeout=0
        )
    )
    assert code == "ReceiptHandleIsInvalid"
    code = refusal(lambda: peer.client.delete_message(QueueUrl=url, ReceiptHandle="nonsense"))
    assert code == "ReceiptHandleIsInvalid"
