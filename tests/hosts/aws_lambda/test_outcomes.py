"""The Lambda column of the guarantees: ack, retry, dead-letter, poison, last delivery, unrun."""

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from queue_runtime import (
    Backoff,
    Batch,
    DeadLetter,
    Discard,
    Message,
    Retry,
    queue_handler,
)
from queue_runtime.hosts.aws_lambda import host
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import unrun
from queue_runtime.testing import sns_notification, sqs_record
from tests.lambda_rig import Context, Rig, Sqs, records

STEADY = Backoff(4, jitter=False)
FATES: dict[str, Any] = {
    "ok": None,
    "error": ValueError("x"),
    "retry": Retry("busy"),
    "later": Retry("busy", after=30),
    "dead": DeadLetter("negative"),
    "discard": Discard("old"),
}


def _decide(body: str) -> None:
    if FATES[body] is not None:
        raise FATES[body]


@queue_handler(backoff=STEADY)
def sync(body: str) -> None:
    _decide(body)


@queue_handler(backoff=STEADY)
async def in_loop(body: str) -> None:
    await asyncio.sleep(0)
    _decide(body)


@queue_handler(backoff=STEADY)
def batched(batch: Batch[str]) -> None:
    for message in batch:
        if FATES[message.body] is not None:
            batch.fail(message, FATES[message.body])


@queue_handler(backoff=STEADY)
async def batched_in_loop(batch: Batch[str]) -> None:
    await asyncio.sleep(0)
    for message in batch:
        if FATES[message.body] is not None:
            batch.fail(message, FATES[message.body])


EVERY_KIND = pytest.mark.parametrize("handler", [sync, in_loop, batched, batched_in_loop])


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_said", set())


@EVERY_KIND
def test_ack_is_left_out_of_the_reply_and_asks_nothing_of_sqs(handler: Any) -> None:
    result = Rig(handler, dead_letter="dlq")(*records("ok", "discard"))
    assert (result.failed, result.fates) == ([], ["ack", "ack"])
    assert (result.sqs.calls, result.sqs.regions) == ([], [])


@EVERY_KIND
def test_retry_is_listed_with_its_delay_set(handler: Any) -> None:
    result = Rig(handler)(*records("ok", "error", "later", "retry", "ok"))
    assert result.failed == ["m2", "m3", "m4"]
    assert result.sqs.visibility == {"r2": 4, "r3": 30, "r4": 4}
    assert len(result.sqs.calls) == 1
    assert result.sqs.sent == []


@EVERY_KIND
def test_the_backoff_grows_with_the_delivery_count(handler: Any) -> None:
    result = Rig(handler)(*records("error", deliveries=3))
    assert result.sqs.visibility == {"r1": 16}


@EVERY_KIND
def test_dead_letter_goes_to_the_queue_with_its_reason_and_is_then_left_out(handler: Any) -> None:
    result = Rig(handler, dead_letter="dlq")(*records("ok", "dead", "error"))
    assert (result.failed, result.fates) == (["m3"], ["ack", "dead-letter", "retry"])
    (entry,) = result.sqs.sent
    facts = json.loads(entry["MessageAttributes"]["queue_runtime"]["StringValue"])
    assert (entry["MessageBody"], facts["id"], facts["reason"]) == ("dead", "m2", "negative")
    assert facts["handler"] == handler.definition.name
    assert facts["queue"] == "orders"


@EVERY_KIND
def test_a_dead_letter_that_cannot_be_sent_is_a_retry(handler: Any) -> None:
    sqs = Sqs(refuse={"dead": "KMS.AccessDeniedException"})
    result = Rig(handler, dead_letter="dlq", sqs=sqs)(*records("dead", "ok"))
    assert result.failed == ["m1"]
    assert "KMS.AccessDeniedException" in result.outcomes[0].reason


