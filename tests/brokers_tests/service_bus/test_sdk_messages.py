"""Sending, receiving and settling, as the real SDK does it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from azure.servicebus import (
    AutoLockRenewer,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.aio import AutoLockRenewer as AsyncAutoLockRenewer
from azure.servicebus.exceptions import (
    MessageAlreadySettled,
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
)

from tests.brokers.service_bus import Kind, MessageState

if TYPE_CHECKING:
    from .bench import Bench


def test_a_message_arrives_as_it_was_sent(bench: Bench) -> None:
    queue = bench.queue()
    identifier = uuid4()
    bench.sender(queue).send_messages(
        ServiceBusMessage(
            b"\x00body",
            message_id="m-1",
            correlation_id="c-1",
            subject="s",
            content_type="text/plain",
            partition_key="p",
            application_properties={"text": "t", "number": 7, "id": identifier, "yes": True},
        )
    )
    [message] = bench.receiver(queue).receive_messages(1, 5)
    assert b"".join(message.body) == b"\x00body"
    assert (message.message_id, message.correlation_id) == ("m-1", "c-1")
    assert (message.subject, message.content_type, message.partition_key) == (
        "s",
        "text/plain",
        "p",
    )
    properties = message.application_properties
    assert properties == {b"text": b"t", b"number": 7, b"id": identifier, b"yes": True}
    assert (message.sequence_number, message.enqueued_sequence_number) == (1, 1)
    assert message.delivery_count == 0
    assert message.enqueued_time_utc < message.locked_until_utc


def test_lists_and_batches_arrive_one_by_one_and_in_order(bench: Bench) -> None:
    queue = bench.queue()
    sender = bench.sender(queue)
    sender.send_messages([ServiceBusMessage(f"{n}") for n in range(3)])
    batch = sender.create_message_batch()
    for n in range(3, 6):
        batch.add_message(ServiceBusMessage(f"{n}"))
    sender.send_messages(batch)
    received = bench.receiver(queue).receive_messages(6, 5)
    assert [str(message) for message in received] == ["0", "1", "2", "3", "4", "5"]


def test_a_message_larger_than_a_frame_travels_in_pieces_both_ways(bench: Bench) -> None:
    queue = bench.queue()
    body = bytes(range(256)) * 2800
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage(body))
    [message] = receiver.receive_messages(1, 5)
    assert b"".join(message.body) == body


def test_a_message_too_large_is_refused_and_nothing_is_stored(bench: Bench) -> None:
    queue = bench.queue(max_message_bytes=10_000)
    with pytest.raises(MessageSizeExceededError):
        bench.sender(queue).send_messages(ServiceBusMessage(b"x" * 300_000))
    assert bench.broker.messages(queue) == []


@pytest.mark.parametrize("prefetch", [0, 20])
def test_complete_removes(bench: Bench, prefetch: int) -> None:
    queue = bench.queue()
    sender, receiver = bench.pair(queue, prefetch_count=prefetch)
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    first, second = receiver.receive_messages(2, 5)
    receiver.complete_message(first)
    assert [left.body for left in bench.broker.messages(queue)] == [b"b"]
    receiver.complete_message(second)
    assert bench.broker.messages(queue) == []
    with pytest.raises(MessageAlreadySettled):
        receiver.complete_message(second)


def test_receive_and_delete_removes_at_once(bench: Bench) -> None:
    queue = bench.queue()
    mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    sender, receiver = bench.pair(queue, receive_mode=mode)
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    assert [str(message) for message in receiver.receive_messages(2, 5)] == ["a", "b"]
    assert bench.broker.messages(queue) == []


def test_abandon_returns_to_the_same_place_and_counts(bench: Bench) -> None:
    queue = bench.queue()
    sender, receiver = bench.pair(queue)
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    [first] = receiver.receive_messages(1, 5)
    receiver.abandon_message(first)
    again, other = receiver.receive_messages(2, 5)
    assert (str(again), again.delivery_count) == ("a", 1)
    assert (str(other), other.delivery_count) == ("b", 0)


def test_the_last_failed_delivery_dead_letters(bench: Bench) -> None:
    queue = bench.queue(max_delivery_count=2)
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a", message_id="m"))
    for _ in range(2):
        [message] = receiver.receive_messages(1, 5)
        receiver.abandon_message(message)
    assert bench.broker.messages(queue) == []
    dead = bench.receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [letter] = dead.receive_messages(1, 5)
    assert letter.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert "2 delivery attempts" in letter.dead_letter_error_description
    assert (letter.message_id, letter.delivery_count) == ("m", 2)


def test_dead_letter_keeps_reason_description_and_properties(bench: Bench) -> None:
    queue = bench.queue()
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a", application_properties={"k": "v"}))
    [message] = receiver.receive_messages(1, 5)
    receiver.dead_letter_message(message, reason="bad", error_description="really bad")
    dead = bench.receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [letter] = dead.receive_messages(1, 5)
    assert letter.application_properties == {
        b"k": b"v",
        b"DeadLetterReason": b"bad",
        b"DeadLetterErrorDescription": b"really bad",
    }
    dead.complete_message(letter)
    assert bench.broker.messages(f"{queue}/$DeadLetterQueue") == []


def test_deferred_messages_are_received_by_number_only(bench: Bench) -> None:
    queue = bench.queue()
    sender, receiver = bench.pair(queue)
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    [message] = receiver.receive_messages(1, 5)
    receiver.defer_message(message)
    [other] = receiver.receive_messages(1, 5)
    assert str(other) == "b"
    [deferred] = receiver.receive_deferred_messages([message.sequence_number])
    assert (str(deferred), deferred.delivery_count) == ("a", 1)
    assert deferred.lock_token is not None
    receiver.complete_message(deferred)
    assert [left.body for left in bench.broker.messages(queue)] == [b"b"]


def test_an_unknown_deferred_number_is_not_found(bench: Bench) -> None:
    with pytest.raises(MessageNotFoundError):
        bench.receiver(bench.queue()).receive_deferred_messages([99])


def test_peek_shows_every_state_and_locks_nothing(bench: Bench) -> None:
    queue = bench.queue()
    sender, receiver = bench.pair(queue)
    sender.send_messages([ServiceBusMessage(text) for text in "abc"])
    [message] = receiver.receive_messages(1, 5)
    receiver.defer_message(message)
    peeked = receiver.peek_messages(10, sequence_number=1)
    assert [(str(one), one.state) for one in peeked] == [
        ("a", ServiceBusMessageState.DEFERRED),
        ("b", ServiceBusMessageState.ACTIVE),
        ("c", ServiceBusMessageState.ACTIVE),
    ]
    [last] = receiver.peek_messages(5, sequence_number=3)
    assert str(last) == "c"
    assert receiver.peek_messages(5, sequence_number=99) == []
    assert not any(left.locked for left in bench.broker.messages(queue))


def test_what_nobody_asked_for_any_more_is_released_uncounted(bench: Bench) -> None:
    queue = bench.queue()
    receiver = bench.receiver(queue, prefetch_count=5)
    bench.sender(queue).send_messages([ServiceBusMessage(text) for text in "abc"])
    assert len(receiver.receive_messages(1, 5)) == 1
    bench.broker.wait_for(Kind.DELIVERED, entity=queue, count=3)
    receiver.close()
    bench.broker.wait_for(Kind.RELEASED, entity=queue, count=2)
    left = bench.broker.messages(queue)
    assert [(one.delivery_count, one.locked) for one in left] == [(0, True), (0, False), (0, False)]


def test_competing_receivers_share_and_never_get_the_same_message(bench: Bench) -> None:
    queue = bench.queue()
    first, second = bench.receiver(queue), bench.receiver(queue)
    bench.sender(queue).send_messages([ServiceBusMessage(f"{n}") for n in range(4)])
    bodies = [str(m) for one in (first, second) for m in one.receive_messages(2, 5)]
    assert sorted(bodies) == ["0", "1", "2", "3"]


def test_an_empty_queue_gives_an_empty_list(bench: Bench) -> None:
    receiver = bench.receiver(bench.queue())
    receiver.peek_messages(1)  # opens the link, so that the wait below is only for messages
    assert receiver.receive_messages(1, 0.2) == []


def test_settling_after_the_server_lost_the_lock_says_so(bench: Bench) -> None:
    queue = bench.queue()
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)
    assert bench.broker.expire_locks(queue) == 1
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    [left] = bench.broker.messages(queue)
    assert (left.delivery_count, left.state) == (1, MessageState.ACTIVE)


def test_the_sync_clients_own_renewer_keeps_a_lock(quiet_benches: dict[str, Bench]) -> None:
    bench = quiet_benches["sync"]
    queue = bench.queue(lock_duration=4)  # shorter ones the SDK renews too late
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)
    with AutoLockRenewer() as renewer:
        renewer.register(receiver.target, message, max_lock_renewal_duration=30)
        bench.broker.wait_for(Kind.LOCK_RENEWED, entity=queue)
    receiver.complete_message(message)


def test_the_aio_clients_own_renewer_keeps_a_lock(quiet_benches: dict[str, Bench]) -> None:
    bench = quiet_benches["aio"]
    queue = bench.queue(lock_duration=4)  # shorter ones the SDK renews too late
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)

    async def until_renewed() -> None:
        async with AsyncAutoLockRenewer() as renewer:
            renewer.register(receiver.target, message, max_lock_renewal_duration=30)
            await bench.broker.journal.wait_for_async(Kind.LOCK_RENEWED, entity=queue)

    bench.run(until_renewed())
    receiver.complete_message(message)
