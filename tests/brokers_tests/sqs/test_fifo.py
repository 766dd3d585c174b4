"""FIFO queues as AWS documents them where moto is silent or wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.sqs import Kind
from tests.brokers_tests.sqs.refusals import refusal, refused
from tests.brokers_tests.sqs.test_standard import change

if TYPE_CHECKING:
    from tests.brokers_tests.sqs.conftest import Ours


def test_expired_messages_of_a_group_come_back_in_order(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1", "2", "3")
    assert ours.bodies(url) == ["1", "2", "3"]
    ours.pass_time(30)
    assert ours.bodies(url) == ["1", "2", "3"]


def test_a_group_waits_for_its_last_message_in_flight(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1", "2", "3", "4")
    first, second, third = ours.receive(url, 3)
    ours.client.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    change(ours, url, third, 0)
    assert ours.bodies(url) == []
    change(ours, url, second, 100)
    ours.pass_time(99)
    assert ours.bodies(url) == []
    ours.pass_time(1)
    assert ours.bodies(url) == ["2", "3", "4"]


def test_a_delete_frees_the_group(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1", "2")
    [message] = ours.receive(url, 1)
    ours.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert ours.bodies(url) == ["2"]


def test_groups_are_served_by_their_oldest_message(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "a", "a1")
    ours.send_fifo(url, "b", "b1")
    ours.send_fifo(url, "a", "a2")
    assert ours.bodies(url, 2) == ["a1", "a2"]
    assert ours.bodies(url, 2) == ["b1"]


def test_a_late_delete_is_refused(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1")
    [message] = ours.receive(url)
    ours.pass_time(30)
    handle = message["ReceiptHandle"]
    code, text = refused(lambda: ours.client.delete_message(QueueUrl=url, ReceiptHandle=handle))
    assert code == "InvalidParameterValue"
    assert text.endswith("Reason: The receipt handle has expired.")
    reply = ours.client.delete_message_batch(
        QueueUrl=url, Entries=[{"Id": "late", "ReceiptHandle": handle}]
    )
    assert [entry["Code"] for entry in reply["Failed"]] == ["ReceiptHandleIsInvalid"]
    assert ours.bodies(url) == ["1"]


def test_a_late_visibility_change_is_refused(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1")
    [message] = ours.receive(url)
    ours.pass_time(30)
    assert refusal(lambda: change(ours, url, message, 0)) == "InvalidParameterValue"


def test_deduplication_remembers_five_minutes_also_what_was_deleted(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "x")
    [message] = ours.receive(url)
    ours.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    ours.pass_time(299)
    ours.send_fifo(url, "g", "x")
    assert ours.receive(url) == []
    ours.pass_time(1)
    ours.send_fifo(url, "g", "x")
    assert ours.bodies(url) == ["x"]
    assert len(ours.broker.journal.events(Kind.DEDUPLICATED)) == 1


def test_a_duplicate_is_told_the_originals_id_and_number(ours: Ours) -> None:
    url = ours.queue(fifo=True, ContentBasedDeduplication="true")
    first, second = (
        ours.client.send_message(QueueUrl=url, MessageBody="x", MessageGroupId=group)
        for group in ("a", "b")
    )
    assert first["MessageId"] == second["MessageId"]
    assert first["SequenceNumber"] == second["SequenceNumber"]


def test_deduplication_may_be_by_group(ours: Ours) -> None:
    url = ours.queue(
        fifo=True,
        DeduplicationScope="messageGroup",
        FifoThroughputLimit="perMessageGroupId",
        ContentBasedDeduplication="true",
    )
    for group in ("a", "b", "a"):
        ours.client.send_message(QueueUrl=url, MessageBody="x", MessageGroupId=group)
    assert ours.bodies(url) == ["x", "x"]


def test_a_repeated_attempt_gives_the_same_messages_and_handles(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1", "2", "3")
    first = ours.receive(url, 2, ReceiveRequestAttemptId="try")
    ours.pass_time(29)
    again = ours.receive(url, 2, ReceiveRequestAttemptId="try")
    assert again == first
    ours.pass_time(29)  # the repeat began the visibility timeout anew
    assert ours.receive(url) == []
    ours.pass_time(1)
    assert ours.bodies(url) == ["1", "2", "3"]


@pytest.mark.parametrize("settlement", ["delete", "change"])
def test_an_attempt_is_not_repeated_once_a_message_was_settled(ours: Ours, settlement: str) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1", "2")
    [message, _] = ours.receive(url, ReceiveRequestAttemptId="try")
    if settlement == "delete":
        ours.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    else:
        change(ours, url, message, 100)
    code, text = refused(lambda: ours.receive(url, ReceiveRequestAttemptId="try"))
    assert code == "InvalidParameterValue"
    assert "not valid anymore" in text


def test_an_attempt_is_forgotten_after_five_minutes(ours: Ours) -> None:
    url = ours.queue(fifo=True, VisibilityTimeout="1000")
    ours.send_fifo(url, "g", "1")
    ours.receive(url, ReceiveRequestAttemptId="try")
    ours.pass_time(300)
    assert ours.receive(url, ReceiveRequestAttemptId="try") == []


def test_an_attempt_id_is_for_fifo_queues(ours: Ours) -> None:
    url = ours.queue()
    code = refusal(lambda: ours.receive(url, ReceiveRequestAttemptId="try"))
    assert code == "InvalidParameterValue"


def test_a_fifo_dead_letter_has_its_id_for_deduplication_and_a_new_time(ours: Ours) -> None:
    letters = ours.queue(fifo=True)
    policy = json.dumps({"deadLetterTargetArn": ours.arn(letters), "maxReceiveCount": 1})
    url = ours.queue(fifo=True, RedrivePolicy=policy)
    ours.send_fifo(url, "g", "1", "2")
    [message, _] = ours.receive(url)
    ours.pass_time(30)
    assert ours.receive(url) == []
    letter = ours.receive(letters)[0]
    attributes = letter["Attributes"]
    assert letter["MessageId"] == message["MessageId"]
    assert attributes["MessageGroupId"] == "g"
    assert attributes["MessageDeduplicationId"] == message["MessageId"]
    sent = int(message["Attributes"]["SentTimestamp"])
    assert int(attributes["SentTimestamp"]) == sent + 30_000
    assert attributes["DeadLetterQueueSourceArn"] == ours.arn(url)


def test_a_dead_letter_lets_its_group_go_on_at_once(ours: Ours) -> None:
    letters = ours.queue(fifo=True)
    policy = json.dumps({"deadLetterTargetArn": ours.arn(letters), "maxReceiveCount": 1})
    url = ours.queue(fifo=True, RedrivePolicy=policy)
    ours.send_fifo(url, "g", "1", "2")
    ours.receive(url, 1)
    ours.pass_time(30)
    assert ours.bodies(url) == ["2"]
    assert ours.bodies(letters) == ["1"]


def test_a_queues_delay_keeps_the_order_also_when_shortened(ours: Ours) -> None:
    url = ours.queue(fifo=True, DelaySeconds="60")
    ours.send_fifo(url, "g", "1")
    ours.client.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0"})
    ours.send_fifo(url, "g", "2")
    assert ours.receive(url) == []
    ours.pass_time(60)
    assert ours.bodies(url) == ["1", "2"]


def test_a_standard_queue_takes_no_deduplication_id(ours: Ours) -> None:
    url = ours.queue()
    send = ours.client.send_message
    code = refusal(lambda: send(QueueUrl=url, MessageBody="x", MessageDeduplicationId="d"))
    assert code == "InvalidParameterValue"


def test_a_batch_without_groups_is_refused_as_a_whole(ours: Ours) -> None:
    url = ours.queue(fifo=True)
    code = refusal(
        lambda: ours.client.send_message_batch(
            QueueUrl=url,
            Entries=[
                {
                    "Id": "good",
                    "MessageBody": "x",
                    "MessageGroupId": "g",
                    "MessageDeduplicationId": "d",
                },
                {"Id": "bad", "MessageBody": "x"},
            ],
        )
    )
    assert code == "InvalidParameterValue"
    assert ours.receive(url) == []


def test_names_and_types_belong_together(ours: Ours) -> None:
    create = ours.client.create_queue
    code = refusal(lambda: create(QueueName="plain", Attributes={"FifoQueue": "true"}))
    assert code == "InvalidParameterValue"
    assert refusal(lambda: create(QueueName="plain.fifo")) == "InvalidParameterValue"
    assert refusal(lambda: create(QueueName="x" * 81)) == "InvalidParameterValue"


def test_a_queues_type_cannot_be_changed(ours: Ours) -> None:
    set_attributes = ours.client.set_queue_attributes
    fifo, standard = ours.queue(fifo=True), ours.queue()
    attributes: Any = {"FifoQueue": "false"}
    code = refusal(lambda: set_attributes(QueueUrl=fifo, Attributes=attributes))
    assert code == "InvalidAttributeValue"
    code = refusal(lambda: set_attributes(QueueUrl=standard, Attributes=attributes))
    assert code == "InvalidAttributeName"