@EVERY_KIND
def test_without_a_dead_letter_queue_it_is_a_retry_said_once(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(handler)
    assert rig(*records("dead")).failed == ["m1"]
    assert rig(*records("dead")).failed == ["m1"]
    said = [line for line in caplog.records if "no dead-letter queue is" in line.getMessage()]
    assert [line.operation for line in said] == ["dead_letter_target", "abandon", "abandon"]  # type: ignore[attr-defined]


@EVERY_KIND
def test_the_last_allowed_delivery_that_fails_is_dead_lettered(handler: Any) -> None:
    rig = Rig(handler, dead_letter="dlq", max_deliveries=3)
    assert rig(*records("error", deliveries=2)).fates == ["retry"]
    result = rig(*records("error", "later", "ok", deliveries=3))
    assert (result.failed, result.fates) == ([], ["dead-letter", "dead-letter", "ack"])
    facts = json.loads(result.sqs.sent[0]["MessageAttributes"]["queue_runtime"]["StringValue"])
    assert facts["reason"] == "failed on delivery 3 of 3: ValueError"
    assert (facts["error_type"], facts["error"], facts["deliveries"]) == ("ValueError", "x", 3)


@EVERY_KIND
def test_every_message_failing_is_a_reply_and_no_exception(handler: Any) -> None:
    result = Rig(handler)(*records(*["error"] * 25))
    assert result.failed == [f"m{at}" for at in range(1, 26)]
    assert [len(entries) for _, _, entries in result.sqs.calls] == [10, 10, 5]


@EVERY_KIND
def test_delays_that_could_not_be_set_are_still_listed(handler: Any) -> None:
    sqs = Sqs(refuse={"r1": "ReceiptHandleIsInvalid"}, forget=["r3"])
    result = Rig(handler, sqs=sqs)(*records("later", "later", "later"))
    assert result.failed == ["m1", "m2", "m3"]


@EVERY_KIND
def test_without_the_aws_sdk_the_queue_itself_does_what_it_can(handler: Any) -> None:
    from queue_runtime import MissingExtraError

    def no_sdk(region: str) -> Any:
        raise MissingExtraError("SQS", "aws")

    rig = Rig(handler, dead_letter="dlq")
    rig.host._make_client = no_sdk
    assert rig(*records("later", "dead", "ok")).failed == ["m1", "m2"]


def test_unrun_is_never_dead_lettered_as_a_last_delivery() -> None:
    async def breaker(messages: Any, call_next: Any) -> Any:
        return [unrun("the breaker is open", delay=5) for _ in messages]

    @queue_handler(delivery_middleware=[breaker])
    def handler(body: str) -> None: ...

    result = Rig(handler, dead_letter="dlq", max_deliveries=1)(*records("a", "b", deliveries=9))
    assert result.failed == ["m1", "m2"]
    assert result.sqs.sent == []
    assert result.sqs.visibility == {"r1": 5, "r2": 5}


class Order(BaseModel):
    id: int


def test_poison_is_dead_lettered_on_its_first_delivery_with_the_validation_error() -> None:
    @queue_handler
    def handler(order: Order) -> None: ...

    result = Rig(handler, dead_letter="dlq")(*records('{"id": "SECRET"}', '{"id": 1}'))
    assert result.fates == ["dead-letter", "ack"]
    facts = json.loads(result.sqs.sent[0]["MessageAttributes"]["queue_runtime"]["StringValue"])
    assert facts["reason"] == "poison: the body does not fit Order: id: int_parsing"
    assert "SECRET" not in json.dumps(facts)


def test_a_message_shows_what_sqs_sent() -> None:
    seen: list[Message[bytes]] = []

    @queue_handler
    def handler(message: Message[bytes]) -> None:
        seen.append(message)

    attributes = {"correlation_id": "c", "raw": b"\x00\xff", "count": 7, "text": "t"}
    record = sqs_record("body", id="m1", deliveries=3, group_id="tenant", attributes=attributes)
    record["attributes"]["SentTimestamp"] = "1700000000000"
    Rig(handler)(record)
    (message,) = seen
    assert (message.id, message.queue, message.body) == ("m1", "orders", b"body")
    assert (message.group_id, message.correlation_id, message.delivery_count) == ("tenant", "c", 3)
    assert message.attributes == attributes
    assert message.enqueued_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_identity_and_attempts_survive_a_copy() -> None:
    seen: list[tuple[str, str, int]] = []

    @queue_handler(dead_letter="dlq")
    def handler(message: Message[bytes]) -> None:
        seen.append((message.id, message.broker_id, message.delivery_count))
        raise ValueError

    first = Rig(handler, max_deliveries=1)(*records("a")).sqs.sent[0]
    redriven = sqs_record("a", id="physical", attributes={"queue_runtime": "later"})
    redriven["messageAttributes"]["queue_runtime"]["stringValue"] = first["MessageAttributes"][
        "queue_runtime"
    ]["StringValue"]
    delayed = sqs_record(
        "a", id="physical", attributes={"queue_runtime": '{"id":"m1","attempts":3}'}
    )
    rig = Rig(handler, max_deliveries=4)
    assert rig(redriven).fates == ["retry"]
    assert rig(delayed).fates == ["dead-letter"]
    assert seen == [("m1", "m1", 1), ("m1", "physical", 1), ("m1", "physical", 4)]


def test_the_reply_names_the_records_own_ids_and_never_the_originals() -> None:
    @queue_handler
    def handler(body: str) -> None:
        raise ValueError

    record = sqs_record("a", id="physical", attributes={"queue_runtime": '{"id":"original"}'})
    assert Rig(handler)(record).failed == ["physical"]


def test_sns_and_eventbridge_envelopes_are_opened() -> None:
    seen: list[Any] = []

    @queue_handler(envelope="sns")
    def from_sns(message: Message[Order]) -> None:
        seen.append((message.body.id, message.attributes))

    @queue_handler(envelope="eventbridge")
    async def from_eventbridge(order: Order) -> None:
        seen.append(order.id)

    event = {"detail-type": "Paid", "source": "shop", "detail": {"id": 2}}
    wrapped = sns_notification({"id": 1}, attributes={"kind": "paid"})
    rig = Rig(from_sns, dead_letter="dlq")
    assert rig(*records(wrapped, '{"id": 9}')).fates == ["ack", "dead-letter"]
    assert Rig(from_eventbridge)(*records(json.dumps(event))).fates == ["ack"]
    assert seen == [(1, {"kind": "paid"}), 2]
    # The dead-letter entry has what was in the queue, so that a redrive works.
    assert [entry["MessageBody"] for entry in rig.sqs.sent] == ['{"id": 9}']


def test_a_dead_letter_out_of_an_envelope_is_sent_in_its_envelope() -> None:
    @queue_handler(envelope="sns", dead_letter="dlq")
    def handler(order: Order) -> None:
        raise DeadLetter("no")

    wrapped = sns_notification({"id": 1})
    assert Rig(handler)(*records(wrapped)).sqs.sent[0]["MessageBody"] == wrapped


def test_each_message_is_counted_once() -> None:
    def counted(name: str) -> float:
        counter = next(i for i in metrics.INSTRUMENTS if i.name == name)
        assert isinstance(counter, metrics.Counter)
        return counter.values().get(("counted",), 0)

    Rig(sync, dead_letter="dlq")(*records("ok", "discard", "error", "dead", queue="counted"))
    assert counted("queue_messages_received_total") == 4
    assert counted("queue_messages_completed_total") == 2
    assert counted("queue_messages_abandoned_total") == 1
    assert counted("queue_messages_dead_lettered_total") == 1
    assert counted("queue_retry_attempts_total") == 1


def test_failures_are_not_silent(caplog: pytest.LogCaptureFixture) -> None:
    Rig(sync, dead_letter="dlq")(*records("error", "dead"))
    assert [(line.levelno, line.message_id) for line in caplog.records] == [  # type: ignore[attr-defined]
        (logging.WARNING, "m1"),
        (logging.ERROR, "m2"),
    ]


def test_a_setting_that_lambda_cannot_use_is_said_at_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Rig(sync, visibility_seconds=5.0)
    assert "visibility_seconds = 5 " in caplog.text
    assert "has no effect on lambda" in caplog.text


def test_one_source_object_serves_all_invocations_of_a_queue() -> None:
    rig = Rig(sync)
    for _ in range(2):
        rig(*records("later"))
    rig(*records("later", queue="other"))
    assert rig.sqs.regions == ["us-east-1", "us-east-1"]
    assert {url.rsplit("/", 1)[1] for _, url, _ in rig.sqs.calls} == {"orders", "other"}


def test_preload_makes_the_client_at_init(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(region: str) -> Sqs:
        made.append(region)
        return Sqs()

    monkeypatch.setattr("queue_runtime.clouds.aws.sqs_client", make)
    settings = Rig(sync).host.settings.replace(preload="init", aws_region="us-east-1")
    host = LambdaHost(sync, settings=settings)
    assert made == ["us-east-1"]
    clock = Rig(sync).clock
    host({"Records": records("later")}, Context(clock, 30))
    assert made == ["us-east-1"]
    elsewhere = "arn:aws:sqs:eu-west-1:123456789012:orders"
    host({"Records": records("later", queue=elsewhere)}, Context(clock, 30))
    assert made == ["us-east-1", "eu-west-1"]


def test_a_client_of_ones_own_needs_no_preload(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(region: str) -> Any:
        raise AssertionError(region)

    monkeypatch.setattr("queue_runtime.clouds.aws.sqs_client", never)
    assert Rig(sync, preload="init")(*records("ok")).fates == ["ack"]


def test_every_invocation_sees_its_callers_context() -> None:
    from contextvars import ContextVar

    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen = []

    @queue_handler
    async def handler(body: str) -> None:
        seen.append(trace.get())
        trace.set("of the handler")

    rig = Rig(handler)
    for name in ("first", "second"):
        token = trace.set(name)
        rig(*records("a"))
        trace.reset(token)
    assert seen == ["first", "second"]
    assert trace.get() == "none"


def test_the_kept_loop_survives_an_invocation_that_broke() -> None:
    class Stop(BaseException):
        pass

    @queue_handler
    async def handler(body: str) -> None:
        if body == "stop":
            raise Stop

    rig = Rig(handler)
    with pytest.raises(Stop):
        rig(*records("stop", "a"))
    assert rig(*records("a")).fates == ["ack"]
    assert host._kept_runner is not None
