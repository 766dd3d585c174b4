"""What an SQS queue's own attributes say, for the rules that compare them with a handler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from queue_runtime.clouds.aws import error_code, parse_queue_arn, sqs_client
from queue_runtime.errors import AccessDeniedError, QueueNotFoundError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

_RETENTION = "MessageRetentionPeriod"


class QueueTimes(NamedTuple):
    """For how long a queue, and the dead-letter queue of its redrive policy, keep messages."""

    queue_seconds: float
    dead_letter_seconds: float | None


def read_times(name: str, region: str, *, clients: Callable[[str], Any] = sqs_client) -> QueueTimes:
    """Ask SQS.

    Raises:
        MissingExtraError: the AWS SDK is not installed.
        QueueNotFoundError: the queue, or its dead-letter queue, is not there.
        TransportError: SQS refused, or could not be reached.
    """
    client = clients(region)
    attributes = _attributes(client, name)
    policy = json.loads(attributes.get("RedrivePolicy", "{}"))
    dead_letter = policy.get("deadLetterTargetArn")
    seconds = None
    if dead_letter:
        seconds = float(_attributes(client, parse_queue_arn(dead_letter).name)[_RETENTION])
    return QueueTimes(float(attributes[_RETENTION]), seconds)


def _attributes(client: Any, name: str) -> dict[str, str]:
    try:
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        names = [_RETENTION, "RedrivePolicy"]
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    except Exception as error:
        code = error_code(error)
        if code is None:
            raise
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
