"""What goes wrong on purpose, and what a client makes of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityDisabledError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from tests.brokers.service_bus import (
    Condition,
    Delay,
    Drop,
    DropAfter,
    Error,
    Ignore,
    Kind,
    LoseReply,
    Point,
)

if TYPE_CHECKING:
    from .bench import Bench, Driven

BUSY = Error(Condition.SERVER_BUSY)

pytestmark = pytest.mark.usefixtures("leaks_collected")


def received(bench: Bench, queue: str) -> tuple[Driven, object]:
    sender, receiver = bench.pair(queue)
    sender.send_messages(ServiceBusMessage("a"))
    [message] = receiver.receive_messages(1, 5)
    return receiver, message


@pytest.mark.parametrize("point", [Point.CONNECT, Point.OPEN, Point.CBS, Point.ATTACH])
def test_a_connection_cut_on_the_way_up_is_a_connection_error(
    rough_bench: Bench, point: Point
) -> None:
    queue = rough_bench.queue()
    fault = rough_bench.broker.fail(point, Drop())
    with pytest.raises(ServiceBusError):
        rough_bench.sender(queue).send_messages(ServiceBusMessage("a"))
    assert fault.struck == 1
    rough_bench.sender(queue).send_messages(ServiceBusMessage("a"))


def test_a_client_that_retries_gets_through(rough_bench: Bench) -> None:
    queue = rough_bench.queue()
    rough_bench.broker.fail(Point.OPEN, Error(Condition.CONNECTION_FORCED))
    client = rough_bench.client_for(
        rough_bench.broker.connection_string, retry_total=2, retry_backoff_factor=0.01
    )
    rough_bench.sender(queue, client).send_messages(ServiceBusMessage("a"))
    assert len(rough_bench.broker.messages(queue)) == 1


def test_a_refused_token_is_an_authentication_error(bench: Bench) -> None:
    queue = bench.queue()
    bench.broker.fail(Point.CBS, Error(Condition.UNAUTHORIZED), entity=queue)
    with pytest.raises(ServiceBusAuthenticationError):
        bench.sender(queue).send_messages(ServiceBusMessage("a"))


def test_a_refused_link_raises_by_its_condition(bench: Bench) -> None:
    queue = bench.queue()
    bench.broker.fail(Point.ATTACH, Error(Condition.ENTITY_DISABLED), entity=queue)
    with pytest.raises(MessagingEntityDisabledError):
        bench.sender(queue).send_messages(ServiceBusMessage("a"))


def test_an_attach_that_nobody_answers_runs_into_the_try_timeout(bench: Bench) -> None:
    queue = bench.queue()
    bench.broker.fail(Point.ATTACH, Ignore(), entity=queue)
    client = bench.client_for(bench.broker.connection_string, try_timeout=1.0)
    with pytest.raises(OperationTimeoutError):
        bench.sender(queue, client).send_messages(ServiceBusMessage("a"))


def test_send_can_be_refused_slowed_and_lost(bench: Bench) -> None:
    queue = bench.queue()
    sender = bench.sender(queue)
    bench.broker.fail(Point.SEND, BUSY, entity=queue)
    with pytest.raises(ServiceBusServerBusyError):
        sender.send_messages(ServiceBusMessage("refused"))
    bench.broker.fail(Point.SEND, Delay(0.3), entity=queue)
    started = time.monotonic()
    sender.send_messages(ServiceBusMessage("slow"))
    assert time.monotonic() - started >= 0.3
    bench.broker.fail(Point.SEND, Ignore(), entity=queue)
    with pytest.raises(OperationTimeoutError):
        sender.send_messages(ServiceBusMessage("ignored"), timeout=0.5)
    bench.broker.fail(Point.SEND, LoseReply(), entity=queue)
    with pytest.raises(OperationTimeoutError):
        bench.sender(queue).send_messages(ServiceBusMessage("unanswered"), timeout=1)
    assert [left.body for left in bench.broker.messages(queue)] == [b"slow", b"unanswered"]


def test_an_answer_cut_off_after_the_store_makes_a_second_copy(bench: Bench) -> None:
    queue = bench.queue()
    bench.broker.fail(Point.SEND, DropAfter(), entity=queue)
    client = bench.client_for(
        bench.broker.connection_string, retry_total=2, retry_backoff_factor=0.01
    )
    bench.sender(queue, client).send_messages(ServiceBusMessage("a"))
    assert len(bench.broker.messages(queue)) == 2


def test_a_delivery_can_be_withheld_lost_and_slowed(bench: Bench) -> None:
    queue = bench.queue()
    mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    receiver = bench.receiver(queue, receive_mode=mode)
    bench.sender(queue).send_messages([ServiceBusMessage(f"{n}") for n in range(3)])
    bench.broker.fail(Point.DELIVER, Ignore(), entity=queue)
    bench.broker.fail(Point.DELIVER, LoseReply(), entity=queue)
    bench.broker.fail(Point.DELIVER, Delay(0.3), entity=queue)
    assert receiver.receive_messages(1, 1) == []
    assert len(bench.broker.messages(queue)) == 3
    started = time.monotonic()
    [slow] = receiver.receive_messages(2, 5)
    assert str(slow) == "1"
    assert time.monotonic() - started >= 0.3


def test_a_connection_cut_at_delivery_leaves_the_lock_behind(bench: Bench) -> None:
    queue = bench.queue()
    bench.sender(queue).send_messages(ServiceBusMessage("a"))
    bench.broker.fail(Point.DELIVER, DropAfter(), entity=queue)
    with pytest.raises(ServiceBusError):
        bench.receiver(queue).receive_messages(1, 2)
    assert [left.locked for left in bench.broker.messages(queue)] == [True]


def test_settling_can_be_refused(bench: Bench) -> None:
    queue = bench.queue()
    receiver, message = received(bench, queue)
    bench.broker.fail(Point.SETTLE, BUSY, entity=queue, operation="complete")
    with pytest.raises(ServiceBusServerBusyError):
        receiver.complete_message(message)
    assert [left.locked for left in bench.broker.messages(queue)] == [True]


def test_a_completion_whose_answer_was_cut_off_looks_like_a_lost_lock(bench: Bench) -> None:
    queue = bench.queue()
    bench.sender(queue).send_messages(ServiceBusMessage("a"))
    client = bench.client_for(
        bench.broker.connection_string, retry_total=2, retry_backoff_factor=0.01
    )
    receiver = bench.receiver(queue, client)
    [message] = receiver.receive_messages(1, 5)
    bench.broker.fail(Point.SETTLE, DropAfter(), entity=queue)
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    assert bench.broker.messages(queue) == []


def test_a_management_request_can_be_refused_and_cut_off(bench: Bench) -> None:
    queue = bench.queue()
    receiver, message = received(bench, queue)
    bench.broker.fail(Point.MANAGEMENT, BUSY, entity=queue, operation="renew-lock")
    with pytest.raises(ServiceBusServerBusyError):
        receiver.renew_message_lock(message)
    receiver.renew_message_lock(message)
    bench.broker.fail(Point.MANAGEMENT, Drop(), entity=queue)
    with pytest.raises(ServiceBusError):
        receiver.peek_messages(1)


def test_a_fault_may_spare_the_first_and_hit_a_given_number(bench: Bench) -> None:
    queue = bench.queue()
    sender = bench.sender(queue)
    fault = bench.broker.fail(Point.SEND, BUSY, entity=queue, skip=1, times=2)
    sender.send_messages(ServiceBusMessage("a"))
    for _ in range(2):
        with pytest.raises(ServiceBusServerBusyError):
            sender.send_messages(ServiceBusMessage("b"))
    sender.send_messages(ServiceBusMessage("c"))
    assert fault.struck == 2
    assert len(bench.broker.journal.events(Kind.FAULT, entity=queue)) == 2


def test_dropped_connections_come_back(rough_bench: Bench) -> None:
    queue = rough_bench.queue()
    receiver, _ = received(rough_bench, queue)
    assert rough_bench.broker.drop_connections() >= 2
    rough_bench.broker.wait_for(Kind.DISCONNECTED, count=2)
    with pytest.raises(ServiceBusConnectionError):
        receiver.receive_messages(1, 2)
    rough_bench.sender(queue).send_messages(ServiceBusMessage("b"))
    [message] = receiver.receive_messages(1, 5)
    assert str(message) == "b"


def test_closed_connections_give_their_reason(rough_bench: Bench) -> None:
    queue = rough_bench.queue()
    receiver, _ = received(rough_bench, queue)
    assert rough_bench.broker.close_connections() >= 2
    with pytest.raises(ServiceBusConnectionError):
        receiver.receive_messages(1, 2)


def test_detached_receivers_lose_their_link_only(bench: Bench) -> None:
    queue = bench.queue()
    receiver, _ = received(bench, queue)
    other = bench.receiver(bench.queue())
    other.peek_messages(1)
    assert bench.broker.detach_receivers(queue) == 1
    with pytest.raises(ServiceBusConnectionError):
        receiver.receive_messages(1, 1)
    assert other.receive_messages(1, 0.2) == []


def test_latency_holds_every_answer_back(rough_bench: Bench) -> None:
    queue = rough_bench.queue()
    sender = rough_bench.sender(queue)
    sender.send_messages(ServiceBusMessage("a"))
    rough_bench.broker.set_latency(0.05)
    started = time.monotonic()
    for _ in range(4):
        sender.send_messages(ServiceBusMessage("b"))
    assert time.monotonic() - started >= 0.2
