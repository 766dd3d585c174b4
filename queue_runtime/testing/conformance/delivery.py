"""Checks that sent messages arrive, once and unchanged."""

# ruff: noqa: S101, D102  (a suite of assertions, in which a test's name is its documentation)

from __future__ import annotations

import asyncio
import json

from queue_runtime.errors import TransportError
from queue_runtime.settlement.lineage import ATTRIBUTE
from queue_runtime.testing.conformance.rig import (
    DAY_SECONDS,
    PATIENCE_SECONDS,
    Rig,
    ack,
    expect_none,
    needs,
    received_one,
    send,
    steps,
    take,
)
from queue_runtime.transports.base import OutgoingMessage


class DeliveryTests(Rig):
    """Sending and receiving."""

    async def test_message_arrives_as_it_was_sent(self) -> None:
        queue = await self.new()
        attributes = {"text": "naïve \N{SNOWMAN}", "count": -3, "share": 0.25, "raw": b"\x00\xff"}
        await send(
            queue,
            OutgoingMessage(body="söme", attributes=attributes, correlation_id="correlation-1"),
        )
        (message,) = await take(queue, 1)
        assert message.body == "söme".encode()
        assert {name: message.attributes[name] for name in attributes} == attributes
        assert message.correlation_id == "correlation-1"
        assert message.group_id is None
        assert message.delivery_count == 1
        assert message.queue == queue.queue
        assert message.id
        assert message.enqueued_at is None or message.enqueued_at.utcoffset() is not None

    @needs("binary_bodies")
    async def test_body_of_bytes_arrives_as_it_was_sent(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body=bytes(range(256))))
        (message,) = await take(queue, 1)
        assert message.body == bytes(range(256))

    async def test_message_without_attributes_has_none(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="{}"))
        (message,) = await take(queue, 1)
        assert dict(message.attributes) == {}
        assert message.correlation_id is None

    async def test_send_of_more_than_a_request_takes(self) -> None:
        queue = await self.new()
        count = 2 * queue.batch_size + 1
        await send(queue, *(OutgoingMessage(body=str(n)) for n in range(count)))
        messages = await take(queue, count)
        assert sorted(int(message.body) for message in messages) == list(range(count))
        assert len({message.id for message in messages}) == count

    async def test_send_and_settle_of_nothing(self) -> None:
        queue = await self.new()
        assert list(await queue.send([])) == []
        assert not await queue.settle(steps(queue, []))
        assert not await queue.renew([])

    async def test_entry_that_cannot_be_sent_is_told_by_its_position(self) -> None:
        queue = await self.new()
        good = OutgoingMessage(body="good")
        bad = OutgoingMessage(body="unsendable", attributes={"thing": object()})
        results = await queue.send([good, bad, good])
        assert [result.error is None for result in results] == [True, False, True]
        error = results[1].error
        assert isinstance(error, TransportError)
        assert "unsendable" not in str(error)
        assert results[1].broker_id is None
        assert [message.body for message in await take(queue, 2)] == [b"good", b"good"]
        await expect_none(queue)

    async def test_send_gives_the_id_of_each_message_in_their_order(self) -> None:
        queue = await self.new()
        results = await queue.send([OutgoingMessage(body=str(n)) for n in range(3)])
        found = {message.body: message.broker_id for message in await take(queue, 3)}
        assert [result.broker_id for result in results] == [found[b"0"], found[b"1"], found[b"2"]]

    async def test_transport_says_which_system_it_is(self) -> None:
        queue = await self.new()
        assert queue.system == self.system

    async def test_receive_gives_at_most_the_limit(self) -> None:
        queue = await self.new()
        await send(queue, *(OutgoingMessage(body=str(n)) for n in range(5)))
        first = await queue.receive(2, PATIENCE_SECONDS)
        assert 1 <= len(first) <= 2
        assert len(first) + len(await take(queue, 5 - len(first))) == 5

    async def test_receive_of_an_empty_queue_gives_nothing(self) -> None:
        await expect_none(await self.new())

    async def test_waiting_receive_gets_what_is_sent_meanwhile(self) -> None:
        queue = await self.new()
        sender = await self.another(queue)
        waiting = asyncio.create_task(received_one(queue, PATIENCE_SECONDS))
        await asyncio.sleep(0)  # lets the receive begin
        await send(sender, OutgoingMessage(body="late"))
        (message,) = await waiting
        assert message.body == b"late"

    async def test_copy_keeps_identity_and_attempts(self) -> None:
        queue = await self.new()
        carried = json.dumps({"id": "original", "attempts": 2})
        await send(queue, OutgoingMessage(body="{}", attributes={ATTRIBUTE: carried, "mine": 1}))
        (message,) = await take(queue, 1)
        assert message.id == "original"
        assert message.broker_id != "original"
        assert message.delivery_count == 3
        assert dict(message.attributes) == {"mine": 1}

    @needs("delay")
    async def test_delayed_message_comes_when_it_is_due(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="later", delay=60))
        await expect_none(queue)
        await self.move_clock(50)
        await expect_none(queue)
        await self.move_clock(11)
        (message,) = await take(queue, 1)
        assert message.delivery_count == 1

    @needs("delay", "long_delays")
    async def test_message_that_is_days_away_comes_when_it_is_due(self) -> None:
        queue = await self.new()
        await send(queue, OutgoingMessage(body="later", delay=3 * DAY_SECONDS))
        await self.move_clock(3 * DAY_SECONDS - 10)
        await expect_none(queue)
        await self.move_clock(11)
        await take(queue, 1)

    @needs("deduplication")
    async def test_repeated_deduplication_id_sends_nothing(self) -> None:
        queue = await self.new(ordered=self.features.ordered_groups)
        group = "g" if queue.ordered else None
        once = OutgoingMessage(body="once", group_id=group, deduplication_id="d")
        await send(queue, once, once)
        await ack(queue, await take(queue, 1))
        await send(queue, once)
        await expect_none(queue)
        await self.move_clock(301)
        await send(queue, once)
        await take(queue, 1)
