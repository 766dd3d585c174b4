"""What the pages on the test brokers show, run."""

# --8<-- [start:sqs]
from contextlib import closing

import pytest

from tests.brokers.sqs import SqsBroker, Throttle
from tests.brokers.sqs.fixtures import sqs_broker, sqs_client_for

__all__ = ["sqs_broker"]  # fixtures are imported, here or in a conftest.py


def test_a_throttled_send_is_tried_again(sqs_broker: SqsBroker) -> None:
    url = sqs_broker.create_queue("orders", VisibilityTimeout=30)
    sqs_broker.faults.add(Throttle(), calls=["SendMessage"], times=1)
    with closing(sqs_client_for(sqs_broker.endpoint_url, attempts=2)) as client:
        client.send_message(QueueUrl=url, MessageBody="hello")
        client.receive_message(QueueUrl=url)
    sqs_broker.clock.advance(30)  # every visibility timeout so far has ended
    assert sqs_broker.counts("orders").visible == 1
    assert sqs_broker.journal.calls["SendMessage"] == 2
    # --8<-- [end:sqs]


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # the SDK leaves a socket where a send failed
def test_the_service_bus_page() -> None:
    # --8<-- [start:bus]
    from azure.servicebus import ServiceBusClient, ServiceBusMessage

    from tests.brokers.service_bus import Condition, Error, Kind, Point, ServiceBusBroker

    with ServiceBusBroker() as broker:
        broker.create_queue("orders", lock_duration=30, max_delivery_count=5)
        client = ServiceBusClient.from_connection_string(broker.connection_string)
        with client, client.get_queue_sender("orders") as sender:
            sender.send_messages(ServiceBusMessage("hello"))
            broker.fail(Point.SEND, Error(Condition.SERVER_BUSY), entity="orders", times=1)
            sender.send_messages(ServiceBusMessage("sent at the second try"))
        broker.advance(31)  # locks expire, schedules fall due, now
        assert len(broker.messages("orders")) == 2  # what is in the queue, in any state
        broker.wait_for(Kind.ENQUEUED, entity="orders", count=2)
    # --8<-- [end:bus]


# --8<-- [start:managed]
from azure.servicebus.management import ServiceBusAdministrationClient

from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers.service_bus.fixtures import certificate, managed_service_bus

__all__ = ["certificate", "managed_service_bus"]


def test_an_empty_queue_is_counted(managed_service_bus: ServiceBusBroker) -> None:
    managed_service_bus.create_queue("orders")
    text = managed_service_bus.connection_string
    with ServiceBusAdministrationClient.from_connection_string(text) as client:
        assert client.get_queue_runtime_properties("orders").active_message_count == 0
    # --8<-- [end:managed]
