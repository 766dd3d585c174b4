"""Reads an `sqs://` URL, without a request to SQS."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from queue_runtime.clouds.aws import QueueArn, queue_arn
from queue_runtime.errors import QueueNotFoundError

_SCHEME: Final = "sqs://"
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
_NAME: Final = re.compile(r"(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?")
_FORMS: Final = (
    "sqs://orders, sqs://123456789012/orders, sqs://arn:aws:sqs:region:account:orders, or the "
    "queue's https:// URL"
)


class SqsAddress(NamedTuple):
    """A queue by name, and what else the URL says of it; empty where it does not.

    - `endpoint_url`: where SQS is, if the URL has a host that is not AWS's.
    """

    name: str
    account: str = ""
    region: str = ""
    endpoint_url: str | None = None

    @property
    def ordered(self) -> bool:
        """FIFO, which only the name tells."""
        return self.name.endswith(".fifo")


def read_address(url: str) -> SqsAddress:
    """Read `sqs://` with a name, account/name, ARN or URL after it, or a queue's own https URL.

    Raises:
        QueueNotFoundError: it is none of these; the text says what one looks like.
    """
    reference = url.removeprefix(_SCHEME).strip()
    address = _read(reference)
    if address is None or not _NAME.fullmatch(address.name):
        shown = reference if "@" not in reference else "what is given"  # it may hold a password
        raise QueueNotFoundError(f"{shown!r} is no SQS queue: write {_FORMS}")
    return address


def _read(reference: str) -> SqsAddress | None:
    if reference.startswith(("https://", "http://")):
        return _of_url(reference)
    if reference.startswith("arn:"):
        arn = queue_arn(reference, _NOWHERE)
        return SqsAddress(arn.name, arn.account, arn.region)
    account, slash, name = reference.rpartition("/")
    if slash and not account.isdecimal():
        return None
    return SqsAddress(name, account)


def _of_url(url: str) -> SqsAddress | None:
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query:
        return None
    arn = queue_arn(url, _NOWHERE)
    host = (parts.hostname or "").split(".")
    endpoint_url = None if "amazonaws" in host else f"{parts.scheme}://{parts.netloc}"
    return SqsAddress(arn.name, arn.account, arn.region, endpoint_url)


_NOWHERE: Final = QueueArn("", "", "", "")
