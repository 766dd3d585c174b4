"""Reads an SQS queue's attributes once, at its first use, and compares them with the settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from queue_runtime.clouds.aws import QueueArn, error_code, parse_queue_arn, queue_url
from queue_runtime.errors import AccessDeniedError
from queue_runtime.observability.events import events
from queue_runtime.transports.sqs.errors import EXPIRED, explained
from queue_runtime.transports.sqs.wire import LARGEST_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from queue_runtime.clouds.aws_sqs import SqsClients
    from queue_runtime.config import Settings
    from queue_runtime.transports.sqs.address import SqsAddress

# Deliveries that are given back unrun (deadline, group order, shutdown) count for SQS, not for us.
_SPARE_DELIVERIES: Final = 3


class QueueFacts(NamedTuple):
    """Holds a queue's attributes; `None` and defaults where the permission to read them is missing.

    - `redrive_target`, `redrive_count`: of the redrive policy.
    - `visibility`: the queue's own timeout. `largest`: the most bytes of a message.
    - `by_content`: whether deduplication ids may be left out.
    """

    url: str
    arn: QueueArn
    redrive_target: str | None = None
    redrive_count: int | None = None
    visibility: int | None = None
    largest: int = LARGEST_MESSAGE
    by_content: bool = False


class Asking:
    """Calls SQS for one queue, with errors in our words."""

    def __init__(self, queue: str, clients: SqsClients) -> None:
        self.queue = queue
        self._clients = clients

    def ask(self, action: str, call: Callable[[], Any]) -> Any:
        """Make one request.

        Raises:
            TransportError: it failed.
        """
        try:
            return call()
        except Exception as error:
            code = error_code(error)
            if code is None:
                raise
            self.note((code,))
            raise explained(code, self.queue, action) from error

    def note(self, codes: Any) -> None:
        """Have credentials read anew where they were refused."""
        if not EXPIRED.isdisjoint(codes):
            self._clients.renew()


def read_facts(address: SqsAddress, clients: SqsClients, asking: Asking) -> QueueFacts:
    """Find the queue and read its attributes.

    Raises:
        TransportError: it is missing or closed to us; the text says what to do.
    """
    client = asking.ask("the SDK", lambda: clients.calling)
    region = address.region or clients.region or ""
    arn = QueueArn(client.meta.partition, region, address.account, address.name)
    if address.account:
        url = queue_url(client, arn)
    else:
        url = asking.ask(
            "sqs:GetQueueUrl", lambda: client.get_queue_url(QueueName=address.name)["QueueUrl"]
        )
        account = urlsplit(url).path.strip("/").split("/")[0]
        arn = QueueArn(arn.partition, region, account, address.name)
    try:
        attributes = asking.ask(
            "sqs:GetQueueAttributes",
            lambda: client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
        )["Attributes"]
    except AccessDeniedError as error:
        events.say_once(
            address.name,
            "queue_attributes",
            f"its settings could not be checked, nor its dead-letter queue be found: {error}",
        )
        return QueueFacts(url, arn)
    return facts_of(url, arn, attributes)


def facts_of(url: str, arn: QueueArn, attributes: Mapping[str, str]) -> QueueFacts:
    """Read what `GetQueueAttributes` answers."""
    redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
    count = redrive.get("maxReceiveCount")
    return QueueFacts(
        url,
        parse_queue_arn(attributes["QueueArn"]) if "QueueArn" in attributes else arn,
        redrive_target=redrive.get("deadLetterTargetArn"),
        redrive_count=None if count is None else int(count),
        visibility=int(attributes["VisibilityTimeout"]),
        largest=int(attributes.get("MaximumMessageSize", LARGEST_MESSAGE)),
        by_content=attributes.get("ContentBasedDeduplication") == "true",
    )


def misfits(
    facts: QueueFacts, settings: Settings, *, dead_letter: str | None
) -> Iterator[tuple[str, str]]:
    """Find where the queue and the settings work against each other: a word, and a sentence.

    `dead_letter` is where dead-letters go, whoever says so.
    """
    deliveries, lock_seconds = settings.max_deliveries, settings.visibility_seconds
    needed = deliveries + _SPARE_DELIVERIES
    if facts.redrive_count is not None and facts.redrive_count < needed:
        yield (
            "redrive_count",
            f"its redrive policy moves messages after {facts.redrive_count} receives, some of "
            f"which no handler sees: set maxReceiveCount to {needed} or more, for max_deliveries = "
            f"{deliveries} ({settings.origin('max_deliveries')})",
        )
    if facts.visibility is not None and facts.visibility > lock_seconds:
        yield (
            "visibility",
            f"its visibility timeout is {facts.visibility} s, but messages are locked for "
            f"{lock_seconds:g} s ({settings.origin('visibility_seconds')}) and renewed: an "
            "interruption of that length has them delivered again; set "
            "QUEUE_VISIBILITY_TIMEOUT_SECONDS to the queue's own",
        )
    if facts.visibility is not None and dead_letter is None:
        yield (
            "dead_letter_target",
            "it has no dead-letter queue: what cannot be handled is retried until it expires; give "
            "it a redrive policy, or set QUEUE_DLQ_NAME",
        )
