"""One broker and one moto server for each test process; queues are what tests do not share."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.sqs import SqsBroker, stopped_clock
from tests.brokers.sqs.fixtures import sqs_broker, sqs_client, sqs_client_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_sqs import SQSClient

__all__ = ["sqs_broker", "sqs_client"]

_names = count(1)


class Peer:
    """A server to compare with, by a real client."""

    def __init__(self, client: SQSClient) -> None:
        self.client = client

    def queue(self, *, fifo: bool = False, **attributes: str) -> str:
        """The URL of a new queue."""
        name = f"queue-{next(_names)}" + (".fifo" if fifo else "")
        if fifo:
            attributes |= {"FifoQueue": "true"}
        return self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]  # names are texts here

    def arn(self, url: str) -> str:
        reply = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return reply["Attributes"]["QueueArn"]

    def receive(self, url: str, count: int = 10, **options: Any) -> list[dict[str, Any]]:
        reply = self.client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=count,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            **options,
        )
        return [dict(message) for message in reply.get("Messages", [])]

    def bodies(self, url: str, count: int = 10, **options: Any) -> list[str]:
        return [message["Body"] for message in self.receive(url, count, **options)]

    def send_fifo(self, url: str, group: str, *bodies: str) -> None:
        for body in bodies:
            self.client.send_message(
                QueueUrl=url,
                MessageBody=body,
                MessageGroupId=group,
                MessageDeduplicationId=f"{group}-{body}",
            )


class Ours(Peer):
    """The broker with its clock stopped, and a real client of it."""

    def __init__(self, broker: SqsBroker) -> None:
        super().__init__(sqs_client_for(broker.endpoint_url))
        self.broker = broker

    def pass_time(self, seconds: float) -> None:
        self.broker.clock.advance(seconds)


@pytest.fixture(scope="session")
def _running() -> Iterator[Peer]:
    with SqsBroker() as broker:
        yield Peer(sqs_client_for(broker.endpoint_url))


@pytest.fixture(scope="session")
def _moto() -> Iterator[Peer]:
    from moto.server import ThreadedMotoServer  # costs a second: only for who compares

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Peer(sqs_client_for(f"http://{host}:{port}"))
    server.stop()


@pytest.fixture(params=["broker", "moto"])
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each of the two servers in turn: they must agree."""
    found = request.getfixturevalue("_running" if request.param == "broker" else "_moto")
    assert isinstance(found, Peer)
    return found


@pytest.fixture(scope="session")
def _stopped() -> Iterator[Ours]:
    with SqsBroker(clock=stopped_clock()) as broker:
        yield Ours(broker)


@pytest.fixture
def ours(_stopped: Ours) -> Iterator[Ours]:
    """Our broker alone, in a time that only `pass_time` moves."""
    _stopped.broker.journal.clear()
    yield _stopped
    _stopped.broker.faults.clear()
