"""The management API of the broker, as the SDK's own client of it asks."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.management import ServiceBusAdministrationClient

from tests.brokers.service_bus import (
    Condition,
    Drop,
    DropAfter,
    Error,
    Ignore,
    Kind,
    LoseReply,
    Point,
    ServiceBusBroker,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.service_bus.certificate import Certificate
    from tests.brokers.service_bus.faults import Action

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # what is cut off leaves its socket
    pytest.mark.usefixtures("leaks_collected"),
]
QUIET_SECONDS = 0.3


@pytest.fixture
def broker(managed_service_bus: ServiceBusBroker) -> ServiceBusBroker:
    managed_service_bus.create_queue("orders")
    return managed_service_bus


@contextmanager
def asking(connection_string: str, **options: Any) -> Iterator[ServiceBusAdministrationClient]:
    client = ServiceBusAdministrationClient.from_connection_string(
        connection_string, retry_total=0, **options
    )
    with client:
        yield client


def in_ten_minutes() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=10)


def test_a_queue_is_counted_by_the_state_of_its_messages(broker: ServiceBusBroker) -> None:
    string = broker.connection_string
    with ServiceBusClient.from_connection_string(string) as client:
        with client.get_queue_sender("orders") as sender:
            sender.send_messages([ServiceBusMessage(str(n)) for n in range(5)])
            sender.schedule_messages(ServiceBusMessage("x"), in_ten_minutes())
        with client.get_queue_receiver("orders") as receiver:
            dead, deferred, _locked = receiver.receive_messages(3, 5)
            receiver.dead_letter_message(dead)
            receiver.defer_message(deferred)
            with asking(string) as administration:
                counts = administration.get_queue_runtime_properties("orders")
    # A deferred message is active, too, as the service's documentation says.
    assert (counts.active_message_count, counts.scheduled_message_count) == (4, 1)
    assert counts.dead_letter_message_count == 1
    assert (counts.transfer_message_count, counts.transfer_dead_letter_message_count) == (0, 0)


def test_a_topic_has_what_is_scheduled_and_a_subscription_the_rest(
    broker: ServiceBusBroker,
) -> None:
    broker.create_topic("news")
    broker.create_subscription("news", "all")
    string = broker.connection_string
    client = ServiceBusClient.from_connection_string(string)
    with client, client.get_topic_sender("news") as sender:
        sender.send_messages(ServiceBusMessage("now"))
        sender.schedule_messages(ServiceBusMessage("later"), in_ten_minutes())
    with asking(string) as administration:
        topic = administration.get_topic_runtime_properties("news")
        assert topic.scheduled_message_count == 1
        found = administration.get_subscription_runtime_properties("news", "all")
        assert (found.active_message_count, found.dead_letter_message_count) == (1, 0)
        broker.advance(601)
        found = administration.get_subscription_runtime_properties("news", "all")
        assert found.active_message_count == 2


@pytest.mark.parametrize("path", ["nowhere", "news/Subscriptions/x", "orders/$DeadLetterQueue"])
def test_what_is_no_entity_is_not_found(broker: ServiceBusBroker, path: str) -> None:
    with asking(broker.connection_string) as client, pytest.raises(ResourceNotFoundError):
        client.get_queue_runtime_properties(path)


@pytest.mark.parametrize("wrong", ["claims", "key"])
def test_who_may_not_manage_is_refused(broker: ServiceBusBroker, wrong: str) -> None:
    string = broker.add_policy("poller", "Listen", "Send")
    if wrong == "key":
        key = broker.connection_string.split("SharedAccessKey=")[1].split(";")[0]
        string = broker.connection_string.replace(key, key[::-1])
    with asking(string) as client, pytest.raises(ClientAuthenticationError) as caught:
        client.get_queue_runtime_properties("orders")
    assert caught.value.status_code == 401
    (event,) = broker.journal.events(Kind.ADMINISTRATION)
    assert (event.entity, event.detail) == ("orders", "GET 401")


def test_entities_cannot_be_changed(broker: ServiceBusBroker) -> None:
    with asking(broker.connection_string) as client, pytest.raises(HttpResponseError) as caught:
        client.delete_queue("orders")
    assert caught.value.status_code == 501


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (Error(Condition.UNAUTHORIZED), ClientAuthenticationError),
        (Error(Condition.SERVER_BUSY), HttpResponseError),
        (Drop(), ServiceResponseError),
        (DropAfter(), ServiceResponseError),
        (Ignore(), ServiceResponseTimeoutError),
        (LoseReply(), ServiceResponseTimeoutError),
    ],
)
def test_it_can_be_made_to_fail(
    broker: ServiceBusBroker, action: Action, error: type[Exception]
) -> None:
    fault = broker.fail(Point.ADMINISTRATION, action, entity="orders")
    with asking(broker.connection_string, read_timeout=QUIET_SECONDS) as client:
        with pytest.raises(error):
            client.get_queue_runtime_properties("orders")
        assert client.get_queue_runtime_properties("orders").active_message_count == 0
    assert fault.struck == 1


def test_who_does_not_trust_the_certificate_learns_nothing(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with (
        asking(broker.connection_string) as client,
        pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get_queue_runtime_properties("orders")
    broker.wait_for(Kind.DISCONNECTED)
    assert broker.journal.events(Kind.ADMINISTRATION) == []


def test_a_broker_without_a_certificate_speaks_amqp_only(service_bus: ServiceBusBroker) -> None:
    with asking(service_bus.connection_string) as client, pytest.raises(ServiceRequestError):
        client.get_queue_runtime_properties("orders")


def test_a_request_that_never_ends_is_cut(
    broker: ServiceBusBroker, certificate: Certificate
) -> None:
    context = ssl.create_default_context(cafile=str(certificate.authority))
    plain = socket.create_connection(("127.0.0.1", broker.port), timeout=5)
    with closing(context.wrap_socket(plain, server_hostname="localhost")) as peer:
        peer.sendall(b"x" * 32_768)
        broker.wait_for(Kind.DISCONNECTED)
    assert broker.journal.events(Kind.ADMINISTRATION) == []
