"""SQS's batch calls, answered entry by entry; they never retry, they report what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from queue_runtime.clouds.aws import error_code
from queue_runtime.transports.sqs.wire import LARGEST_MESSAGE, entry_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
LARGEST_BATCH: Final = 10

NO_ANSWER: Final = "NoAnswer"
NO_TIME: Final = "NoTime"


class Sent(NamedTuple):
    """What became of sent entries, by position: the message id, or the error code."""

    ids: dict[int, str]
    failed: dict[int, str]


def change_visibility(
    client: Any,
    url: str,
    changes: Sequence[tuple[str, int]],
    in_time: Callable[[], bool] = lambda: True,
) -> dict[int, str]:
    """Set receipts' remaining lock times in seconds; gives the error code of each that failed."""
    entries = [
        {"Id": str(at), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
        for at, (receipt, seconds) in enumerate(changes)
    ]
    call = client.change_message_visibility_batch
    return _call_in_batches(call, url, _by_count(entries), in_time)


def delete(client: Any, url: str, receipts: Sequence[str]) -> dict[int, str]:
    """Delete by receipts; gives the error code of each that failed."""
    entries = [{"Id": str(at), "ReceiptHandle": receipt} for at, receipt in enumerate(receipts)]
    call = client.delete_message_batch
    return _call_in_batches(call, url, _by_count(entries), lambda: True)


def send(
    client: Any,
    url: str,
    entries: Sequence[dict[str, Any]],
    in_time: Callable[[], bool] = lambda: True,
) -> Sent:
    """Send entries without an `Id`; gives the message id or the error code of each."""
    numbered = [{"Id": str(at), **entry} for at, entry in enumerate(entries)]
    ids: dict[int, str] = {}

    def call(**request: Any) -> Any:
        answer = client.send_message_batch(**request)
        for item in answer.get("Successful", ()):
            if "MessageId" in item:  # sent all the same, so not worth an exception
                ids[int(item["Id"])] = item["MessageId"]
        return answer

    failed = _call_in_batches(call, url, _by_count_and_size(numbered), in_time)
    return Sent(ids, failed)


def _call_in_batches(
    call: Callable[..., Any],
    url: str,
    chunks: Iterator[list[dict[str, Any]]],
    in_time: Callable[[], bool],
) -> dict[int, str]:
    failed: dict[int, str] = {}
    for chunk in chunks:
        if not in_time():
            failed.update((int(entry["Id"]), NO_TIME) for entry in chunk)
            continue
        try:
            answer = call(QueueUrl=url, Entries=chunk)
        except Exception as error:
            code = error_code(error)
            if code is None:
                raise
            failed.update((int(entry["Id"]), code) for entry in chunk)
        else:
            failed.update(_failed_entries(answer, chunk))
    return failed


def _failed_entries(answer: Any, chunk: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    # Only what is named successful was: an entry that the answer leaves out counts as failed.
    successful = {item["Id"] for item in answer.get("Successful", ())}
    codes = {item["Id"]: item.get("Code", NO_ANSWER) for item in answer.get("Failed", ())}
    for entry in chunk:
        if entry["Id"] not in successful:
            yield int(entry["Id"]), codes.get(entry["Id"], NO_ANSWER)


def _by_count(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(entries), LARGEST_BATCH):
        yield entries[start : start + LARGEST_BATCH]


def _by_count_and_size(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        bytes_ = entry_size(entry)
        if chunk and (len(chunk) == LARGEST_BATCH or size + bytes_ > LARGEST_MESSAGE):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += bytes_
    if chunk:
        yield chunk
