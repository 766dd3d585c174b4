"""What the pages on the test brokers show, run."""

from contextlib import closing

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.brokers.service_bus import Condition, Error, Kind, Point, ServiceBusBroker
from tests.brokers.sqs import SqsBroker, Throttle
from tests.brokers.sqs.fixtures import sqs_broker, sqs_client_for

__all__ = ["sqs_broker"]


# --8<-- [start:sqs]
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
