"""Batch handlers on Lambda: single messages marked, by position, poison taken out first."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from queue_runtime import Batch, DeadLetter, Discard, Retry, queue_handler
from tests.lambda_rig import Rig, records


class Click(BaseModel):
    page: str


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_message_of_many_is_marked(kind: str) -> None:
    def mark(batch: Batch[Click]) -> None:
        for message in batch:
            if message.body.page == "/busy":
                batch.fail(message, Retry("refused", after=60))
            elif message.body.page == "/bad":
                batch.fail(message, DeadLetter("no such page"))
            elif message.body.page == "/old":
                batch.fail(message, Discard)
            elif message.body.page == "/error":
                batch.fail(message, ValueError())

    handler: Any
    if kind == "sync":
        handler = queue_handler(mark)
    else:

        @queue_handler
        async def handler(batch: Batch[Click]) -> None:
            await asyncio.sleep(0)
            mark(batch)

    pages = ["/", "/busy", "/bad", "/old", "/error", "/"]
    result = Rig(handler, dead_letter="dlq")(*records(*({"page": page} for page in pages)))
    assert result.fates == ["ack", "retry", "dead-letter", "ack", "retry", "ack"]
    assert result.failed == ["m2", "m5"]
    assert result.sqs.visibility["r2"] == 60


def test_marking_goes_by_position_where_ids_are_repeated() -> None:
    @queue_handler
    def handler(batch: Batch[str]) -> None:
        batch.fail(batch[1], Retry("x", after=60))

    batch = records("a", "b", "c")
    for record in batch:
        record["messageId"] = "same"
    result = Rig(handler)(*batch)
    assert result.fates == ["ack", "retry", "ack"]
    assert result.failed == ["same"]
    assert result.sqs.visibility == {"r2": 60}


def test_raising_retries_all_that_are_not_marked() -> None:
    @queue_handler
    def handler(batch: Batch[str]) -> None:
        batch.fail(batch[0], DeadLetter("bad"))
        batch.fail(batch[1], Discard("old"))
        raise Retry("warehouse down", after=90)

    result = Rig(handler, dead_letter="dlq")(*records("a", "b", "c", "d"))
    assert result.fates == ["dead-letter", "ack", "retry", "retry"]
    assert result.failed == ["m3", "m4"]
    assert result.sqs.visibility == {"r3": 90, "r4": 90}


def test_poison_is_taken_out_first_and_an_empty_batch_makes_no_call() -> None:
    calls: list[list[str]] = []

    @queue_handler
    def handler(batch: Batch[Click]) -> None:
        calls.append([message.id for message in batch])
        batch.fail(batch[1], Retry("x", after=9))

    rig = Rig(handler, dead_letter="dlq")
    result = rig(*records("poison", {"page": "/"}, "poison", {"page": "/"}))
    assert calls == [["m2", "m4"]]
    assert result.fates == ["dead-letter", "ack", "dead-letter", "retry"]
    assert rig(*records("poison", "poison")).fates == ["dead-letter", "dead-letter"]
    assert len(calls) == 1
    assert rig().failed == []
    assert len(calls) == 1


def test_marking_a_message_of_another_delivery_is_an_error_of_this_one() -> None:
    kept: list[Any] = []

    @queue_handler
    def handler(batch: Batch[str]) -> None:
        kept.append(batch[0])
        batch.fail(kept[0], ValueError())

    rig = Rig(handler)
    assert rig(*records("a", "b")).failed == ["m1"]
    assert rig(*records("a", "b")).failed == ["m1", "m2"]


def test_ten_thousand_messages_are_one_call() -> None:
    calls: list[int] = []

    @queue_handler
    def handler(batch: Batch[bytes]) -> None:
        calls.append(len(batch))
        batch.fail(batch[9_999], ValueError())

    assert Rig(handler)(*records(*["x"] * 10_000)).failed == ["m10000"]
    assert calls == [10_000]
