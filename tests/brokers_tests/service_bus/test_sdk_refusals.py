"""What the broker does not let a client do, and the exception the client makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
)

from tests.brokers.service_bus import Kind

if TYPE_CHECKING:
    from .bench import Bench

pytestmark = pytest.mark.usefixtures("leaks_collected")


def test_a_missing_entity_is_not_found(bench: Bench) -> None:
    with pytest.raises(MessagingEntityNotFoundError):
        bench.sender("missing").send_messages(ServiceBusMessage("a"))
    with pytest.raises(MessagingEntityNotFoundError):
        bench.receiver("missing").receive_messages(1, 5)


def test_a_session_queue_needs_a_session_receiver(bench: Bench) -> None:
    queue = bench.queue(requires_session=True)
    with pytest.raises(ServiceBusError, match="requires sessions"):
        bench.receiver(queue).receive_messages(1, 5)


def test_a_plain_queue_refuses_a_session_receiver(bench: Bench) -> None:
    with pytest.raises(ServiceBusError, match="does not require sessions"):
        bench.receiver(bench.queue(), session_id="s1").receive_messages(1, 5)


def test_a_wrong_key_fails_authentication(bench: Bench) -> None:
    queue = bench.queue()
    good = bench.broker.connection_string
    key = good.split("SharedAccessKey=")[1].split(";")[0]
    client = bench.client_for(good.replace(key, key[::-1]))
    with pytest.raises(ServiceBusAuthenticationError):
        bench.sender(queue, client).send_messages(ServiceBusMessage("a"))
    assert bench.broker.journal.events(Kind.AUTHORIZATION_REFUSED, entity=queue)


def test_a_policy_allows_what_it_claims_and_no_more(bench: Bench) -> None:
    queue = bench.queue()
    client = bench.client_for(bench.broker.add_policy(f"only-send-{queue}", "Send"))
    bench.sender(queue, client).send_messages(ServiceBusMessage("a"))
    with pytest.raises(ServiceBusAuthorizationError):
        bench.receiver(queue, client).receive_messages(1, 5)
    assert [left.locked for left in bench.broker.messages(queue)] == [False]
