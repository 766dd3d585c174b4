"""The sender of copies: one attempt, within its deadline, with errors in our words."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.clouds.azure import ServiceBusConnection, service_bus_client
from queue_runtime.config import Secret
from queue_runtime.errors import (
    AccessDeniedError,
    MessageTooLargeError,
    MissingExtraError,
    QueueNotFoundError,
    TransportError,
)
from queue_runtime.transports.base import OutgoingMessage, SendResult, refused
from queue_runtime.transports.service_bus.sender import ServiceBusSender, service_bus_message
from tests.brokers.service_bus import Condition, Error, Ignore, Kind, Point, ServiceBusBroker
from tests.brokers_tests.service_bus.bench import collect_leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

HELLO = OutgoingMessage(body=b"hello", deduplication_id="m-1")


@pytest.fixture
def broker() -> Iterator[ServiceBusBroker]:
    with ServiceBusBroker() as running:
        running.create_queue("orders")
        yield running
    collect_leaks()


@pytest.fixture
def make(broker: ServiceBusBroker) -> Iterator[Callable[..., ServiceBusSender]]:
    made: list[ServiceBusSender] = []

    def sender(entity: str = "orders", text: str = "", seconds: float = 5.0) -> ServiceBusSender:
        connection = ServiceBusConnection(Secret(text or broker.connection_string))
        made.append(
            ServiceBusSender(
                entity, lambda: service_bus_client(connection, seconds=seconds), seconds=seconds
            )
        )
        return made[-1]

    yield sender
    for each in made:
        each.close()
        each.close()


def test_messages_arrive_and_the_connection_is_kept(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    sender = make()
    sent = sender.send_now([HELLO, replace(HELLO, body="text", deduplication_id="mine")])
    assert sent == [SendResult("m-1"), SendResult("mine")]
    assert not refused(sender.send_now([HELLO]))
    assert [message.body for message in broker.messages("orders")] == [b"hello", b"text", b"hello"]
    assert len(broker.journal.events(Kind.CONNECTED)) == 1


def test_an_event_loop_can_wait_for_it(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    assert not refused(asyncio.run(make().send([HELLO])))
    assert len(broker.messages("orders")) == 1


def test_it_opens_again_after_it_was_closed(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    sender = make()
    sender.send_now([HELLO])
    sender.close()
    assert not refused(sender.send_now([HELLO]))
    assert len(broker.messages("orders")) == 2


def test_a_kept_connection_that_was_cut_is_made_anew(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    sender = make()
    sender.send_now([HELLO])
    broker.drop_connections()
    assert not refused(sender.send_now([HELLO]))
    assert len(broker.messages("orders")) == 2


def _failure(sender: ServiceBusSender, message: OutgoingMessage = HELLO) -> TransportError:
    (result,) = sender.send_now([message])
    assert result.error is not None
    return result.error


def test_a_queue_that_is_not_there(make: Callable[..., ServiceBusSender]) -> None:
    error = _failure(make("nowhere"))
    assert isinstance(error, QueueNotFoundError)
    assert "nowhere" in str(error)


def test_a_key_that_may_not_send(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    text = broker.add_policy("reader", "Listen")
    assert isinstance(_failure(make(text=text)), AccessDeniedError)


def test_a_wrong_key_is_never_shown(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    good = broker.connection_string
    key = good.partition("SharedAccessKey=")[2].partition(";")[0]
    error = _failure(make(text=good.replace(key, "d3Jvbmc=")))
    assert isinstance(error, AccessDeniedError)
    assert "d3Jvbmc" not in str(error)


def test_a_message_that_is_too_large(make: Callable[..., ServiceBusSender]) -> None:
    error = _failure(make(), OutgoingMessage(body=b"x" * 3_000_000))
    assert isinstance(error, MessageTooLargeError)


def test_a_busy_service_is_asked_once(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    fault = broker.fail(Point.SEND, Error(Condition.SERVER_BUSY), times=None)
    error = _failure(make())
    assert type(error) is TransportError
    assert fault.struck == 1


def test_a_silent_service_is_given_up_at_the_deadline(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    broker.fail(Point.OPEN, Ignore(), times=None)
    error = _failure(make(seconds=0.5))
    assert type(error) is TransportError


def test_one_failure_keeps_no_other_message_back(
    broker: ServiceBusBroker, make: Callable[..., ServiceBusSender]
) -> None:
    broker.fail(Point.SEND, Error(Condition.SERVER_BUSY))
    results = make().send_now([HELLO, replace(HELLO, body=b"second")])
    assert list(refused(results)) == [0]
    assert [message.body for message in broker.messages("orders")] == [b"second"]


def test_a_missing_sdk_is_a_failure_to_send() -> None:
    def missing() -> Any:
        raise MissingExtraError("Service Bus", "azure")

    sender = ServiceBusSender("orders", missing)
    error = _failure(sender)
    sender.close()
    assert "queue-runtime[azure]" in str(error)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("text", "text"),
        (b"text", b"text"),
        (b"\xff", {"TYPE": "BINARY", "VALUE": b"\xff"}),
        (True, True),
        (1.5, 1.5),
        (None, None),
        (7, 7),
        (2**31, {"TYPE": "LONG", "VALUE": 2**31}),
        (-(2**63), {"TYPE": "LONG", "VALUE": -(2**63)}),
        (2**63, str(2**63)),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_what_becomes_of_a_property(value: Any, sent: Any) -> None:
    message = service_bus_message(OutgoingMessage(body=b"", attributes={"it": value}))
    assert message.application_properties == {"it": sent}
