"""Checks that each step has its effect on its message, and no other effect."""

# ruff: noqa: S101, D102  (a suite of assertions, in which a test's name is its documentation)

from __future__ import annotations

from queue_runtime.outcome import ACK
from queue_runtime.testing.conformance.rig import (
    DAY_SECONDS,
    PATIENCE_SECONDS,
    Rig,
    ack,
    by_body,
    dead_letter,
    expect_none,
    needs,
    retry,
    send,
    steps,
    take,
)
from queue_runtime.transports.base import OutgoingMessage


class OutcomeTests(Rig):
    """Settling."""

    async def test_acknowledged_message_is_gone(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        await ack(queue, await take(queue, 1))
        await self.move_clock(queue.lock_seconds + 1)
        await expect_none(queue)

    async def test_retry_at_once(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (first,) = await take(queue, 1)
        assert not await queue.settle(steps(queue, [(first, retry(0))]))
        (second,) = await take(queue, 1)
        assert second.id == first.id
        assert second.delivery_count == 2

    async def test_retry_without_a_delay_comes_at_the_end_of_the_lock_at_the_latest(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (first,) = await take(queue, 1)
        assert not await queue.settle(steps(queue, [(first, retry(None))]))
        await self.move_clock(queue.lock_seconds + 1)
        (second,) = await take(queue, 1)
        assert second.id == first.id

    @needs("delayed_retry")
    async def test_delayed_retry_comes_when_it_is_due(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (first,) = await take(queue, 1)
        assert not await queue.settle(steps(queue, [(first, retry(40))]))
        await self.move_clock(35)
        await expect_none(queue)
        await self.move_clock(6)
        (second,) = await take(queue, 1)
        assert second.id == first.id
        assert second.delivery_count == 2

    @needs("delayed_retry", "long_delays")
    async def test_retry_that_is_days_away_comes_when_it_is_due(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (first,) = await take(queue, 1)
        assert not await queue.settle(steps(queue, [(first, retry(3 * DAY_SECONDS))]))
        await self.move_clock(3 * DAY_SECONDS - 10)
        await expect_none(queue)
        await self.move_clock(11)
        (second,) = await take(queue, 1)
        assert (second.id, second.delivery_count) == (first.id, 2)

    @needs("dead_letters")
    async def test_dead_letter_is_moved_with_its_reason(self) -> None:
        queue = await self.new()
        aside = await self.dead_letters_of(queue)
        await send(
            queue,
            OutgoingMessage(body="odd", attributes={"mine": 7}, correlation_id="correlation-1"),
        )
        (message,) = await take(queue, 1)
        assert not await queue.settle(steps(queue, [(message, dead_letter("it is odd"))]))
        await self.move_clock(queue.lock_seconds + 1)
        await expect_none(queue)
        (entry,) = await take(aside, 1)
        assert entry.id == message.id
        assert entry.body == b"odd"
        assert entry.attributes["mine"] == 7
        assert entry.correlation_id == "correlation-1"
        assert entry.delivery_count == 1
        assert entry.dead_letter is not None
        assert entry.dead_letter.reason == "it is odd"
        assert entry.dead_letter.error_type == "ValueError"
        assert entry.dead_letter.queue == queue.queue
        await ack(aside, [entry])

    async def test_each_message_of_a_settle_has_its_own_fate(self) -> None:
        queue = await self.new()
        await send(queue, *(OutgoingMessage(body=body) for body in ("done", "again", "done too")))
        got = by_body(await take(queue, 3))
        fates = [(got[b"done"], ACK), (got[b"again"], retry(0)), (got[b"done too"], ACK)]
        assert not await queue.settle(steps(queue, fates))
        (again,) = await take(queue, 1)
        assert again.body == b"again"

    @needs("strict_locks")
    async def test_failure_of_one_does_not_keep_the_others_from_being_settled(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="early"))
        (early,) = await take(queue, 1)
        await self.move_clock(queue.lock_seconds + 1)
        await take(queue, 1)
        await send(queue, OutgoingMessage(body="late"))
        (late,) = await take(queue, 1)
        (failure,) = await queue.settle(steps(queue, [(early, ACK), (late, ACK)]))
        assert failure.message is early
        await self.move_clock(queue.lock_seconds + 1)
        (back,) = await take(queue, 1)
        assert back.body == b"early"
        await expect_none(queue)

    @needs("depth_by_state")
    async def test_depth_counts_each_message_once(self) -> None:
        queue = await self.new()
        later = OutgoingMessage(body="later", delay=60 if self.features.delay else 0)
        await send(queue, OutgoingMessage(body="a"))
        await take(queue, 1)
        await self.move_clock(5)
        await send(queue, OutgoingMessage(body="b"), OutgoingMessage(body="c"), later)
        depth = await queue.depth()
        delayed = int(self.features.delay)
        assert depth[:3] == (3 - delayed, 1, delayed)
        assert depth.total == 4

    @needs("dead_letters", "dead_letter_count")
    async def test_depth_counts_dead_letters(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="odd"), OutgoingMessage(body="good"))
        assert (await queue.depth()).dead_lettered == 0
        odd = by_body(await take(queue, 2))[b"odd"]
        assert not await queue.settle(steps(queue, [(odd, dead_letter("it is odd"))]))
        depth = await queue.depth()
        assert (depth.total, depth.dead_lettered) == (1, 1)

    @needs("oldest_age")
    async def test_depth_tells_the_age_of_the_oldest(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="old"))
        age = (await queue.depth()).oldest_seconds
        assert age is not None
        assert 0 <= age < PATIENCE_SECONDS
