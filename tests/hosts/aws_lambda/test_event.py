"""Bad input: a clear error before anything runs, or one message's own fate; never a loss."""

from typing import Any

import pytest
from pydantic import BaseModel

from queue_runtime import EventError, Message, QueueNotFoundError, queue_handler
from queue_runtime.testing import lambda_context
from tests.lambda_rig import Rig, records

ran: list[Any] = []


class Order(BaseModel):
    id: int


@queue_handler
def take(message: Message[bytes]) -> None:
    ran.append(message.id)


@queue_handler
def take_order(order: Order) -> None:
    ran.append(order.id)


@queue_handler
def take_dict(order: dict[str, Any]) -> None:
    ran.append(order)


@queue_handler
def take_attributes(message: Message[bytes]) -> None:
    ran.append(message.attributes)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def _refused(event: Any) -> str:
    host = Rig(take).host
    with pytest.raises(EventError) as caught:
        host(event, lambda_context())
    assert ran == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (None, "the event is a NoneType, not an SQS event object"),
        ([], "the event is a list, not an SQS event object"),
        ("SECRET", "the event is a str, not an SQS event object"),
        (7, "the event is a int, not an SQS event object"),
    ],
)
def test_an_event_that_is_no_dict(event: Any, sentence: str) -> None:
    assert _refused(event) == sentence


@pytest.mark.parametrize(
    "event",
    [{}, {"records": []}, {"Records": None}, {"Records": {}}, {"Records": "x"}, {"Records": ()}],
)
def test_an_event_without_records(event: Any) -> None:
    assert "no list of Records" in _refused(event)


def test_an_empty_batch_is_answered_and_runs_nothing() -> None:
    assert Rig(take)().failed == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"messageId": None}, "it has no messageId"),
        ({"messageId": ""}, "it has no messageId"),
        ({"receiptHandle": None}, "it has no receiptHandle"),
        ({"eventSourceARN": None}, "it has no eventSourceARN"),
        ({"eventSourceARN": ""}, "it has no eventSourceARN"),
        ({"eventSourceARN": ["x"]}, "it has no eventSourceARN"),
        ({"eventSource": "aws:kinesis"}, "it comes from 'aws:kinesis', not from aws:sqs"),
        ({"eventSource": None}, "it comes from None, not from aws:sqs"),
        ({"body": None}, "it has no body"),
        ({"body": {"id": "SECRET"}}, "it has no body"),
        ({"eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:other"}, "it comes from arn:"),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("position", [1, 2])
def test_a_record_that_could_not_be_reported_fails_the_batch_before_anything_runs(
    position: int, missing: bool, change: dict[str, Any], sentence: str
) -> None:
    batch = records("a", "b", "c")
    (name,) = change
    if missing:
        del batch[position - 1][name]
    else:
        batch[position - 1] |= change
    text = _refused({"Records": batch})
    assert text.startswith("record ")
    assert "of 3: " in text
    assert "SECRET" not in text
    if not missing and "other" not in str(change):
        assert text.startswith(f"record {position} of 3: {sentence}")


@pytest.mark.parametrize("record", [None, "x", 7, []])
def test_a_record_that_is_no_object(record: Any) -> None:
    text = _refused({"Records": [*records("a"), record]})
    assert text == f"record 2 of 2: it is a {type(record).__name__}, not an object"
    assert _refused({"Records": [record]}).startswith("record 1 of 1: it is a ")


def test_a_source_whose_arn_is_no_queue() -> None:
    batch = [{**record, "eventSourceARN": "arn:aws:sns:us-east-1:1:topic"} for record in records(1)]
    with pytest.raises(QueueNotFoundError, match="is not the ARN of an SQS queue"):
        Rig(take).host({"Records": batch}, None)
    assert ran == []


@pytest.mark.parametrize("body", ["", "not json", '{"id": x}', "[]", "null", "{" * 100_000])
@pytest.mark.parametrize("handler", [take_order, take_dict])
def test_one_bad_body_is_dead_lettered_alone(handler: Any, body: str) -> None:
    result = Rig(handler, dead_letter="dlq")(*records('{"id": 1}', body, '{"id": 2}'))
    assert result.fates == ["ack", "dead-letter", "ack"]
    assert result.outcomes[1].reason.startswith("poison: the body ")
    assert result.failed == []
    assert len(ran) == 2
    assert [entry["MessageBody"] for entry in result.sqs.sent] == [body]


def test_an_empty_body_is_a_body_to_whoever_takes_bytes() -> None:
    assert Rig(take)(*records("")).fates == ["ack"]


def test_a_binary_attribute_that_is_no_base64_fails_its_message_alone_and_is_never_lost() -> None:
    batch = records("a", "b", attributes={"raw": b"\x00\xff"})
    batch[0]["messageAttributes"]["raw"]["binaryValue"] = "!"
    result = Rig(take_attributes, dead_letter="dlq")(*batch)
    # Poison, but no copy of it can be made either: it is left to the queue's redrive policy.
    assert result.fates == ["retry", "ack"]
    assert result.failed == ["m1"]
    assert ran == [{"raw": b"\x00\xff"}]


def test_messages_with_one_id_come_back_together_when_one_of_them_fails() -> None:
    @queue_handler
    def second_fails(body: str) -> None:
        if body == "b":
            raise ValueError

    batch = records("a", "b", "c")
    for record in batch[:2]:
        record["messageId"] = "same"
    result = Rig(second_fails)(*batch)
    assert result.fates == ["ack", "retry", "ack"]
    assert result.failed == ["same"]


def test_system_and_message_attributes_may_be_missing_or_null() -> None:
    batch = records("a", "b")
    del batch[0]["attributes"], batch[0]["messageAttributes"]
    batch[1]["attributes"] = batch[1]["messageAttributes"] = None
    result = Rig(take_attributes)(*batch)
    assert result.fates == ["ack", "ack"]
    assert ran == [{}, {}]
