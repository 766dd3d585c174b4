"""Receives that wait: what wakes them, who is served, and what happens to a client that left."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.brokers.sqs import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers_tests.sqs.conftest import Ours


class Waiting:
    """Long polls on threads of their own, known to have arrived."""

    def __init__(self, ours: Ours, pool: ThreadPoolExecutor) -> None:
        self._ours = ours
        self._pool = pool

    def start(self, url: str, **options: Any) -> Future[list[str]]:
        calls = self._ours.broker.journal.calls
        before = calls["ReceiveMessage"]
        future = self._pool.submit(self._ours.bodies, url, 1, **options)
        self._ours.broker.journal.wait_until(lambda: calls["ReceiveMessage"] > before)
        self._ours.broker.counts(url.rpartition("/")[2])  # behind the receive on the same thread
        return future


@pytest.fixture
def waiting(ours: Ours) -> Iterator[Waiting]:
    with ThreadPoolExecutor(4) as pool:
        yield Waiting(ours, pool)


def test_a_send_wakes_the_first_that_waited(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue()
    first, second = waiting.start(url, WaitTimeSeconds=20), waiting.start(url, WaitTimeSeconds=20)
    ours.client.send_message(QueueUrl=url, MessageBody="one")
    assert first.result(5) == ["one"]
    assert not second.done()
    ours.client.send_message(QueueUrl=url, MessageBody="two")
    assert second.result(5) == ["two"]


def test_the_end_of_a_visibility_wakes(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue(VisibilityTimeout="15")
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    ours.receive(url)
    poll = waiting.start(url, WaitTimeSeconds=20)
    ours.pass_time(15)
    assert poll.result(5) == ["x"]


def test_the_end_of_a_delay_wakes(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue()
    ours.client.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=10)
    poll = waiting.start(url, WaitTimeSeconds=20)
    ours.pass_time(10)
    assert poll.result(5) == ["x"]


def test_a_released_message_wakes(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue()
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    [message] = ours.receive(url)
    poll = waiting.start(url, WaitTimeSeconds=20)
    ours.client.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    assert poll.result(5) == ["x"]


def test_a_delete_that_frees_a_group_wakes(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue(fifo=True)
    ours.send_fifo(url, "g", "1", "2")
    [message] = ours.receive(url, 1)
    poll = waiting.start(url, WaitTimeSeconds=20)
    ours.client.delete_message_batch(
        QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}]
    )
    assert poll.result(5) == ["2"]


def test_a_dead_letter_wakes_who_waits_for_dead_letters(ours: Ours, waiting: Waiting) -> None:
    letters = ours.queue()
    policy = json.dumps({"deadLetterTargetArn": ours.arn(letters), "maxReceiveCount": 1})
    url = ours.queue(VisibilityTimeout="0", RedrivePolicy=policy)
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    poll = waiting.start(letters, WaitTimeSeconds=20)
    assert [ours.bodies(url), ours.bodies(url)] == [["x"], []]
    assert poll.result(5) == ["x"]


def test_a_poll_ends_empty_at_its_deadline(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue()
    poll = waiting.start(url, WaitTimeSeconds=7)
    ours.pass_time(6)
    ours.broker.counts(url.rpartition("/")[2])
    assert not poll.done()
    ours.pass_time(1)
    assert poll.result(5) == []


def test_the_queue_may_say_how_long_to_wait(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue(ReceiveMessageWaitTimeSeconds="5")
    poll = waiting.start(url)
    ours.pass_time(4)
    ours.broker.counts(url.rpartition("/")[2])
    assert not poll.done()
    ours.pass_time(1)
    assert poll.result(5) == []


def test_a_poll_whose_client_left_takes_no_message(ours: Ours, waiting: Waiting) -> None:
    url = ours.queue()
    poll = waiting.start(url, WaitTimeSeconds=20)
    ours.broker.drop_connections()
    with pytest.raises(ConnectionClosedError):
        poll.result(5)
    ours.client.send_message(QueueUrl=url, MessageBody="x")
    assert ours.broker.journal.events(Kind.RECEIVED) == []
    assert ours.bodies(url) == ["x"]
