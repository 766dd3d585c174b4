"""Queues of a local SQS, and the function's built folder, for tests of the Lambda host."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.sqs.models import sqs_backends

from tests.infra.template import properties, template
from tests.lambda_runtime.build import built_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    MakeQueues: TypeAlias = Callable[..., "Queues"]

_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A message in a dead-letter queue; `facts` is what the library says of it, if it put it there.

    `id` is the original's, which `broker_id` is too where SQS itself moved the message.
    """

    id: str
    broker_id: str
    body: str
    attributes: dict[str, str]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Queues:
    """A queue with its dead-letter queue, both new and empty."""

    sqs: SQSClient
    url: str
    dead_letter_url: str

    @property
    def dead_letter_name(self) -> str:
        """What QUEUE_DLQ_NAME says of it."""
        return _name(self.dead_letter_url)

    def send(
        self, body: str, *, group: str | None = None, correlation_id: str | None = None
    ) -> str:
        """Send a message as a producer would, and give its id."""
        options: dict[str, Any] = {}
        if group is not None:
            options = {"MessageGroupId": group, "MessageDeduplicationId": str(uuid4())}
        if correlation_id is not None:
            value = {"DataType": "String", "StringValue": correlation_id}
            options["MessageAttributes"] = {"correlation_id": value}
        sent = self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **options)
        return sent["MessageId"]

    def depth(self) -> int:
        """Count what is left in the queue, visible or not."""
        return len(_backend(self.url)._messages)

    def seconds_until_visible(self, message_id: str) -> float:
        """Give how long a message in flight stays so, which no request of SQS tells."""
        (message,) = [each for each in _backend(self.url)._messages if each.id == message_id]
        return float(message.visible_at) / 1000 - time()

    def take_dead_letters(self) -> dict[str, DeadLettered]:
        """Empty the dead-letter queue; by original id."""
        found = {}
        while messages := self._receive_dead():
            for message in messages:
                dead = _dead_lettered(message)
                assert dead.id not in found
                found[dead.id] = dead
                self._forget_dead(message)
        return found

    def put_back(self, message_id: str) -> str:
        """Move the one dead letter to its queue as a copy, and give the copy's id."""
        (message,) = self._receive_dead()
        assert _dead_lettered(message).id == message_id
        sent = self.sqs.send_message(
            QueueUrl=self.url,
            MessageBody=message["Body"],
            MessageAttributes=message["MessageAttributes"],
        )
        self._forget_dead(message)
        return sent["MessageId"]

    def _receive_dead(self) -> list[MessageTypeDef]:
        return self.sqs.receive_message(
            QueueUrl=self.dead_letter_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", [])

    def _forget_dead(self, message: MessageTypeDef) -> None:
        self.sqs.delete_message(
            QueueUrl=self.dead_letter_url, ReceiptHandle=message["ReceiptHandle"]
        )


def _dead_lettered(message: MessageTypeDef) -> DeadLettered:
    attributes = {
        name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()
    }
    facts = json.loads(attributes.pop("queue_runtime", "{}"))
    return DeadLettered(
        id=facts.get("id", message["MessageId"]),
        broker_id=message["MessageId"],
        body=message["Body"],
        attributes=attributes,
        facts=facts,
    )


def _name(url: str) -> str:
    return url.rsplit("/", 1)[-1]


def _backend(url: str) -> Any:
    return sqs_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].queues[_name(url)]


@pytest.fixture(scope="session")
def sqs_endpoint() -> Iterator[str]:
    """Run moto's SQS on a free port of this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def sqs(sqs_endpoint: str) -> SQSClient:
    """Make a client of the local SQS."""
    return boto3.client(
        "sqs",
        endpoint_url=sqs_endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture
def function_env(sqs_endpoint: str) -> dict[str, str]:
    """Give the environment of a function that uses the local SQS, and logs as the template says."""
    logging = template()["Globals"]["Function"]["LoggingConfig"]
    return {
        "AWS_ENDPOINT_URL_SQS": sqs_endpoint,
        "AWS_LAMBDA_LOG_FORMAT": logging["LogFormat"],
        "AWS_LAMBDA_LOG_LEVEL": logging["ApplicationLogLevel"],
    }


@pytest.fixture
def make_queues(sqs: SQSClient) -> MakeQueues:
    """Give a function that makes queues as template.yaml has them, with its default timeout."""
    visibility = template()["Mappings"]["Visibility"][
        template()["Parameters"]["FunctionTimeout"]["Default"]
    ]["Seconds"]

    def make(*, fifo: bool = False, max_receive_count: int | None = None) -> Queues:
        policy = properties("OrdersFifoQueue" if fifo else "OrdersQueue")["RedrivePolicy"]
        name = f"orders-{next(_names)}"
        suffix = ".fifo" if fifo else ""
        kind: dict[QueueAttributeNameType, str] = {"FifoQueue": "true"} if fifo else {}
        dead = sqs.create_queue(QueueName=f"{name}-dlq{suffix}", Attributes=kind)["QueueUrl"]
        dead_arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        redrive = {
            "deadLetterTargetArn": dead_arn["Attributes"]["QueueArn"],
            "maxReceiveCount": max_receive_count or policy["maxReceiveCount"],
        }
        url = sqs.create_queue(
            QueueName=f"{name}{suffix}",
            Attributes={
                "VisibilityTimeout": str(visibility),
                "RedrivePolicy": json.dumps(redrive),
                **kind,
            },
        )["QueueUrl"]
        return Queues(sqs, url, dead)

    return make


@pytest.fixture(scope="session")
def task_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that `sam build` makes of the function, built once for all workers."""
    return built_once(tmp_path_factory)
