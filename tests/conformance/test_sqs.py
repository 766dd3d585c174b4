"""The SQS transport under the suite of all transports: on the broker, and on moto beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from moto.core.utils import unix_time, unix_time_millis
from moto.server import ThreadedMotoServer

from queue_runtime.testing.conformance import TransportConformance
from queue_runtime.transports.sqs.address import read_address
from queue_runtime.transports.sqs.transport import SqsTransport
from tests.brokers.sqs import SqsBroker
from tests.brokers.sqs.account import REGION
from tests.conformance.features import SQS
from tests.movable_clock import MovableClock
from tests.sqs_rig import aws_environment, sqs_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.transports.base import Transport

MANY_RECEIVES = {"maxReceiveCount": 100}


class SqsConformance(TransportConformance):
    """Standard queues, and FIFO where a test is about order."""

    features = SQS
    system = "aws_sqs"
    clock: MovableClock

    def create(self, name: str, dead_letters: str | None = None) -> None:
        raise NotImplementedError

    async def open_queue(self, *, ordered: bool) -> Transport:
        suffix = ".fifo" if ordered else ""
        name = f"q-{uuid4().hex}"
        self.create(f"{name}-dead{suffix}")
        self.create(f"{name}{suffix}", f"{name}-dead{suffix}")
        return self.open(f"{name}{suffix}")

    async def open_again(self, transport: Transport) -> Transport:
        return self.open(transport.queue)

    async def open_dead_letters(self, transport: Transport) -> Transport:
        name, dot, suffix = transport.queue.partition(".")
        return self.open(f"{name}-dead{dot}{suffix}")

    def open(self, name: str) -> Transport:
        address = read_address(f"sqs://{name}")
        settings = sqs_settings(visibility_seconds=100)
        return SqsTransport(address, settings, clock=self.clock)


class TestBroker(SqsConformance):
    @pytest.fixture(autouse=True)
    def place(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.clock = MovableClock()
        with SqsBroker() as self.broker:
            aws_environment(monkeypatch, self.broker.endpoint_url)
            yield

    def create(self, name: str, dead_letters: str | None = None) -> None:
        redrive = {"deadLetterTargetArn": self.broker.arn(dead_letters or ""), **MANY_RECEIVES}
        self.broker.create_queue(name, **({"RedrivePolicy": redrive} if dead_letters else {}))

    async def move_clock(self, seconds: float) -> None:
        self.broker.clock.advance(seconds)
        self.clock.move(seconds)


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class TestMoto(SqsConformance):
    """A second opinion, without what moto does otherwise than SQS."""

    # It forgets deduplication ids with their messages, and turns a group round when locks end.
    test_repeated_deduplication_id_sends_nothing = None  # type: ignore[assignment]
    test_ended_lock_brings_the_group_back_in_order = None  # type: ignore[assignment]

    @pytest.fixture(autouse=True)
    def place(self, moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = MovableClock()
        began = self.clock.since_start

        def passed() -> float:
            return self.clock.since_start - began

        monkeypatch.setattr("moto.sqs.models.unix_time", lambda: unix_time() + passed())
        monkeypatch.setattr(
            "moto.sqs.models.unix_time_millis", lambda: unix_time_millis() + passed() * 1000
        )
        aws_environment(monkeypatch, moto_url)
        self.sqs = boto3.client("sqs")

    def create(self, name: str, dead_letters: str | None = None) -> None:
        attributes: Any = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        if dead_letters:
            target = f"arn:aws:sqs:{REGION}:123456789012:{dead_letters}"
            redrive = {"deadLetterTargetArn": target, **MANY_RECEIVES}
            attributes["RedrivePolicy"] = json.dumps(redrive)
        self.sqs.create_queue(QueueName=name, Attributes=attributes)

    async def move_clock(self, seconds: float) -> None:
        self.clock.move(seconds)
