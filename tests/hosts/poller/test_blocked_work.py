"""Work that is done, or was never begun, is not left behind by something that blocks beside it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from queue_runtime import Batch, DeadLetter, Message, TransportError, queue_handler
from queue_runtime.hosts.poller import Until
from queue_runtime.hosts.poller.held_message import HeldMessage
from queue_runtime.hosts.poller.ready_queue import ReadyQueue
from tests.hosts.poller.rig import ScriptedQueue, in_group, messages, polled, until_true

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from queue_runtime.hosts.poller import Poller
    from queue_runtime.transports.base import SettleFailure, Step


def test_what_a_thread_has_done_is_acknowledged_while_it_blocks_in_the_next_message() -> None:
    release = threading.Event()

    @queue_handler(concurrency=1)
    def handle(message: Message[bytes]) -> None:
        if message.id == "m95":
            release.wait(60)

    queue = ScriptedQueue(*messages(100), batch_size=100)

    async def meanwhile(_poller: Poller) -> None:
        try:
            await until_true(lambda: len(queue.settled) == 95)
        finally:
            release.set()

    assert polled(handle, queue, meanwhile=meanwhile).completed == 100


def test_a_batch_that_waits_for_a_slot_goes_back_at_once() -> None:
    release = threading.Event()
    calls: list[int] = []

    @queue_handler(concurrency=1)
    def load(batch: Batch[bytes]) -> None:
        calls.append(len(batch))
        release.wait(60)

    queue = ScriptedQueue(*messages(20))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 20)
        poller.stop()
        try:
            await until_true(lambda: len(queue.settled) == 10)
        finally:
            release.set()

    stats = polled(load, queue, Until.STOPPED, meanwhile=meanwhile)
    assert calls == [10]
    assert (stats.completed, stats.returned, stats.held) == (10, 10, 0)


def test_a_batch_whose_locks_have_ended_while_it_waited_makes_no_call() -> None:
    gate = asyncio.Event()
    calls: list[list[str]] = []

    @queue_handler(concurrency=1)
    async def load(batch: Batch[bytes]) -> None:
        calls.append([message.id for message in batch])
        await gate.wait()

    first = messages(20)
    queue = ScriptedQueue(*first)

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 20)
        for message in first[10:19]:
            message.locked_until = 0.0
            queue.held.pop(id(message))
        gate.set()

    stats = polled(load, queue, meanwhile=meanwhile)
    assert calls == [[f"m{n}" for n in range(10)], ["m19"]]
    assert (stats.completed, stats.lost) == (11, 9)


def test_a_dead_letter_on_its_way_is_not_cut_off_by_the_end() -> None:
    @queue_handler
    async def refuse(message: Message[bytes]) -> None:
        raise DeadLetter("never")

    class Slow(ScriptedQueue):
        async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
            poller_of[0].stop()
            await asyncio.sleep(0.3)
            return await super().settle(steps)

    queue = Slow(*in_group("a", "a1"), ordered=True)
    poller_of: list[Poller] = []

    async def meanwhile(poller: Poller) -> None:
        poller_of.append(poller)

    stats = polled(refuse, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert queue.fates() == {"a1": "dead-letter"}
    assert (stats.dead_lettered, stats.held) == (1, 0)


def test_what_becomes_stale_between_two_tries_is_not_settled_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.base", 0.01)
    asked: list[list[str]] = []

    class Failing(ScriptedQueue):
        async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
            asked.append([step.message.id for step in steps])
            if len(asked) > 1:
                return await super().settle(steps)
            asyncio.get_running_loop().call_soon(self._end_lock, steps[0].message)
            raise TransportError("cut off")

        def _end_lock(self, message: Message[Any]) -> None:
            self.held.pop(id(message))
            message.locked_until = 0.0

    @queue_handler
    async def take(message: Message[bytes]) -> None: ...

    queue = Failing(*messages(2))
    stats = polled(take, queue)
    assert asked == [["m0", "m1"], ["m1"]]
    assert (stats.completed, stats.lost) == (1, 1)


def test_what_is_given_back_at_the_end_cannot_be_taken_as_well() -> None:
    """Takers on threads go on while the end empties the ready: each held goes to one side."""
    for _ in range(200):
        ready = ReadyQueue(ordered=False)
        arrived = [HeldMessage(message) for message in messages(50)]
        ready.add(arrived)
        taken: list[HeldMessage] = []

        def take_all(ready: ReadyQueue = ready, taken: list[HeldMessage] = taken) -> None:
            while (held := ready.take()) is not None:
                taken.append(held)

        takers = [threading.Thread(target=take_all) for _ in range(2)]
        for taker in takers:
            taker.start()
        left = ready.drain()
        for taker in takers:
            taker.join()
        assert {id(held) for held in [*taken, *left]} == {id(held) for held in arrived}
        assert len(taken) + len(left) == len(arrived)


def test_an_in_flight_limit_below_a_batch_is_kept() -> None:
    most: list[int] = []

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        most.append(len(queue.held))
        await asyncio.sleep(0)

    queue = ScriptedQueue(*messages(30), batch_size=10)
    assert polled(handle, queue, in_flight=3).completed == 30
    assert max(most) == 3


def test_handlers_that_block_let_the_loop_turn_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.runner._TURN_SECONDS", 0.0)
    turns: list[int] = []

    @queue_handler
    async def blocks(message: Message[bytes]) -> None:
        turns.append(turn)
        time.sleep(0.001)  # noqa: ASYNC251 - the fault

    turn = 0

    async def count_turns(poller: Poller) -> None:
        nonlocal turn
        while poller.stats.completed < 10:
            turn += 1
            await asyncio.sleep(0)
        poller.stop()

    polled(blocks, ScriptedQueue(*messages(10)), Until.STOPPED, meanwhile=count_turns)
    assert len(set(turns)) > 3
