"""The twelve calls: checks a request's members, works the queue, spells the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.brokers.sqs import errors, limits
from tests.brokers.sqs.account import ACCOUNT_ID
from tests.brokers.sqs.drafts import check_deduplication, draft_of
from tests.brokers.sqs.md5 import attributes_md5, body_md5
from tests.brokers.sqs.rendering import Rendering, queue_attributes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tests.brokers.sqs.account import Account
    from tests.brokers.sqs.faults import Faults
    from tests.brokers.sqs.fields import Fields
    from tests.brokers.sqs.messages import Draft, Message, Sent
    from tests.brokers.sqs.polls import LongPolls
    from tests.brokers.sqs.queues import Queue

Reply = dict[str, Any]


class Waiting(NamedTuple):
    """A reply that is known when the future is done."""

    future: asyncio.Future[list[Message]]
    reply: Callable[[], Reply]


class Api:
    """Calls by name; a reply that has to wait for messages says so."""

    def __init__(self, account: Account, polls: LongPolls, faults: Faults, endpoint: str) -> None:
        self._account = account
        self._polls = polls
        self._faults = faults
        self._endpoint = endpoint
        self._calls: dict[str, Callable[[Fields], Reply | Waiting]] = {
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change_visibility,
            "ChangeMessageVisibilityBatch": self._change_visibility_batch,
            "GetQueueAttributes": self._get_attributes,
            "SetQueueAttributes": self._set_attributes,
            "GetQueueUrl": self._get_url,
            "CreateQueue": self._create,
            "PurgeQueue": self._purge,
        }

    def call(self, name: str, fields: Fields) -> Reply | Waiting:
        return self._calls[name](fields)

    def check_name(self, name: str) -> None:
        if name not in self._calls:
            raise errors.SqsError(
                "UnknownOperationException", f"The operation {name!r} is not modelled here."
            )

    def url(self, queue: str) -> str:
        return f"{self._endpoint}{queue_path(queue)}"

    # --- producing

    def _send(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        draft = draft_of(fields, queue.settings)
        size = limits.message_size(draft.body, draft.attributes)
        if size > queue.settings.max_bytes:
            raise errors.invalid_value(
                "One or more parameters are invalid. Reason: Message must be shorter than "
                f"{queue.settings.max_bytes} bytes."
            )
        reply = _sent(queue, draft, queue.send(draft))
        self._polls.serve(queue)
        return reply

    def _send_batch(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        entries = self._entries("SendMessageBatch", fields)
        _check_batch(queue, list(entries.values()))

        def send(entry: Fields) -> Reply:
            draft = draft_of(entry, queue.settings)
            return _sent(queue, draft, queue.send(draft))

        return self._batch("SendMessageBatch", queue, entries, send)

    # --- consuming

    def _receive(self, fields: Fields) -> Reply | Waiting:
        queue = self._queue(fields)
        rendering = Rendering(fields)
        count = _ranged(fields, "MaxNumberOfMessages", 1, limits.BATCH_ENTRIES, 1)
        visibility = _ranged(
            fields, "VisibilityTimeout", 0, limits.VISIBILITY, queue.settings.visibility
        )
        wait = _ranged(fields, "WaitTimeSeconds", 0, limits.WAIT, queue.settings.wait)
        attempt = fields.text("ReceiveRequestAttemptId")
        if attempt:
            limits.check_token(attempt, "ReceiveRequestAttemptId")
            if not queue.settings.fifo:
                raise errors.wrong_queue_type(attempt, "ReceiveRequestAttemptId")

        def receive() -> list[Message]:
            return queue.receive(count, visibility, attempt)

        messages = receive()
        if messages or not wait:
            return rendering.reply(queue, messages)
        future = self._polls.wait(queue, receive, wait)
        return Waiting(future, lambda: rendering.reply(queue, future.result()))

    # --- settling

    def _delete(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        queue.delete(fields.required_text("ReceiptHandle"))
        self._polls.serve(queue)
        return {}

    def _delete_batch(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        entries = self._entries("DeleteMessageBatch", fields)

        def delete(entry: Fields) -> Reply:
            try:
                queue.delete(entry.required_text("ReceiptHandle"))
            except errors.ReceiptExpiredError as error:
                raise error.in_batch() from None
            return {}

        return self._batch("DeleteMessageBatch", queue, entries, delete)

    def _change_visibility(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        _change(queue, fields)
        self._polls.serve(queue)
        return {}

    def _change_visibility_batch(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        entries = self._entries("ChangeMessageVisibilityBatch", fields)

        def change(entry: Fields) -> Reply:
            _change(queue, entry)
            return {}

        return self._batch("ChangeMessageVisibilityBatch", queue, entries, change)

    def _entries(self, call: str, fields: Fields) -> dict[str, Fields]:
        entries = [(entry.text("Id"), entry) for entry in fields.objects("Entries")]
        limits.check_entry_ids(call, [entry_id for entry_id, _ in entries])
        return dict(entries)

    def _batch(
        self, call: str, queue: Queue, entries: dict[str, Fields], work: Callable[[Fields], Reply]
    ) -> Reply:
        succeeded, failed = [], []
        for entry_id, entry in entries.items():
            if fault := self._faults.entry(call, queue.name, entry_id):
                failed.append(_failed(entry_id, fault.code, fault.message, fault.sender_fault))
                continue
            try:
                succeeded.append({"Id": entry_id, **work(entry)})
            except errors.SqsError as error:
                failed.append(_failed(entry_id, error.code, error.message, error.sender_fault))
        self._polls.serve(queue)
        reply: Reply = {"Successful": succeeded}
        if failed:
            reply["Failed"] = failed
        return reply

    # --- queues

    def _queue(self, fields: Fields) -> Queue:
        return self._account.at(fields.required_text("QueueUrl"))

    def _get_attributes(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        attributes = queue_attributes(queue, fields.texts("AttributeNames"))
        return {"Attributes": attributes} if attributes else {}

    def _set_attributes(self, fields: Fields) -> Reply:
        queue = self._queue(fields)
        self._account.configure(queue, fields.text_map("Attributes"))
        self._polls.serve(queue)
        return {}

    def _get_url(self, fields: Fields) -> Reply:
        return {"QueueUrl": self.url(self._account.named(fields.required_text("QueueName")).name)}

    def _create(self, fields: Fields) -> Reply:
        name = fields.required_text("QueueName")
        queue = self._account.create(name, fields.text_map("Attributes"))
        return {"QueueUrl": self.url(queue.name)}

    def _purge(self, fields: Fields) -> Reply:
        self._queue(fields).purge()
        return {}


def _sent(queue: Queue, draft: Draft, sent: Sent) -> Reply:
    reply: Reply = {"MessageId": sent.message_id, "MD5OfMessageBody": body_md5(draft.body)}
    if draft.attributes:
        reply["MD5OfMessageAttributes"] = attributes_md5(draft.attributes)
    if draft.trace_header:
        reply["MD5OfMessageSystemAttributes"] = attributes_md5(
            {"AWSTraceHeader": {"DataType": "String", "StringValue": draft.trace_header}}
        )
    if queue.settings.fifo:
        reply["SequenceNumber"] = str(sent.sequence)
    return reply


def _check_batch(queue: Queue, entries: list[Fields]) -> None:
    """What refuses the whole batch, although it is wrong with single entries."""
    size = sum(
        limits.message_size(entry.text("MessageBody"), entry.attributes("MessageAttributes"))
        for entry in entries
    )
    if size > limits.BATCH_BYTES:
        raise errors.batch_too_long(limits.BATCH_BYTES, size)
    if queue.settings.fifo:
        for entry in entries:
            if not entry.text("MessageGroupId"):
                raise errors.invalid_value("The request must contain the parameter MessageGroupId.")
            check_deduplication(entry.text("MessageDeduplicationId"), queue.settings)


def _change(queue: Queue, fields: Fields) -> None:
    handle = fields.required_text("ReceiptHandle")
    seconds = fields.number("VisibilityTimeout")
    if seconds is None:
        raise errors.missing_parameter("VisibilityTimeout")
    limits.check_range(seconds, "VisibilityTimeout", 0, limits.VISIBILITY)
    queue.change_visibility(handle, seconds)


def _ranged(fields: Fields, name: str, low: int, high: int, default: int) -> int:
    value = fields.number(name)
    if value is None:
        return default
    limits.check_range(value, name, low, high)
    return value


def _failed(entry_id: str, code: str, message: str, sender_fault: bool) -> Reply:
    return {"Id": entry_id, "SenderFault": sender_fault, "Code": code, "Message": message}


def queue_path(queue: str) -> str:
    return f"/{ACCOUNT_ID}/{queue}"
