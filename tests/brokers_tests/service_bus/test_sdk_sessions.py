"""Sessions: who holds them, what they remember, and how they are lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from tests.brokers.service_bus import Kind

if TYPE_CHECKING:
    from .bench import Bench

pytestmark = pytest.mark.usefixtures("leaks_collected")


def send(bench: Bench, queue: str, *pairs: tuple[str, str]) -> None:
    messages = [ServiceBusMessage(body, session_id=session) for session, body in pairs]
    bench.sender(queue).send_messages(messages)


def test_a_session_gives_its_own_messages_in_order(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    send(bench, queue, ("s1", "a"), ("s2", "x"), ("s1", "b"))
    receiver = bench.receiver(queue, session_id="s1")
    messages = receiver.receive_messages(5, 5)
    assert [(str(one), one.session_id) for one in messages] == [("a", "s1"), ("b", "s1")]
    receiver.complete_message(messages[0])
    receiver.abandon_message(messages[1])
    [again] = receiver.receive_messages(1, 5)
    assert (str(again), again.delivery_count) == ("b", 1)
    receiver.dead_letter_message(again, reason="bad")
    assert [m.session_id for m in bench.broker.messages(queue)] == ["s2"]
    [dead] = bench.broker.messages(f"{queue}/$DeadLetterQueue")
    assert dead.session_id == "s1"


def test_a_session_has_one_receiver_until_it_closes(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    send(bench, queue, ("s1", "a"))
    first = bench.receiver(queue, session_id="s1")
    assert len(first.receive_messages(1, 5)) == 1
    with pytest.raises(SessionCannotBeLockedError):
        bench.receiver(queue, session_id="s1").receive_messages(1, 5)
    first.close()
    bench.broker.wait_for(Kind.SESSION_RELEASED, entity=queue)
    [again] = bench.receiver(queue, session_id="s1").receive_messages(1, 5)
    assert again.delivery_count == 0


def test_next_available_takes_the_oldest_free_session_and_names_it(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    send(bench, queue, ("s2", "a"), ("s1", "b"))
    names = []
    for _ in range(2):
        receiver = bench.receiver(queue, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=5)
        [message] = receiver.receive_messages(1, 5)
        names.append((receiver.session.session_id, str(message)))
        assert receiver.session.locked_until_utc > datetime.now(UTC)
    assert names == [("s2", "a"), ("s1", "b")]


def test_next_available_waits_for_a_session_to_appear(rough_bench: Bench) -> None:
    broker, queue = rough_bench.broker, rough_bench.queue(requires_session=True)
    message = ServiceBusMessage("a", session_id="late")
    rough_bench.sender(queue).schedule_messages(message, rough_bench.later(60))

    def make_it_appear() -> None:
        broker.wait_for(Kind.SESSION_AWAITED, entity=queue)
        broker.advance(61)

    helper = threading.Thread(target=make_it_appear)
    helper.start()
    receiver = rough_bench.receiver(queue, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=5)
    [message] = receiver.receive_messages(1, 5)
    helper.join()
    assert (str(message), receiver.session.session_id) == ("a", "late")


def test_next_available_gives_up_when_asked_to(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    receiver = bench.receiver(queue, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=0.3)
    with pytest.raises(OperationTimeoutError):
        receiver.receive_messages(1, 5)


def test_state_outlives_the_receiver_and_can_be_cleared(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    first = bench.receiver(queue, session_id="s1")
    assert first.session.get_state() is None
    first.session.set_state(b"\x01step")
    first.close()
    bench.broker.wait_for(Kind.SESSION_RELEASED, entity=queue)
    second = bench.receiver(queue, session_id="s1")
    assert second.session.get_state() == b"\x01step"
    second.session.set_state(None)
    assert second.session.get_state() is None


def test_sessions_with_messages_or_state_are_listed(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    send(bench, queue, ("with-message", "a"))
    bench.receiver(queue, session_id="with-state").session.set_state(b"x")
    client = bench.client
    names = client.names(client.target.list_queue_sessions(queue))
    assert names == ["with-message", "with-state"]
    recent = client.target.list_queue_sessions(
        queue, state_updated_after=datetime.now(UTC) - timedelta(hours=1)
    )
    assert client.names(recent) == ["with-state"]


def test_a_deferred_message_belongs_to_its_session(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    send(bench, queue, ("s1", "a"))
    receiver = bench.receiver(queue, session_id="s1")
    [message] = receiver.receive_messages(1, 5)
    receiver.defer_message(message)
    [deferred] = receiver.receive_deferred_messages(message.sequence_number)
    receiver.complete_message(deferred)
    assert bench.broker.messages(queue) == []


def test_a_renewed_session_lock_lasts_and_an_expired_one_detaches(rough_bench: Bench) -> None:
    queue = rough_bench.queue(requires_session=True, lock_duration=30)
    send(rough_bench, queue, ("s1", "a"))
    receiver = rough_bench.receiver(queue, session_id="s1")
    [message] = receiver.receive_messages(1, 5)
    rough_bench.broker.advance(20)
    before = receiver.session.locked_until_utc
    assert receiver.session.renew_lock() > before
    rough_bench.broker.advance(20)
    assert rough_bench.broker.journal.events(Kind.SESSION_LOST, entity=queue) == []
    rough_bench.broker.advance(20)
    rough_bench.broker.wait_for(Kind.SESSION_LOST, entity=queue)
    with pytest.raises(SessionLockLostError):
        receiver.complete_message(message)
    [left] = rough_bench.broker.messages(queue)
    assert (left.delivery_count, left.locked) == (1, False)


def test_a_session_lost_on_the_server_ends_its_receiver(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    send(bench, queue, ("s1", "a"))
    receiver = bench.receiver(queue, session_id="s1")
    [message] = receiver.receive_messages(1, 5)
    bench.broker.lose_session(queue, "s1")
    with pytest.raises(SessionLockLostError):
        receiver.complete_message(message)


def test_a_message_without_session_id_is_refused(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    with pytest.raises(ServiceBusError, match="session"):
        bench.sender(queue).send_messages([ServiceBusMessage("a")])
    assert bench.broker.messages(queue) == []
