"""A queue's attributes: which exist, what they may be, and what they mean to the queue."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.brokers.sqs import errors, limits

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_FIFO_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo", re.ASCII)

# Attribute -> default, least, most; what is not a number is below.
_NUMBERS = {
    "DelaySeconds": (0, 0, limits.DELAY),
    "MaximumMessageSize": (limits.MESSAGE_BYTES, 1024, limits.MESSAGE_BYTES),
    "MessageRetentionPeriod": (4 * 86400, 60, 14 * 86400),
    "ReceiveMessageWaitTimeSeconds": (0, 0, limits.WAIT),
    "VisibilityTimeout": (30, 0, limits.VISIBILITY),
}
_CHOICES = {
    "FifoQueue": ("true",),
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
    "SqsManagedSseEnabled": ("true", "false"),
}
_FIFO_ONLY = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
# Kept and shown, without any effect here: there is no encryption and no access control.
_INERT = frozenset(
    {"Policy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "RedriveAllowPolicy"}
)
COMPUTED = frozenset(
    {
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
        "QueueArn",
    }
)
SETTABLE = frozenset({*_NUMBERS, *_CHOICES, *_INERT, "RedrivePolicy"})
READABLE = SETTABLE | COMPUTED


@dataclass(frozen=True, slots=True)
class Redrive:
    """Where a message goes that was received too often."""

    target_arn: str
    max_receives: int


class QueueSettings:
    """The attributes as text, and the ones that the queue acts on as numbers."""

    __slots__ = (
        "content_deduplication", "deduplicate_by_group", "delay", "fifo", "max_bytes",
        "redrive", "retention", "values", "visibility", "wait",
    )  # fmt: skip

    def __init__(self, values: Mapping[str, str]) -> None:
        self.fifo = values.get("FifoQueue") == "true"
        defaults = {name: str(default) for name, (default, _, _) in _NUMBERS.items()}
        defaults["SqsManagedSseEnabled"] = "true"
        if self.fifo:
            defaults |= _FIFO_ONLY
        _check_values(values, fifo=self.fifo)
        # An empty text takes an attribute away, which is how a redrive policy is removed.
        self.values = defaults | {name: text for name, text in values.items() if text}
        self.content_deduplication = self.values.get("ContentBasedDeduplication") == "true"
        self.deduplicate_by_group = self.values.get("DeduplicationScope") == "messageGroup"
        self.delay = int(self.values["DelaySeconds"])
        self.max_bytes = int(self.values["MaximumMessageSize"])
        self.retention = int(self.values["MessageRetentionPeriod"])
        self.wait = int(self.values["ReceiveMessageWaitTimeSeconds"])
        self.visibility = int(self.values["VisibilityTimeout"])
        self.redrive = _redrive(self.values.get("RedrivePolicy", ""))

    def changed(self, values: Mapping[str, str]) -> QueueSettings:
        """The settings after SetQueueAttributes; a queue's type can never change."""
        if "FifoQueue" in values:
            if not self.fifo:
                raise errors.unknown_attribute("FifoQueue")
            if values["FifoQueue"] != "true":
                raise errors.invalid_attribute(
                    "FifoQueue", "Modifying queue type is not supported."
                )
        _check_values(values, fifo=self.fifo)
        kept = {name: text for name, text in self.values.items() if name not in values}
        return QueueSettings(kept | dict(values))


def check_queue_name(name: str, *, fifo: bool) -> None:
    if fifo and not _FIFO_NAME.fullmatch(name):
        raise errors.invalid_value(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or "
            "underscores, must end with .fifo suffix and be 1 to 80 in length."
        )
    if not fifo and not _NAME.fullmatch(name):
        raise errors.invalid_value(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )


def _check_values(values: Mapping[str, str], *, fifo: bool) -> None:
    for name, text in values.items():
        if name not in SETTABLE or (name in _FIFO_ONLY and not fifo):
            raise errors.unknown_attribute(name)
        if not text:
            continue
        if name in _NUMBERS:
            _, low, high = _NUMBERS[name]
            if not (text.isascii() and text.isdigit() and len(text) < 9):
                raise errors.invalid_attribute(name)
            if not low <= int(text) <= high:
                raise errors.invalid_attribute(name)
        elif text not in _CHOICES.get(name, (text,)):
            raise errors.invalid_attribute(name)


def _redrive(text: str) -> Redrive | None:
    if not text:
        return None
    try:
        policy = json.loads(text)
        target, most = policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise _bad_redrive(text, "Amazon SQS can't create the redrive policy.") from None
    if not isinstance(target, str) or not target.startswith("arn:"):
        raise _bad_redrive(text, "Invalid value for deadLetterTargetArn.")
    if not 1 <= most <= 1000:
        raise _bad_redrive(text, "Invalid value for maxReceiveCount: it must be 1 to 1000.")
    return Redrive(target, most)


def _bad_redrive(text: str, reason: str) -> errors.SqsError:
    return errors.invalid_parameter(text, "RedrivePolicy", reason)
