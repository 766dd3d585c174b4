"""Pytest fixtures for suites that need an SQS; import them in a conftest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from tests.brokers.sqs.account import REGION
from tests.brokers.sqs.broker import SqsBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_sqs import SQSClient

_SESSION = boto3.Session("test", "test", region_name=REGION)  # one load of botocore's models


@pytest.fixture
def sqs_broker() -> Iterator[SqsBroker]:
    with SqsBroker() as broker:
        yield broker


@pytest.fixture
def sqs_client(sqs_broker: SqsBroker) -> Iterator[SQSClient]:
    client = sqs_client_for(sqs_broker.endpoint_url)
    yield client
    client.close()


def sqs_client_for(endpoint_url: str, *, attempts: int = 1) -> SQSClient:
    """A real client of that endpoint; by default it never retries, so that faults show."""
    config = Config(
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=5,
        read_timeout=30,
    )
    return _SESSION.client("sqs", endpoint_url=endpoint_url, config=config)
