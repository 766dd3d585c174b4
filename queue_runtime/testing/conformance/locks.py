"""Checks that a received message is held by its receiver alone until the lock ends."""

# ruff: noqa: S101, D102  (a suite of assertions, in which a test's name is its documentation)

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING, Any

from queue_runtime.errors import LockLostError, TransportError
from queue_runtime.outcome import ACK
from queue_runtime.testing.conformance.rig import (
    PATIENCE_SECONDS,
    Rig,
    ack,
    ack_one,
    by_body,
    dead_letter,
    drained,
    expect_none,
    needs,
    received_one,
    retry,
    send,
    steps,
    take,
)
from queue_runtime.transports.base import OutgoingMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from queue_runtime.message import Message


class LockTests(Rig):
    """Locks, and the end of a transport."""

    async def test_received_message_is_locked(self) -> None:
        queue = await self.new()
        rival = await self.another(queue)
        await send(queue, OutgoingMessage(body="{}"))
        await take(queue, 1)
        await expect_none(queue)
        await expect_none(rival)

    async def test_lock_that_ends_brings_the_message_back(self) -> None:
        queue = await self.new()
        rival = await self.another(queue)
        await send(queue, OutgoingMessage(body="again", attributes={"a": 1}))
        (first,) = await take(queue, 1)
        await self.move_clock(queue.lock_seconds + 1)
        (second,) = await take(rival, 1)
        assert second.id == first.id
        assert second.delivery_count == 2
        assert (second.body, dict(second.attributes)) == (b"again", {"a": 1})

    async def test_dropped_transport_loses_nothing(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="a"), OutgoingMessage(body="b"))
        await take(queue, 1)
        successor = await self.another(queue)
        await queue.aclose()
        await self.move_clock(queue.lock_seconds + 1)
        messages = await take(successor, 2)
        assert sorted(message.delivery_count for message in messages) == [1, 2]

    async def test_concurrent_receives_share_nothing(self) -> None:
        queue = await self.new()
        queues = [queue, await self.another(queue), await self.another(queue)]
        await send(queue, *(OutgoingMessage(body=str(n)) for n in range(30)))
        lots = await asyncio.gather(*(drained(each) for each in queues))
        bodies = [int(message.body) for lot in lots for message in lot]
        assert sorted(bodies) == list(range(30))

    async def test_calls_from_two_event_loops_in_two_threads(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="a"), OutgoingMessage(body="b"))
        found: list[Message[Any]] = []

        def elsewhere() -> None:
            asyncio.run(ack_one(queue, found))

        thread = Thread(target=elsewhere)
        thread.start()
        await ack_one(queue, found)
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        assert sorted(message.body for message in found) == [b"a", b"b"]
        await self.move_clock(queue.lock_seconds + 1)
        await expect_none(queue)

    @needs("renewal")
    async def test_renewed_lock_lasts_longer(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (message,) = await take(queue, 1)
        until = message.locked_until
        await self.move_clock(queue.lock_seconds * 0.75)
        assert not await queue.renew([message])
        assert message.locked_until > until
        await self.move_clock(queue.lock_seconds * 0.75)
        await expect_none(queue)
        await ack(queue, [message])
        await self.move_clock(queue.lock_seconds + 1)
        await expect_none(queue)

    @needs("renewal")
    async def test_lost_lock_cannot_be_renewed(self) -> None:
        queue = await self.new()
        rival = await self.another(queue)
        await send(queue, OutgoingMessage(body="kept"), OutgoingMessage(body="lost"))
        lost = by_body(await take(queue, 2))
        await self.move_clock(queue.lock_seconds + 1)
        kept = by_body(await take(rival, 2))
        (failure,) = await queue.renew([lost[b"lost"]])
        assert failure.message is lost[b"lost"]
        assert isinstance(failure.error, LockLostError)
        await ack(rival, list(kept.values()))

    @needs("strict_locks")
    async def test_stale_receipt_never_settles_what_somebody_else_has(self) -> None:
        queue = await self.new()
        rival = await self.another(queue)
        await send(queue, OutgoingMessage(body="{}"))
        (stale,) = await take(queue, 1)
        await self.move_clock(queue.lock_seconds + 1)
        (current,) = await take(rival, 1)
        for outcome in (ACK, retry(0), dead_letter("mine")):
            (failure,) = await queue.settle(steps(queue, [(stale, outcome)]))
            assert failure.message is stale
            assert isinstance(failure.error, LockLostError)
            assert stale.id in str(failure.error)
            await expect_none(queue)
        await ack(rival, [current])

    @needs("strict_locks")
    async def test_ended_lock_cannot_be_settled_and_the_message_comes_back(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (message,) = await take(queue, 1)
        await self.move_clock(queue.lock_seconds + 1)
        (failure,) = await queue.settle(steps(queue, [(message, ACK)]))
        assert isinstance(failure.error, LockLostError)
        await take(queue, 1)

    async def test_cancelled_receive_strands_nothing(self) -> None:
        queue = await self.new()
        for yields in range(20):
            await send(queue, OutgoingMessage(body="{}"))
            receive = asyncio.create_task(received_one(queue, PATIENCE_SECONDS))
            for _ in range(yields):
                await asyncio.sleep(0)
            receive.cancel()
            await asyncio.wait([receive])
            got = list(await take(queue, 1)) if receive.cancelled() else receive.result()
            await ack(queue, got)
        await expect_none(queue)

    async def test_closed_transport_refuses_calls(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (message,) = await take(queue, 1)
        await queue.aclose()
        await queue.aclose()
        calls: tuple[Awaitable[object], ...] = (
            queue.receive(1, 0),
            queue.settle(steps(queue, [(message, ACK)])),
            queue.renew([message]),
            queue.send([OutgoingMessage(body="{}")]),
            queue.depth(),
        )
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, TransportError) for answer in answers] == [True] * len(calls)

    async def test_close_ends_a_waiting_receive(self) -> None:
        queue = await self.new()
        receive = asyncio.create_task(received_one(queue, 600))
        await asyncio.sleep(0)  # lets the receive begin
        await queue.aclose()
        done, _ = await asyncio.wait([receive], timeout=PATIENCE_SECONDS)
        assert done
        error = receive.exception()
        assert isinstance(error, TransportError) if error else receive.result() == []
