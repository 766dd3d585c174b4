"""An open breaker calls no handler: neither with what waits nor with what is still on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from queue_runtime import Message, queue_handler
from queue_runtime.hosts.poller import Until
from queue_runtime.hosts.poller.liveness import State
from tests.hosts.poller.rig import ScriptedQueue, in_group, messages, polled, until_true

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from queue_runtime.hosts.poller import Poller


def test_what_waits_when_it_opens_goes_back_unrun() -> None:
    calls: list[str] = []

    @queue_handler(concurrency=1)
    async def broken(message: Message[bytes]) -> None:
        calls.append(message.id)
        await asyncio.sleep(0)
        raise ConnectionError

    queue = ScriptedQueue(*messages(10))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.settled) == 10)
        poller.stop()

    polled(broken, queue, Until.STOPPED, meanwhile=meanwhile, breaker_failures=3)
    assert calls == ["m0", "m1", "m2"]
    rest = [outcome for name, outcome in queue.settled if name not in calls]
    assert all(outcome.unrun and 0 < (outcome.delay or 0) <= 30 for outcome in rest)


def test_groups_that_wait_when_it_opens_go_back_in_their_order() -> None:
    calls: list[str] = []

    @queue_handler(concurrency=1)
    def broken(message: Message[bytes]) -> None:
        calls.append(message.id)
        raise ConnectionError  # at once, on a thread that takes the next one by itself

    queue = ScriptedQueue(*in_group("a", "a1", "a2"), *in_group("b", "b1", "b2"), ordered=True)

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.settled) == 4)
        poller.stop()

    polled(broken, queue, Until.STOPPED, meanwhile=meanwhile, breaker_failures=1)
    assert calls == ["a1"]
    assert [name for name, _ in queue.settled if name[0] == "b"] == ["b1", "b2"]


class TwoReceives(ScriptedQueue):
    """Has a second receive under way, answered only once the first one's messages have failed."""

    late: asyncio.Event

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        if len(self.limits) in (1, 2) and limit > 1:
            self.limits.append(limit)
            await self.late.wait()
        return await super().receive(limit, wait)


def test_what_arrives_when_it_is_open_goes_back_unrun() -> None:
    calls: list[str] = []

    @queue_handler
    async def broken(message: Message[bytes]) -> None:
        calls.append(message.id)
        await until_true(lambda: len(queue.limits) > 2)  # the next receives have begun
        raise ConnectionError

    queue = TwoReceives(*messages(20))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.settled) == 10)
        queue.late.set()
        await until_true(lambda: len(queue.settled) == 20)
        poller.stop()

    queue.late = asyncio.Event()
    polled(broken, queue, Until.STOPPED, meanwhile=meanwhile, breaker_failures=10)
    assert len(calls) == 10
    assert all(outcome.unrun for name, outcome in queue.settled if name not in calls)


def test_one_message_at_a_time_is_on_trial() -> None:
    running: list[str] = []
    most: list[int] = []
    broken = True

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        running.append(message.id)
        most.append(len(running))
        if not broken:
            await asyncio.sleep(0.02)
        running.remove(message.id)
        if broken:
            raise ConnectionError

    queue = ScriptedQueue(*messages(16))

    async def meanwhile(poller: Poller) -> None:
        nonlocal broken
        await until_true(lambda: len(queue.settled) == 10)
        broken = False
        most.clear()
        await until_true(lambda: len(queue.settled) == 16)
        poller.stop()

    polled(
        handle,
        queue,
        Until.STOPPED,
        meanwhile=meanwhile,
        breaker_failures=10,
        breaker_seconds=0.05,
        breaker_successes=6,
    )
    assert most == [1] * 6


def test_a_whole_receive_that_arrives_on_trial_is_tried_with_one() -> None:
    calls: list[str] = []
    broken = True

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        calls.append(message.id)
        if broken:
            await until_true(lambda: len(queue.limits) > 2)  # the next receives have begun
            raise ConnectionError
        await asyncio.sleep(0)

    queue = TwoReceives(*messages(20))

    async def meanwhile(poller: Poller) -> None:
        nonlocal broken
        await until_true(lambda: len(queue.settled) == 10)
        broken = False
        await until_true(lambda: poller.liveness.state() is not State.BREAKER_OPEN)
        queue.late.set()
        await until_true(lambda: len(queue.settled) == 20)
        poller.stop()

    queue.late = asyncio.Event()
    values = {"breaker_failures": 10, "breaker_seconds": 0.01, "breaker_successes": 5}
    polled(handle, queue, Until.STOPPED, meanwhile=meanwhile, **values)
    assert len(calls) == 11
    assert [name for name, outcome in queue.settled if outcome.unrun] == sorted(
        {f"m{n}" for n in range(10, 20)} - {calls[-1]}
    )
