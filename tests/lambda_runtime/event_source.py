"""An event source mapping between an SQS queue and a function, with Lambda's own verdicts.

The rules are "Success and failure conditions" of
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html with
ReportBatchItemFailures on. What a batch is made of follows
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

    from tests.lambda_runtime.emulator import LambdaEmulator

    Invoke: TypeAlias = Callable[[dict[str, Any]], bytes]

_MOST_PER_RECEIVE: Final = 10


class FunctionError(Exception):
    """The invocation failed: an exception, a timeout, a runtime that ended."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Lambda does with a batch after the function answered; ids in the batch's order."""

    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    why: str


def judge(answer: bytes, ids: Sequence[str]) -> Verdict:
    """Decide over a batch from the function's answer as it went over the wire."""

    def all_kept(why: str) -> Verdict:
        return Verdict((), tuple(ids), why)

    try:
        response = json.loads(answer) if answer else None
    except ValueError:
        return all_kept("the answer is not JSON")
    if not isinstance(response, dict | None):
        return all_kept("the answer is no object")
    failures = (response or {}).get("batchItemFailures")
    if not failures and isinstance(failures, list | None):
        return Verdict(tuple(ids), (), "complete success")
    if not isinstance(failures, list):
        return all_kept("batchItemFailures is no list")
    failed = [item.get("itemIdentifier") if isinstance(item, dict) else None for item in failures]
    if not all(isinstance(identity, str) and identity for identity in failed):
        return all_kept("an itemIdentifier is missing, null or empty")
    if not set(failed) <= set(ids):
        return all_kept("an itemIdentifier is of no message of the batch")
    good = tuple(identity for identity in ids if identity not in failed)
    return Verdict(good, tuple(identity for identity in ids if identity in failed), "partial")


class EventSource:
    """Takes batches from a queue to a function, and deletes what the function has done.

    Args:
        sqs: a client of any SQS endpoint.
        queue_url: the queue; FIFO if its name ends in `.fifo`.
        invoke: the function: from an event to the bytes of its answer.
        batch_size: 10 at most, the largest of one receive.
    """

    def __init__(
        self, sqs: SQSClient, queue_url: str, invoke: Invoke, *, batch_size: int = _MOST_PER_RECEIVE
    ) -> None:
        self._sqs = sqs
        self._url = queue_url
        self._invoke = invoke
        self._batch_size = batch_size
        self._arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        self._in_flight: dict[str, str] = {}

    def poll(self) -> Verdict | None:
        """Take one batch through the function; None if no message is to be had now."""
        messages = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=self._batch_size,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return None
        ids = [message["MessageId"] for message in messages]
        receipts = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        self._in_flight |= receipts
        event = {"Records": [lambda_record(message, self._arn) for message in messages]}
        try:
            verdict = judge(self._invoke(event), ids)
        except FunctionError as error:
            verdict = Verdict((), tuple(ids), f"function error: {error}")
        self._delete(verdict.deleted)
        return verdict

    def drain(self) -> list[Verdict]:
        """Poll until no message is to be had now."""
        verdicts = []
        while (verdict := self.poll()) is not None:
            verdicts.append(verdict)
        return verdicts

    def pass_time(self) -> None:
        """Let the visibility timeout of everything that was kept end now."""
        for identity in list(self._in_flight):
            self._sqs.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=self._in_flight.pop(identity),
                VisibilityTimeout=0,
            )

    def _delete(self, ids: Sequence[str]) -> None:
        entries = [
            {"Id": str(n), "ReceiptHandle": self._in_flight.pop(i)} for n, i in enumerate(ids)
        ]
        if not entries:
            return
        response = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]  # plain dicts
        assert not response.get("Failed"), response


def in_process(handler: Callable[[Any, Any], Any], context: Callable[[], Any]) -> Invoke:
    """Invoke a handler of this process, with its answer as JSON like every answer."""

    def invoke(event: dict[str, Any]) -> bytes:
        try:
            return json.dumps(handler(event, context())).encode()
        except Exception as error:  # whatever a handler raises is a function error to Lambda
            raise FunctionError(type(error).__name__) from error

    return invoke


def emulated(function: LambdaEmulator, *, logs: Callable[[str], Any] | None = None) -> Invoke:
    """Invoke a function under the emulator, and give what it logged to `logs`."""

    def invoke(event: dict[str, Any]) -> bytes:
        reply = function.invoke(event)
        if logs is not None:
            logs(reply.logs)
        if reply.failed:
            raise FunctionError(reply.raw.decode(errors="replace"))
        return reply.raw

    return invoke


def lambda_record(message: MessageTypeDef, queue_arn: str) -> dict[str, Any]:
    """Write a received message down as Lambda does."""
    record: dict[str, Any] = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message["Attributes"]),
        "messageAttributes": _lambda_attributes(message.get("MessageAttributes", {})),
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _lambda_attributes(
    attributes: Mapping[str, MessageAttributeValueOutputTypeDef],
) -> dict[str, dict[str, Any]]:
    return {
        name: {
            **(
                {"binaryValue": b64encode(value["BinaryValue"]).decode()}
                if "BinaryValue" in value
                else {"stringValue": value["StringValue"]}
            ),
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": value["DataType"],
        }
        for name, value in attributes.items()
    }
