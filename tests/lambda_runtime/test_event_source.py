"""Each verdict of Lambda over a batch, and what the simulated event source does by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.testing import lambda_context
from tests.lambda_runtime.event_source import EventSource, in_process, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lambda_runtime.conftest import MakeQueues, Queues

IDS = ["m-1", "m-2", "m-3"]


def failures(*items: Any) -> bytes:
    return json.dumps({"batchItemFailures": list(items)}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty answer"),
        pytest.param(b"null", id="null answer"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(failures(), id="empty list"),
        pytest.param(b'{"batchItemFailures": null}', id="null list"),
    ],
)
def test_complete_success_deletes_the_batch(answer: bytes) -> None:
    verdict = judge(answer, IDS)
    assert (verdict.deleted, verdict.kept) == (tuple(IDS), ())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"<html>", id="not JSON"),
        pytest.param(b'"ok"', id="no object"),
        pytest.param(b'{"batchItemFailures": {"itemIdentifier": "m-1"}}', id="no list"),
        pytest.param(b'{"batchItemFailures": ""}', id="empty text for a list"),
        pytest.param(failures("m-1"), id="item is no object"),
        pytest.param(failures({"itemIdentifier": ""}), id="empty id"),
        pytest.param(failures({"itemIdentifier": None}), id="null id"),
        pytest.param(failures({"itemIdentifier": 1}), id="id is no text"),
        pytest.param(failures({"messageId": "m-1"}), id="bad key name"),
        pytest.param(failures({"itemIdentifier": "m-9"}), id="unknown id"),
        pytest.param(
            failures({"itemIdentifier": "m-1"}, {"itemIdentifier": "m-9"}), id="one unknown of two"
        ),
    ],
)
def test_complete_failure_keeps_the_batch(answer: bytes) -> None:
    verdict = judge(answer, IDS)
    assert (verdict.deleted, verdict.kept) == ((), tuple(IDS))


def test_partial_failure_keeps_exactly_the_named() -> None:
    verdict = judge(failures({"itemIdentifier": "m-3"}, {"itemIdentifier": "m-1"}), IDS)
    assert (verdict.deleted, verdict.kept) == (("m-2",), ("m-1", "m-3"))


def records_of(event: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = event["Records"]
    return records


def count_of(record: dict[str, Any]) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def source(queues: Queues, handler: Callable[[Any, Any], Any], **options: Any) -> EventSource:
    return EventSource(queues.sqs, queues.url, in_process(handler, lambda_context), **options)


def test_records_are_what_lambda_hands_over(make_queues: MakeQueues) -> None:
    queues = make_queues()
    events: list[dict[str, Any]] = []
    queues.sqs.send_message(
        QueueUrl=queues.url,
        MessageBody='{"id": "o-1"}',
        MessageAttributes={
            "tenant": {"DataType": "String", "StringValue": "north"},
            "signature": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
            "weight": {"DataType": "Number.float", "StringValue": "1.5"},
        },
        MessageSystemAttributes={
            "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be4"}
        },
    )
    source(queues, lambda event, _: events.append(event)).poll()  # an append returns null
    (record,) = events[0]["Records"]
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert record["body"] == '{"id": "o-1"}'
    assert record["messageAttributes"] == {
        "tenant": {"stringValue": "north", **lists, "dataType": "String"},
        "signature": {"binaryValue": "AP8=", **lists, "dataType": "Binary"},
        "weight": {"stringValue": "1.5", **lists, "dataType": "Number.float"},
    }
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["AWSTraceHeader"] == "Root=1-5759e988-bd862e3fe1be4"
    assert record["attributes"].keys() >= {"SentTimestamp", "SenderId"}
    name = queues.url.rsplit("/", 1)[-1]
    assert record["eventSourceARN"] == f"arn:aws:sqs:us-east-1:123456789012:{name}"
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "us-east-1")
    assert record["messageId"]
    assert record["receiptHandle"]
    assert record["md5OfBody"]


def test_what_failed_comes_back_with_a_higher_count_and_the_rest_is_gone(
    make_queues: MakeQueues,
) -> None:
    queues = make_queues()
    seen: list[list[tuple[str, int]]] = []

    def fail_the_second(event: Any, _: Any) -> Any:
        seen.append([(r["body"], count_of(r)) for r in records_of(event)])
        failed = [r["messageId"] for r in records_of(event) if r["body"] == "2"]
        return {"batchItemFailures": [{"itemIdentifier": i} for i in failed]}

    for n in (1, 2, 3):
        queues.sqs.send_message(QueueUrl=queues.url, MessageBody=str(n))
    mapping = source(queues, fail_the_second)
    assert len(mapping.drain()) == 1
    mapping.pass_time()
    mapping.drain()
    assert seen == [[("1", 1), ("2", 1), ("3", 1)], [("2", 2)]]


def test_an_exception_keeps_the_batch_until_the_redrive_policy_takes_it(
    make_queues: MakeQueues,
) -> None:
    queues = make_queues(max_receive_count=2)

    def refuse(event: Any, _: Any) -> Any:
        raise ValueError("refused")

    sent = queues.sqs.send_message(QueueUrl=queues.url, MessageBody="1")["MessageId"]
    mapping = source(queues, refuse)
    for _ in range(2):
        verdict = mapping.poll()
        assert verdict is not None
        assert (verdict.kept, verdict.why) == ((sent,), "function error: ValueError")
        mapping.pass_time()
    assert mapping.poll() is None
    dead = queues.sqs.receive_message(QueueUrl=queues.dead_letter_url)["Messages"]
    assert [message["MessageId"] for message in dead] == [sent]


def test_a_fifo_group_waits_while_one_of_its_messages_is_kept(make_queues: MakeQueues) -> None:
    queues = make_queues(fifo=True)
    seen: list[list[str]] = []

    def fail_a(event: Any, _: Any) -> Any:
        seen.append([record["body"] for record in records_of(event)])
        failed = [r["messageId"] for r in records_of(event) if r["body"].startswith("a")]
        return {"batchItemFailures": [{"itemIdentifier": i} for i in failed]}

    for body in ("a1", "b1", "a2", "b2"):
        queues.sqs.send_message(
            QueueUrl=queues.url,
            MessageBody=body,
            MessageGroupId=body[0],
            MessageDeduplicationId=body,
        )
    mapping = source(queues, fail_a, batch_size=2)
    mapping.drain()
    assert [body for batch in seen for body in batch if body.startswith("b")] == ["b1", "b2"]
    assert "a2" not in [body for batch in seen for body in batch]
    mapping.pass_time()
    mapping.poll()
    assert seen[-1] == ["a1", "a2"]


def test_an_empty_queue_makes_no_call(make_queues: MakeQueues) -> None:
    def never(event: Any, _: Any) -> Any:
        raise AssertionError("called")

    assert source(make_queues(), never).drain() == []
