"""Locks, schedules, times to live and duplicate windows, with the broker's clock moved."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import (
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusSubQueue,
)
from azure.servicebus.exceptions import MessageLockLostError, MessageNotFoundError

from tests.brokers.service_bus import Kind

if TYPE_CHECKING:
    from .bench import Bench


@pytest.fixture
def bench(rough_bench: Bench) -> Bench:
    return rough_bench


def test_an_expired_lock_counts_and_the_message_comes_again(bench: Bench) -> None:
    queue = bench.queue(lock_duration=30)
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)
    bench.broker.advance(29)
    assert bench.broker.journal.events(Kind.LOCK_EXPIRED, entity=queue) == []
    bench.broker.advance(2)
    [again] = receiver.receive_messages(1, 5)
    assert (again.sequence_number, again.delivery_count) == (message.sequence_number, 1)
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    receiver.complete_message(again)


def test_a_renewed_lock_lasts_from_the_renewal(bench: Bench) -> None:
    queue = bench.queue(lock_duration=30)
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)
    before = message.locked_until_utc
    bench.broker.advance(20)
    until = receiver.renew_message_lock(message)
    assert until >= before + timedelta(seconds=20)
    bench.broker.advance(20)
    receiver.complete_message(message)
    assert bench.broker.messages(queue) == []


def test_a_lost_lock_cannot_be_renewed(bench: Bench) -> None:
    queue = bench.queue(lock_duration=30)
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)
    bench.broker.expire_locks(queue)
    with pytest.raises(MessageLockLostError):
        receiver.renew_message_lock(message)


def test_scheduled_by_property_arrives_when_due_with_a_new_number(bench: Bench) -> None:
    queue = bench.queue()
    due = bench.later(60)
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a", scheduled_enqueue_time_utc=due))
    [peeked] = receiver.peek_messages(1)
    assert peeked.state is ServiceBusMessageState.SCHEDULED
    bench.broker.advance(61)
    [message] = receiver.receive_messages(1, 5)
    assert (message.sequence_number, message.enqueued_sequence_number) == (2, 1)
    assert abs(message.scheduled_enqueue_time_utc - due) < timedelta(milliseconds=1)


def test_scheduled_by_request_arrives_unless_cancelled(bench: Bench) -> None:
    queue = bench.queue()
    sender = bench.sender(queue)
    messages = [ServiceBusMessage("kept"), ServiceBusMessage("cancelled")]
    kept, cancelled = sender.schedule_messages(messages, bench.later(60))
    sender.cancel_scheduled_messages(cancelled)
    with pytest.raises(MessageNotFoundError):
        sender.cancel_scheduled_messages([cancelled])
    bench.broker.advance(61)
    [left] = bench.broker.messages(queue)
    assert left.body == b"kept"
    with pytest.raises(MessageNotFoundError):
        sender.cancel_scheduled_messages(kept)


def test_a_message_outlives_its_time_only_as_a_dead_letter(bench: Bench) -> None:
    queue = bench.queue(dead_letter_on_expiry=True)
    message = ServiceBusMessage("a", time_to_live=timedelta(seconds=20))
    bench.sender(queue).send_messages(message)
    bench.broker.advance(21)
    assert bench.broker.messages(queue) == []
    dead = bench.receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [letter] = dead.receive_messages(1, 5)
    assert letter.dead_letter_reason == "TTLExpiredException"
    assert letter.time_to_live == timedelta(seconds=20)


def test_duplicates_are_accepted_and_dropped_within_the_window(bench: Bench) -> None:
    queue = bench.queue(duplicate_window=60)
    sender = bench.sender(queue)
    sender.send_messages(ServiceBusMessage("a", message_id="m"))
    sender.send_messages(ServiceBusMessage("b", message_id="m"))
    assert [left.body for left in bench.broker.messages(queue)] == [b"a"]
    bench.broker.advance(61)
    sender.send_messages(ServiceBusMessage("c", message_id="m"))
    assert [left.body for left in bench.broker.messages(queue)] == [b"a", b"c"]


def test_what_is_scheduled_on_a_topic_fans_out_when_due(bench: Bench) -> None:
    topic = bench.topic("one", "two")
    sender = bench.topic_sender(topic)
    messages = [ServiceBusMessage("a"), ServiceBusMessage("b")]
    _, cancelled = sender.schedule_messages(messages, bench.later(60))
    sender.cancel_scheduled_messages(cancelled)
    bench.broker.advance(61)
    for name in ("one", "two"):
        [message] = bench.broker.messages(f"{topic}/Subscriptions/{name}")
        assert message.body == b"a"


def test_moving_time_does_not_age_tokens(bench: Bench) -> None:
    queue = bench.queue()
    bench.broker.advance(7200)
    bench.sender(queue).send_messages(ServiceBusMessage("a"))
    assert len(bench.broker.messages(queue)) == 1
