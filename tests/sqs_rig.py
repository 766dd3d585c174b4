"""What tests of the SQS transport share: where the SDK finds its broker, and settings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from queue_runtime.config import Settings, load_settings
from queue_runtime.transports.sqs.address import read_address
from queue_runtime.transports.sqs.transport import SqsTransport
from tests.brokers.sqs.account import REGION

if TYPE_CHECKING:
    import pytest

    from queue_runtime.message import Message
    from queue_runtime.transports.sqs.queue import Clock

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}


def aws_environment(monkeypatch: pytest.MonkeyPatch, endpoint_url: str) -> None:
    """Lead the AWS SDK of this process to a server on loopback, and to nothing else."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", endpoint_url)


def sqs_settings(**values: object) -> Settings:
    """Take a test's own values; file and environment are not read."""
    return load_settings(environ={}, arguments={"aws_region": REGION, **values})


def open_queue(name: str, *, clock: Clock = time, **values: object) -> SqsTransport:
    """Open a queue by name, or by whatever else may follow `sqs://`."""
    address = read_address(f"sqs://{name}")
    return SqsTransport(address, sqs_settings(**values), clock=clock)


async def received(queue: SqsTransport, count: int = 10) -> list[Message[Any]]:
    """Receive what is there, in one request."""
    return list(await queue.receive(count, 5))
