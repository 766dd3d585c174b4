"""A group of an ordered queue goes on only after its first message."""

# ruff: noqa: S101, D102  (a suite of assertions, in which a test's name is its documentation)

from __future__ import annotations

from queue_runtime.testing.conformance.rig import (
    PATIENCE_SECONDS,
    Rig,
    ack,
    dead_letter,
    expect_none,
    in_group,
    needs,
    retry,
    send,
    steps,
    take,
)
from queue_runtime.transports.base import OutgoingMessage


class OrderTests(Rig):
    """Ordered queues."""

    @needs("ordered_groups")
    async def test_group_comes_in_the_order_of_its_sends(self) -> None:
        queue = await self.new(ordered=True)
        assert queue.ordered
        await send(queue, *(OutgoingMessage(body=str(n), group_id=f"g{n % 2}") for n in range(10)))
        seen: dict[str | None, list[int]] = {"g0": [], "g1": []}
        while sum(map(len, seen.values())) < 10:
            messages = await take(queue, 1)
            for message in messages:
                seen[message.group_id].append(int(message.body))
            await ack(queue, messages)
        assert seen == {"g0": [0, 2, 4, 6, 8], "g1": [1, 3, 5, 7, 9]}

    @needs("ordered_groups")
    async def test_locked_message_holds_its_group_and_no_other(self) -> None:
        queue = await self.new(ordered=True)
        rival = await self.another(queue)
        await send(queue, *in_group("a", "a1", "a2"))
        (first,) = await queue.receive(1, PATIENCE_SECONDS)
        await expect_none(rival)
        await send(queue, *in_group("b", "b1"))
        (other,) = await take(rival, 1)
        assert other.body == b"b1"
        await ack(queue, [first])
        (second,) = await take(rival, 1)
        assert second.body == b"a2"

    @needs("ordered_groups")
    async def test_retried_message_comes_before_the_rest_of_its_group(self) -> None:
        queue = await self.new(ordered=True)
        await send(queue, *in_group("a", "a1", "a2", "a3"))
        messages = list(await queue.receive(2, PATIENCE_SECONDS))
        assert messages[0].body == b"a1"
        assert not await queue.settle(steps(queue, [(message, retry(0)) for message in messages]))
        for expected in (b"a1", b"a2", b"a3"):
            (message,) = await queue.receive(1, PATIENCE_SECONDS)
            assert message.body == expected
            await ack(queue, [message])

    @needs("ordered_groups", "delayed_retry")
    async def test_delayed_retry_holds_its_group(self) -> None:
        queue = await self.new(ordered=True)
        await send(queue, *in_group("a", "a1", "a2"))
        (first,) = await queue.receive(1, PATIENCE_SECONDS)
        assert not await queue.settle(steps(queue, [(first, retry(60))]))
        await expect_none(queue)
        await self.move_clock(61)
        (again,) = await queue.receive(1, PATIENCE_SECONDS)
        assert again.body == b"a1"

    @needs("ordered_groups")
    async def test_ended_lock_brings_the_group_back_in_order(self) -> None:
        queue = await self.new(ordered=True)
        await send(queue, *in_group("a", "a1", "a2"))
        await queue.receive(1, PATIENCE_SECONDS)
        await self.move_clock(queue.lock_seconds + 1)
        (again,) = await queue.receive(1, PATIENCE_SECONDS)
        assert (again.body, again.delivery_count) == (b"a1", 2)

    @needs("ordered_groups", "dead_letters")
    async def test_dead_letter_lets_its_group_go_on(self) -> None:
        queue = await self.new(ordered=True)
        aside = await self.dead_letters_of(queue)
        await send(queue, *in_group("a", "a1", "a2"))
        (first,) = await queue.receive(1, PATIENCE_SECONDS)
        assert not await queue.settle(steps(queue, [(first, dead_letter("bad"))]))
        (second,) = await take(queue, 1)
        assert second.body == b"a2"
        (entry,) = await take(aside, 1)
        assert (entry.body, entry.group_id) == (b"a1", "a")

    @needs("ordered_groups")
    async def test_ordered_queue_refuses_a_message_without_a_group(self) -> None:
        queue = await self.new(ordered=True)
        (result,) = await queue.send([OutgoingMessage(body="{}")])
        assert "group" in str(result.error)
