"""Checks a message before it is sent to SQS, since one bad entry can refuse a whole batch."""

from __future__ import annotations

import re
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from queue_runtime.errors import MessageTooLargeError, TransportError
from queue_runtime.transports.sqs.wire import MOST_ATTRIBUTES, entry_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from queue_runtime.transports.base import OutgoingMessage

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_LONGEST_DELAY: Final = 900
_NAME: Final = re.compile(r"(?!AWS\.|Amazon\.)(?!\.)[\w.-]{1,256}(?<!\.)", re.ASCII | re.IGNORECASE)
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def send_entry(
    message: OutgoingMessage, *, ordered: bool, largest: int, by_content: bool
) -> dict[str, Any]:
    """Build a send entry without its `Id`.

    Args:
        message: what to send.
        ordered: whether the queue is FIFO.
        largest: the most bytes that the queue takes.
        by_content: whether the queue makes deduplication ids itself.

    Raises:
        TransportError: SQS would not take it; the text says what to change.
    """
    entry: dict[str, Any] = {"MessageBody": _body(message.body)}
    attributes = _attributes(message)
    if attributes:
        entry["MessageAttributes"] = attributes
    delay = _delay(message.delay, ordered=ordered)
    if delay:
        entry["DelaySeconds"] = delay
    if message.group_id is not None:
        entry["MessageGroupId"] = message.group_id
    if ordered:
        _order(entry, message, by_content=by_content)
    entry.update(message.native)
    size = entry_size(entry)
    if size > largest:
        raise MessageTooLargeError(
            f"it has {size:,} bytes with its attributes, and the queue takes {largest:,}: keep the "
            "content elsewhere and send where it is"
        )
    return entry


def _order(entry: dict[str, Any], message: OutgoingMessage, *, by_content: bool) -> None:
    if message.group_id is None:
        raise TransportError("a FIFO queue needs a group_id with every message: send one")
    if message.deduplication_id is not None:
        entry["MessageDeduplicationId"] = message.deduplication_id
    elif not by_content:
        # SQS insists on one: this one is like no other, so nothing is taken for a repetition.
        entry["MessageDeduplicationId"] = uuid4().hex


def _body(body: object) -> str:
    if isinstance(body, bytes):
        try:
            body = body.decode()
        except UnicodeDecodeError:
            raise TransportError(
                "its body is not text, and SQS takes nothing else: encode it, as base64 for example"
            ) from None
    if not isinstance(body, str):
        raise TransportError(f"a body is str or bytes, not {type(body).__name__}: encode it first")
    if not body:
        raise TransportError("its body is empty, which SQS does not take")
    if _FORBIDDEN.search(body):
        raise TransportError(
            "its body has characters that SQS does not take (control characters, half a surrogate "
            "pair): encode it, as JSON or base64 for example"
        )
    return body


def _delay(seconds: float, *, ordered: bool) -> int:
    if not 0 <= seconds < float("inf"):
        raise TransportError(f"delay is seconds, 0 or more, not {seconds!r}")
    if seconds > _LONGEST_DELAY:
        raise TransportError(f"SQS delays by {_LONGEST_DELAY} s at most, not {seconds:g} s")
    if seconds and ordered:
        raise TransportError(
            "a FIFO queue delays no single message: leave delay out, or set the queue's own"
        )
    return ceil(seconds)


def _attributes(message: OutgoingMessage) -> dict[str, Any]:
    values: dict[str, Any] = dict(message.attributes)
    if message.correlation_id is not None:
        values["correlation_id"] = message.correlation_id
    if len(values) > MOST_ATTRIBUTES:
        raise TransportError(
            f"it has {len(values)} attributes, the correlation id included, and SQS takes "
            f"{MOST_ATTRIBUTES}"
        )
    return {name: _attribute(name, value) for name, value in values.items()}


def _attribute(name: str, value: object) -> Mapping[str, Any]:
    if not _NAME.fullmatch(name) or ".." in name:
        raise TransportError(
            f"attribute {name!r}: SQS takes names of 1 to 256 letters, digits, _, - and single "
            "dots inside, and none that begins with AWS. or Amazon."
        )
    if isinstance(value, bytes) and value:
        return {"DataType": "Binary", "BinaryValue": value}
    if isinstance(value, str) and value and not _FORBIDDEN.search(value):
        return {"DataType": "String", "StringValue": value}
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return {"DataType": "Number", "StringValue": _number(value)}
    raise TransportError(
        f"attribute {name!r} is {_described(value)}: str and bytes that are not empty, int and "
        "finite floats can be sent"
    )


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, bool) else repr(value)


def _described(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} that is empty or not text" if isinstance(value, str | bytes) else kind
