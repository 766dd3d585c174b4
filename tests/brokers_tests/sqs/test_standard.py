"""Standard queues as AWS documents them where moto is silent or wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.sqs import Kind, SqsBroker, stopped_clock
from tests.brokers_tests.sqs.conftest import Ours
from tests.brokers_tests.sqs.refusals import refusal, refused

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_visibility_timeout_counts_from_the_receive(ours: Ours) -> None:
    url = ours.queue(VisibilityTimeout="30")
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    ours.pass_time(1000)
    assert ours.bodies(url) == ["x"]
    ours.pass_time(29.9)
    assert ours.bodies(url) == []
    ours.pass_time(0.1)
    assert ours.bodies(url) == ["x"]


def test_a_receive_may_choose_its_own_visibility(ours: Ours) -> None:
    url = ours.queue()
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    ours.receive(url, VisibilityTimeout=100)
    ours.pass_time(99)
    assert ours.bodies(url) == []
    ours.pass_time(1)
    assert ours.bodies(url) == ["x"]


def test_a_stale_delete_succeeds_and_deletes_nothing(ours: Ours) -> None:
    url = ours.queue(VisibilityTimeout="30")
    sent = ours.client.send_message(QueueUrl=url, MessageBody="x")
    [first] = ours.receive(url)
    ours.pass_time(30)
    [second] = ours.receive(url)
    ours.client.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    stale = ours.broker.journal.events(Kind.STALE_DELETE)
    assert [event.message_id for event in stale] == [sent["MessageId"]]
    ours.pass_time(30)
    [third] = ours.receive(url)
    assert third["MessageId"] == second["MessageId"]


def test_a_late_delete_with_the_latest_receipt_deletes(ours: Ours) -> None:
    url = ours.queue(VisibilityTimeout="30")
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    ours.pass_time(31)
    ours.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert ours.receive(url) == []


def test_a_late_visibility_change_with_the_latest_receipt_hides_again(ours: Ours) -> None:
    url = ours.queue(VisibilityTimeout="30")
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    ours.pass_time(31)
    change(ours, url, message, 60)
    assert ours.receive(url) == []
    ours.pass_time(60)
    assert ours.bodies(url) == ["x"]


def test_a_visibility_change_with_an_older_receipt_is_refused(ours: Ours) -> None:
    url = ours.queue(VisibilityTimeout="30")
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [first] = ours.receive(url)
    ours.pass_time(30)
    ours.receive(url)
    code, message = refused(lambda: change(ours, url, first, 0))
    assert code == "InvalidParameterValue"
    assert "not available for visibility timeout change" in message


def test_a_visibility_change_of_a_deleted_message_is_refused(ours: Ours) -> None:
    url = ours.queue()
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    ours.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert refusal(lambda: change(ours, url, message, 10)) == "InvalidParameterValue"


def test_twelve_hours_since_the_receive_are_the_most(ours: Ours) -> None:
    url = ours.queue()
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    change(ours, url, message, 43200)
    ours.pass_time(3600)
    code, text = refused(lambda: change(ours, url, message, 43200 - 3599))
    assert code == "InvalidParameterValue"
    assert "Total VisibilityTimeout for the message is beyond the limit" in text
    change(ours, url, message, 43200 - 3600)


def test_a_receipt_of_another_queue_is_invalid(ours: Ours) -> None:
    one, other = ours.queue(), ours.queue()
    ours.client.send_message(QueueUrl=one, MessageBody="x")
    [message] = ours.receive(one)
    delete = ours.client.delete_message
    code = refusal(lambda: delete(QueueUrl=other, ReceiptHandle=message["ReceiptHandle"]))
    assert code == "ReceiptHandleIsInvalid"


def test_messages_end_with_their_retention(ours: Ours) -> None:
    url = ours.queue(MessageRetentionPeriod="60")
    ours.client.send_message(QueueUrl=url, MessageBody="old")
    ours.pass_time(59)
    ours.client.send_message(QueueUrl=url, MessageBody="new")
    ours.pass_time(1)
    assert ours.bodies(url) == ["new"]
    assert len(ours.broker.journal.events(Kind.EXPIRED)) == 1


def test_a_dead_letter_keeps_id_and_time_and_names_its_source(ours: Ours) -> None:
    letters, url = with_dead_letters(ours, maxReceiveCount=1)
    sent = ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    ours.pass_time(100)
    assert ours.receive(url) == []
    [letter] = ours.receive(letters)
    assert letter["MessageId"] == sent["MessageId"]
    assert letter["Attributes"]["SentTimestamp"] == message["Attributes"]["SentTimestamp"]
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == ours.arn(url)
    assert letter["Attributes"]["ApproximateReceiveCount"] == "2"
    [event] = ours.broker.journal.events(Kind.DEAD_LETTERED)
    assert (event.message_id, event.detail) == (sent["MessageId"], letters.rpartition("/")[2])


def test_the_dead_letter_queues_retention_counts_from_the_first_send(ours: Ours) -> None:
    letters, url = with_dead_letters(ours, maxReceiveCount=1)
    ours.client.set_queue_attributes(QueueUrl=letters, Attributes={"MessageRetentionPeriod": "60"})
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    ours.receive(url)
    ours.pass_time(60)
    assert ours.receive(url) == []
    assert ours.receive(letters) == []


def test_an_emptied_redrive_policy_stops_the_redrive(ours: Ours) -> None:
    letters, url = with_dead_letters(ours, maxReceiveCount=1)
    ours.client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    for _ in range(3):
        assert ours.bodies(url, VisibilityTimeout=0) == ["x"]
    assert ours.receive(letters) == []


@pytest.mark.parametrize(
    "policy",
    [
        "no json",
        '{"deadLetterTargetArn": "dummy", "maxReceiveCount": 1}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:none", "maxReceiveCount": 1}',
        '{"maxReceiveCount": 1}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:none", "maxReceiveCount": 0}',
    ],
)
def test_redrive_policies_that_cannot_work_are_refused(ours: Ours, policy: str) -> None:
    assert refusal(lambda: ours.queue(RedrivePolicy=policy)) == "InvalidParameterValue"


def test_a_dead_letter_queue_is_of_its_sources_type(ours: Ours) -> None:
    policy = json.dumps({"deadLetterTargetArn": ours.arn(ours.queue()), "maxReceiveCount": 1})
    code = refusal(lambda: ours.queue(fifo=True, RedrivePolicy=policy))
    assert code == "InvalidParameterValue"


@pytest.fixture
def narrow() -> Iterator[Ours]:
    with SqsBroker(clock=stopped_clock(), in_flight_limit=3) as broker:
        yield Ours(broker)


def test_too_many_in_flight_is_an_error_on_standard_queues(narrow: Ours) -> None:
    url = narrow.queue()
    for number in range(5):
        narrow.client.send_message(QueueUrl=url, MessageBody=str(number))
    received = narrow.receive(url)
    assert len(received) == 3
    assert refusal(lambda: narrow.receive(url)) == "OverLimit"
    narrow.client.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
    assert narrow.bodies(url) == ["3"]


def test_too_many_in_flight_gives_nothing_on_fifo_queues(narrow: Ours) -> None:
    url = narrow.queue(fifo=True)
    for number in range(5):
        narrow.send_fifo(url, f"g{number}", "x")
    assert len(narrow.receive(url)) == 3
    assert narrow.receive(url) == []


def test_disorder_shuffles_near_messages_and_loses_none() -> None:
    with SqsBroker(disorder=8, seed=7) as broker:
        url = broker.create_queue("orders")
        client = Ours(broker)
        sent = [str(number) for number in range(40)]
        for body in sent:
            client.client.send_message(QueueUrl=url, MessageBody=body)
        received: list[Any] = []
        while bodies := client.bodies(url):
            received += bodies
    assert received != sent
    assert sorted(received, key=int) == sent


def change(ours: Ours, url: str, message: dict[str, Any], seconds: int) -> None:
    ours.client.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
    )


def with_dead_letters(ours: Ours, **policy: int) -> tuple[str, str]:
    """The URLs of a dead-letter queue and of its source."""
    letters = ours.queue()
    text = json.dumps({"deadLetterTargetArn": ours.arn(letters), **policy})
    return letters, ours.queue(RedrivePolicy=text)
