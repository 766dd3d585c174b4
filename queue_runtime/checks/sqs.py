"""Reads an SQS queue's attributes, for the rules that compare them with a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from queue_runtime.checks import Finding
from queue_runtime.clouds.aws import (
    QueueArn,
    error_code,
    parse_queue_arn,
    queue_arn,
    sqs_client,
)
from queue_runtime.clouds.aws import queue_url as url_of_arn
from queue_runtime.errors import AccessDeniedError, QueueNotFoundError, TransportError
from queue_runtime.transports.sqs.address import read_address
from queue_runtime.transports.sqs.queue_attributes import QueueFacts, facts_of, misfits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from queue_runtime.config import Settings

_RETENTION = "MessageRetentionPeriod"


class QueueTimes(NamedTuple):
    """For how long a queue, and its dead-letter queue, keep messages; None where it has none."""

    queue_seconds: float
    dead_letter_seconds: float | None


def read_queue(
    url: str, settings: Settings, *, clients: Callable[[str], Any] = sqs_client
) -> tuple[QueueTimes, QueueFacts]:
    """Ask SQS for a queue, and for the dead-letter queue that its messages would go to.

    Raises:
        MissingExtraError: the AWS SDK is not installed.
        QueueNotFoundError: the queue, or its dead-letter queue, is not there.
        TransportError: SQS refused, or could not be reached.
    """
    address = read_address(url)
    region = address.region or settings.aws_region or "us-east-1"
    client = clients(region)
    arn = QueueArn("aws", region, address.account, address.name)
    attributes = _attributes(client, arn)
    known = parse_queue_arn(attributes["QueueArn"])
    facts = facts_of("", known, attributes)
    named = facts.redrive_target or settings.dead_letter
    if named is None:
        return QueueTimes(float(attributes[_RETENTION]), None), facts
    target = queue_arn(named, known)
    there = client if target.region == region else clients(target.region)
    seconds = float(_attributes(there, target)[_RETENTION])
    return QueueTimes(float(attributes[_RETENTION]), seconds), facts


def queue_findings(facts: QueueFacts, settings: Settings) -> Iterator[Finding]:
    """Say how a queue and the settings work against each other, as a poller does at its start."""
    dead_letter = settings.dead_letter or facts.redrive_target
    for what, sentence in misfits(facts, settings, dead_letter=dead_letter):
        yield Finding(what.replace("_", "-"), "warning", f"{facts.arn.name}: {sentence}")


def _attributes(client: Any, queue: QueueArn) -> dict[str, str]:
    name = queue.name
    try:
        if queue.account:
            url = url_of_arn(client, queue)
        else:
            url = client.get_queue_url(QueueName=name)["QueueUrl"]
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except Exception as error:
        code = error_code(error)
        if code is None:
            raise TransportError(
                f"SQS could not be asked for {name}: {type(error).__name__}"
            ) from error
        if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
            raise QueueNotFoundError(
                f"there is no SQS queue {name!r} here: see its region"
            ) from None
        if "AccessDenied" in code:
            raise AccessDeniedError(
                f"the attributes of {name} may not be read ({code}): allow sqs:GetQueueUrl and "
                "sqs:GetQueueAttributes, or give --queue-retention and --dlq-retention"
            ) from None
        raise TransportError(f"the attributes of {name} could not be read: {code}") from None
    return dict(answer["Attributes"])
