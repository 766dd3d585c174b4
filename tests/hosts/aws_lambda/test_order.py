"""FIFO on Lambda: groups in order, a dead-letter before the next, one failure stops one group."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from queue_runtime import (
    Batch,
    DeadLetter,
    HandlerDefinitionError,
    Message,
    Retry,
    queue_handler,
)
from queue_runtime.observability.events import events
from queue_runtime.outcome import unrun
from queue_runtime.testing import sns_notification
from tests.lambda_rig import Rig, Sqs, fifo, records

journal: list[str] = []


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    journal.clear()
    monkeypatch.setattr(events, "_said", set())


def _decide(body: str) -> None:
    journal.append(body)
    if "retry" in body:
        raise Retry("busy", after=30)
    if "dead" in body:
        raise DeadLetter("bad")
    if "error" in body:
        raise ValueError


@queue_handler
def sync(body: str) -> None:
    _decide(body)


@queue_handler
async def in_loop(body: str) -> None:
    await asyncio.sleep(0)
    _decide(body)


@queue_handler(batch_order="accept_repeats")
def batched(batch: Batch[str]) -> None:
    for message in batch:
        try:
            _decide(message.body)
        except Exception as error:
            batch.fail(message, error)


ONE_BY_ONE = pytest.mark.parametrize("handler", [sync, in_loop])
EVERY_KIND = pytest.mark.parametrize("handler", [sync, in_loop, batched])


@ONE_BY_ONE
def test_after_the_first_retry_the_rest_of_the_group_is_returned_unrun_and_others_go_on(
    handler: Any,
) -> None:
    batch = fifo(("a", "a1"), ("b", "b1"), ("a", "a2 retry"), ("b", "b2"), ("a", "a3"), ("a", "a4"))
    result = Rig(handler)(*batch)
    assert result.failed == ["m3", "m5", "m6"]
    assert [body for body in journal if body[0] == "a"] == ["a1", "a2 retry"]
    assert [body for body in journal if body[0] == "b"] == ["b1", "b2"]
    assert [outcome.unrun for outcome in result.outcomes[4:]] == [True, True]


@EVERY_KIND
def test_the_tail_gets_the_delay_of_what_stopped_it_in_the_same_request(handler: Any) -> None:
    result = Rig(handler)(*fifo(("a", "a1 retry"), ("a", "a2"), ("b", "b1"), ("a", "a3")))
    assert result.failed == ["m1", "m2", "m4"]
    assert result.sqs.visibility == {"r1": 30, "r2": 30, "r4": 30}
    assert len(result.sqs.calls) == 1


@EVERY_KIND
def test_a_backoff_delays_the_whole_group_alike(handler: Any) -> None:
    result = Rig(handler)(*fifo(("a", "a1 error"), ("a", "a2"), ("a", "a3")))
    assert len(set(result.sqs.visibility.values())) == 1
    assert set(result.sqs.visibility) == {"r1", "r2", "r3"}


@ONE_BY_ONE
def test_a_dead_letter_is_settled_before_its_group_goes_on(handler: Any) -> None:
    sqs = Sqs(journal=journal)
    result = Rig(handler, dead_letter="dlq.fifo", sqs=sqs)(
        *fifo(("a", "a1 dead"), ("a", "a2"), ("a", "a3 dead"))
    )
    assert result.failed == []
    assert journal == ["a1 dead", "sent a1 dead", "a2", "a3 dead", "sent a3 dead"]
    assert [entry["MessageGroupId"] for entry in sqs.sent] == ["a", "a"]
    assert len({entry["MessageDeduplicationId"] for entry in sqs.sent}) == 2


@EVERY_KIND
def test_a_dead_letter_that_cannot_be_sent_stops_its_group(handler: Any) -> None:
    sqs = Sqs(refuse={"a1 dead": "AccessDenied"})
    result = Rig(handler, dead_letter="dlq.fifo", sqs=sqs)(
        *fifo(("a", "a1 dead"), ("b", "b1"), ("a", "a2"))
    )
    assert result.failed == ["m1", "m3"]
    assert set(result.sqs.visibility) == {"r1", "r3"}
    assert len(set(result.sqs.visibility.values())) == 1
    if handler is not batched:
        assert "a2" not in journal


@EVERY_KIND
def test_without_a_dead_letter_queue_a_dead_letter_stops_its_group(handler: Any) -> None:
    result = Rig(handler)(*fifo(("a", "a1"), ("a", "a2 dead"), ("a", "a3"), ("b", "b1")))
    assert result.failed == ["m2", "m3"]


class Order(BaseModel):
    id: int


@queue_handler
def typed(order: Order) -> None:
    journal.append(str(order.id))


@queue_handler
async def typed_in_loop(order: Order) -> None:
    journal.append(str(order.id))


@queue_handler(envelope="sns")
def wrapped(order: Order) -> None:
    journal.append(str(order.id))


@queue_handler(envelope="sns")
async def wrapped_in_loop(message: Message[Order]) -> None:
    journal.append(str(message.body.id))


@pytest.mark.parametrize("handler", [typed, typed_in_loop, wrapped, wrapped_in_loop])
@pytest.mark.parametrize("sent", [True, False])
def test_poison_takes_its_turn_in_its_group(handler: Any, sent: bool) -> None:
    wrap = sns_notification if handler.definition.envelope else str
    bodies = [("a", wrap('{"id": 1}')), ("a", "poison"), ("a", wrap('{"id": 3}'))]
    sqs = Sqs(refuse={} if sent else {"poison": "AccessDenied"}, journal=journal)
    result = Rig(handler, dead_letter="dlq.fifo", sqs=sqs)(*fifo(*bodies))
    assert journal == ["1", "sent poison", "3"][: 3 if sent else 2]
    assert result.failed == ([] if sent else ["m2", "m3"])


def test_malformed_records_behind_a_failure_fail_nothing_else() -> None:
    @queue_handler
    def handler(order: Order) -> None:
        journal.append(str(order.id))
        raise ValueError

    result = Rig(handler, dead_letter="dlq.fifo")(
        *fifo(("a", '{"id": 1}'), ("a", "poison"), ("b", "poison"), ("b", '{"id": 2}'))
    )
    assert journal == ["1", "2"]
    assert result.failed == ["m1", "m2", "m4"]


@EVERY_KIND
def test_a_group_on_a_standard_queue_means_no_order(handler: Any) -> None:
    batch = records("a1 retry", "a2", "a3 error", "a4", group_id="tenant")
    result = Rig(handler)(*batch)
    assert result.failed == ["m1", "m3"]
    assert sorted(journal) == ["a1 retry", "a2", "a3 error", "a4"]


def test_an_arn_that_ends_in_fifo_is_ordered_even_without_group_ids() -> None:
    batch = fifo(("a", "a1 retry"), ("a", "a2"))
    for record in batch:
        del record["attributes"]["MessageGroupId"]
    assert Rig(sync)(*batch).failed == ["m1", "m2"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_handler_is_refused_on_a_fifo_queue_before_anything_runs(is_async: bool) -> None:
    if is_async:

        @queue_handler
        async def handler(batch: Batch[str]) -> None:
            journal.append("ran")
    else:

        @queue_handler
        def handler(batch: Batch[str]) -> None:
            journal.append("ran")

    rig = Rig(handler)
    with pytest.raises(HandlerDefinitionError, match="accept_repeats"):
        rig(*fifo(("a", "a1")))
    assert journal == []
    assert rig(*records("a1")).failed == []


def test_a_batch_handler_that_accepts_repeats_runs_once_over_all_groups() -> None:
    result = Rig(batched, dead_letter="dlq.fifo")(
        *fifo(("a", "a1"), ("a", "a2 error"), ("b", "b1 dead"), ("a", "a3"), ("b", "b2"))
    )
    assert journal == ["a1", "a2 error", "b1 dead", "a3", "b2"]
    assert result.failed == ["m2", "m4"]
    assert [entry["MessageBody"] for entry in result.sqs.sent] == ["b1 dead"]


def test_what_a_call_middleware_gives_back_stops_its_group_too() -> None:
    async def breaker(messages: Any, call_next: Any) -> Any:
        if messages[0].id == "m1":
            return [unrun("open", delay=9)]
        return await call_next(messages)

    @queue_handler(call_middleware=[breaker])
    def handler(body: str) -> None:
        journal.append(body)

    result = Rig(handler)(*fifo(("a", "a1"), ("a", "a2"), ("b", "b1")))
    assert result.failed == ["m1", "m2"]
    assert result.sqs.visibility == {"r1": 9, "r2": 9}
    assert journal == ["b1"]


def test_each_invocation_starts_with_no_group_stopped() -> None:
    rig = Rig(sync)
    assert rig(*fifo(("a", "a1 retry"))).failed == ["m1"]
    assert rig(*fifo(("a", "a1"))).failed == []
