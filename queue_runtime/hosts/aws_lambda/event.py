"""Checks Lambda's event, and makes the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from queue_runtime.errors import EventError
from queue_runtime.outcome import ACK, Disposition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.outcome import Outcome


class ItemFailure(TypedDict):
    """One message that Lambda must not delete."""

    itemIdentifier: str


class LambdaReply(TypedDict):
    """The answer to an SQS event source with ReportBatchItemFailures."""

    batchItemFailures: list[ItemFailure]


def read_records(event: Any) -> list[dict[str, Any]]:
    """Check an SQS event before anything of it runs.

    Raises:
        EventError: with what is wrong, and in which record.
    """
    if not isinstance(event, dict):
        raise EventError(f"the event is a {type(event).__name__}, not an SQS event object")
    records = event.get("Records")
    if not isinstance(records, list):
        raise EventError(
            "the event has no list of Records: this function must be invoked by an SQS event "
            "source mapping, or by hand with an event of that shape"
        )
    first = records[0] if records else None
    arn = first.get("eventSourceARN") if isinstance(first, dict) else None
    for record in records:
        if wrong := _wrong(record, arn):
            position = next(at for at, each in enumerate(records, start=1) if each is record)
            raise EventError(f"record {position} of {len(records)}: {wrong}")
    return records


def _wrong(record: Any, arn: Any) -> str:
    """Name the mistake in a record; empty where there is none."""
    if not isinstance(record, dict):
        return f"it is a {type(record).__name__}, not an object"
    if record.get("eventSource") != "aws:sqs":
        return f"it comes from {record.get('eventSource')!r}, not from aws:sqs"
    for name in ("messageId", "receiptHandle", "eventSourceARN"):
        if not isinstance(record.get(name), str) or not record[name]:
            return f"it has no {name}, so it could not be told from the others in a reply"
    if record["eventSourceARN"] != arn:
        return f"it comes from {record['eventSourceARN']}, the first one from {arn}"
    return "" if isinstance(record.get("body"), str) else "it has no body"


def reply(records: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]) -> LambdaReply:
    """Name the messages that Lambda must not delete, each once."""
    if outcomes.count(ACK) == len(outcomes):
        return {"batchItemFailures": []}
    # Ids come from nowhere but the records: an unknown or empty one fails the whole batch.
    failed = {
        record["messageId"]: None
        for record, outcome in zip(records, outcomes, strict=True)
        if outcome.disposition is Disposition.RETRY
    }
    return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}
