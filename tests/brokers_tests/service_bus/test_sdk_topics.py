"""Topics: every subscription has its own copy and its own life."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.exceptions import ServiceBusError

if TYPE_CHECKING:
    from .bench import Bench


def test_each_subscription_gets_a_copy_and_settles_it_alone(bench: Bench) -> None:
    topic = bench.topic("one", "two")
    bench.topic_sender(topic).send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    one = bench.subscription_receiver(topic, "one")
    for message in one.receive_messages(2, 5):
        one.complete_message(message)
    assert bench.broker.messages(f"{topic}/Subscriptions/one") == []
    left = bench.broker.messages(f"{topic}/Subscriptions/two")
    assert [message.body for message in left] == [b"a", b"b"]


def test_a_subscription_has_its_own_dead_letters(bench: Bench) -> None:
    topic = bench.topic("one")
    bench.topic_sender(topic).send_messages(ServiceBusMessage("a"))
    receiver = bench.subscription_receiver(topic, "one")
    [message] = receiver.receive_messages(1, 5)
    receiver.dead_letter_message(message, reason="bad")
    dead = bench.subscription_receiver(topic, "one", sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    [letter] = dead.receive_messages(1, 5)
    assert letter.dead_letter_reason == "bad"


def test_a_subscription_can_have_sessions(bench: Bench) -> None:
    topic = bench.topic("one", requires_session=True)
    bench.topic_sender(topic).send_messages(ServiceBusMessage("a", session_id="s1"))
    receiver = bench.subscription_receiver(
        topic, "one", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=5
    )
    [message] = receiver.receive_messages(1, 5)
    assert (str(message), receiver.session.session_id) == ("a", "s1")


def test_a_topic_itself_cannot_be_received_from(bench: Bench) -> None:
    with pytest.raises(ServiceBusError, match="topic"):
        bench.receiver(bench.topic("one")).receive_messages(1, 5)
