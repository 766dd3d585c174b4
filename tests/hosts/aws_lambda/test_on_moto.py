"""The Lambda host over the real SDK and an SQS with AWS's answers, failed entries included."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from queue_runtime import DeadLetter, Retry, queue_handler
from queue_runtime.clouds.aws import sqs_client
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.testing import lambda_context, sqs_record

REGION = "us-east-1"


class Account:
    """Queues of one moto account, and records made of what was really received from them."""

    def __init__(self) -> None:
        self.sqs: Any = boto3.client("sqs", region_name=REGION)
        self.urls: dict[str, str] = {}

    def queue(self, name: str) -> str:
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        attributes = {"VisibilityTimeout": "600", **fifo}
        self.urls[name] = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return self.urls[name]

    def receive(self, name: str) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.urls[name],
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def records(self, name: str) -> list[dict[str, Any]]:
        return [
            {
                **sqs_record(message["Body"], id=message["MessageId"], queue=name),
                "receiptHandle": message["ReceiptHandle"],
                "attributes": message["Attributes"],
            }
            for message in self.receive(name)
        ]

    def hidden(self, name: str) -> int:
        answer = self.sqs.get_queue_attributes(
            QueueUrl=self.urls[name], AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield Account()


@queue_handler(dead_letter="orders-dlq")
def handler(body: str) -> None:
    if body.startswith("now"):
        raise Retry("at once", after=0)
    if body.startswith("later"):
        raise Retry("busy", after=300)
    if body.startswith("dead"):
        raise DeadLetter("bad")


def _host(dead_letter: str | None = None) -> LambdaHost:
    author = dict(handler.definition.settings)
    if dead_letter:
        author["dead_letter"] = dead_letter
    return LambdaHost(handler, settings=load_settings(author, environ={}), clients=sqs_client)


def _failed(host: LambdaHost, records: list[dict[str, Any]]) -> list[str]:
    reply = host({"Records": records}, lambda_context())
    return [item["itemIdentifier"] for item in reply["batchItemFailures"]]


def test_delays_and_dead_letters_are_what_sqs_then_does(account: Account) -> None:
    account.queue("orders")
    account.queue("orders-dlq")
    for body in ("done", "now", "later", "dead"):
        account.sqs.send_message(
            QueueUrl=account.urls["orders"],
            MessageBody=body,
            MessageAttributes={"raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}},
        )
    received = account.records("orders")
    for record in received:
        record["messageAttributes"] = {"raw": {"dataType": "Binary", "binaryValue": "AP8="}}
    ids = {record["body"]: record["messageId"] for record in received}
    assert sorted(_failed(_host(), received)) == sorted([ids["now"], ids["later"]])
    assert [message["Body"] for message in account.receive("orders")] == ["now"]
    assert account.hidden("orders") == 4
    (entry,) = account.receive("orders-dlq")
    assert entry["MessageAttributes"]["raw"]["BinaryValue"] == b"\x00\xff"
    facts = json.loads(entry["MessageAttributes"]["queue_runtime"]["StringValue"])
    assert (entry["Body"], facts["id"], facts["reason"]) == ("dead", ids["dead"], "bad")


def test_an_entry_that_sqs_refuses_is_named_and_the_others_are_done(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.queue("orders")
    for _ in range(3):
        account.sqs.send_message(QueueUrl=account.urls["orders"], MessageBody="now")
    received = account.records("orders")
    received[1]["receiptHandle"] = "not a receipt"
    assert len(_failed(_host(), received)) == 3
    said = "its delay was not set: ReceiptHandleIsInvalid: "
    warned = [line for line in caplog.records if said in line.getMessage()]
    assert [line.message_id for line in warned] == [received[1]["messageId"]]  # type: ignore[attr-defined]
    assert len(account.receive("orders")) == 2


def test_a_dead_letter_queue_that_is_not_there_makes_retries(account: Account) -> None:
    account.queue("orders")
    account.sqs.send_message(QueueUrl=account.urls["orders"], MessageBody="dead")
    account.sqs.send_message(QueueUrl=account.urls["orders"], MessageBody="done")
    received = account.records("orders")
    assert _failed(_host(), received) == [
        record["messageId"] for record in received if record["body"] == "dead"
    ]


def test_a_source_queue_that_is_gone_leaves_retries_listed(account: Account) -> None:
    assert _failed(_host(), [sqs_record("later", id="m1")]) == ["m1"]


def test_a_fifo_dead_letter_keeps_its_group_and_is_not_lost_after_a_quick_redrive(
    account: Account,
) -> None:
    account.queue("orders.fifo")
    account.queue("dlq.fifo")
    host = _host("dlq.fifo")
    original = sqs_record("dead", id="original", queue="orders.fifo", group_id="g")
    redriven = sqs_record(
        "dead",
        id="redriven",
        queue="orders.fifo",
        group_id="g",
        attributes={"queue_runtime": '{"id":"original"}'},
    )
    assert _failed(host, [original]) == []
    (first,) = account.receive("dlq.fifo")
    account.sqs.delete_message(
        QueueUrl=account.urls["dlq.fifo"], ReceiptHandle=first["ReceiptHandle"]
    )
    assert _failed(host, [redriven]) == []
    (second,) = account.receive("dlq.fifo")
    assert first["Attributes"]["MessageGroupId"] == second["Attributes"]["MessageGroupId"] == "g"
    ids = [first["Attributes"]["MessageDeduplicationId"]]
    ids.append(second["Attributes"]["MessageDeduplicationId"])
    assert ids == ["original", "redriven"]


def test_a_send_that_is_repeated_for_the_same_delivery_is_one_entry(account: Account) -> None:
    account.queue("orders.fifo")
    account.queue("dlq.fifo")
    host = _host("dlq.fifo")
    record = sqs_record("dead", id="m1", queue="orders.fifo", group_id="g")
    for _ in range(2):
        assert _failed(host, [record]) == []
    assert len(account.receive("dlq.fifo")) == 1


def test_sizes_up_to_the_limit_are_taken_by_sqs(account: Account) -> None:
    account.queue("orders")
    account.queue("orders-dlq")
    body = "dead" + "x" * (1024 * 1024 - 4 - 120)
    too_large = "dead" + "x" * (1024 * 1024 - 4 - 20)
    received = [sqs_record(body, id="m1"), sqs_record(too_large, id="m2")]
    assert _failed(_host(), received) == ["m2"]
    (entry,) = account.receive("orders-dlq")
    facts = json.loads(entry["MessageAttributes"]["queue_runtime"]["StringValue"])
    assert (entry["Body"] == body, facts) == (True, {"id": "m1", "reason": "bad"})
