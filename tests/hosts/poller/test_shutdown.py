"""Stopping in each phase: nothing is stranded, and it does not take for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from queue_runtime import Message, queue_handler
from queue_runtime.hosts.poller import Until
from tests.hosts.poller.rig import ScriptedQueue, in_group, messages, polled, until_true

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from queue_runtime.hosts.poller import Poller


def test_a_long_poll_is_aborted() -> None:
    class Patient(ScriptedQueue):
        async def receive(self, limit: int, wait: float) -> list[Message[bytes]]:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled_receives += 1
                raise
            return []

    @queue_handler
    async def take(message: Message[bytes]) -> None: ...

    queue = Patient()

    async def meanwhile(poller: Poller) -> None:
        await asyncio.sleep(0)
        poller.stop()

    polled(take, queue, Until.STOPPED, meanwhile=meanwhile)
    assert queue.cancelled_receives == 1


def test_what_waits_goes_back_unrun_and_what_runs_is_finished() -> None:
    gate, started = asyncio.Event(), []

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        started.append(message.id)
        await gate.wait()

    queue = ScriptedQueue(*messages(10))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(started) == 2)
        poller.stop()
        await until_true(lambda: len(queue.settled) == 8)
        gate.set()

    stats = polled(wait, queue, Until.STOPPED, meanwhile=meanwhile, concurrency=2)
    assert (stats.completed, stats.returned, stats.held) == (2, 8, 0)
    assert all(
        outcome.unrun and outcome.delay == 0
        for name, outcome in queue.settled
        if name not in started
    )


def test_nothing_is_given_back_while_a_receive_could_take_it_again() -> None:
    given_back_before: list[int] = []

    class Late(ScriptedQueue):
        """Gives one lot, and another one to a receive that was cancelled meanwhile."""

        async def receive(self, limit: int, wait: float) -> Sequence[Message[bytes]]:
            if len(self.waiting) > 10:
                return await super().receive(limit, wait)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)  # beyond what the settler waits for company
                given_back_before.append(len(self.settled))
            return await super().receive(limit, wait)

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        await asyncio.Event().wait()

    queue = Late(*messages(20))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 10)
        poller.stop()

    settings = {"concurrency": 2, "drain_seconds": 0.05}
    stats = polled(wait, queue, Until.STOPPED, meanwhile=meanwhile, **settings)
    assert (stats.received, stats.returned, stats.held) == (20, 20, 0)
    assert set(given_back_before) == {0}


def test_an_async_handler_that_does_not_finish_is_interrupted_and_returned_at_once() -> None:
    @queue_handler
    async def stuck(message: Message[bytes]) -> None:
        await asyncio.Event().wait()

    queue = ScriptedQueue(*messages(3))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 3)
        poller.stop()

    stats = polled(stuck, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert (stats.returned, stats.held) == (3, 0)
    assert [outcome.delay for _, outcome in queue.settled] == [0.0] * 3


def test_an_async_handler_that_ignores_its_cancellation_is_left_behind() -> None:
    release = asyncio.Event()

    @queue_handler
    async def stubborn(message: Message[bytes]) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    queue = ScriptedQueue(*messages(1))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 1)
        poller.stop()
        await until_true(lambda: bool(queue.settled))
        release.set()

    stats = polled(stubborn, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert stats.returned == 1


def test_a_blocked_sync_handler_cannot_hold_the_end_up(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    blocked: list[str] = []

    @queue_handler
    def stuck(message: Message[bytes]) -> None:
        blocked.append(message.id)
        release.wait(60)

    queue = ScriptedQueue(*messages(5))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(blocked) == 2)
        poller.stop()

    started = time.monotonic()
    stats = polled(
        stuck, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.1, concurrency=2
    )
    release.set()
    assert (stats.returned, stats.held) == (5, 0)
    assert time.monotonic() - started < 30  # far from the handler's minute
    running = [line for line in caplog.messages if "still runs at the end of the drain" in line]
    assert len(running) == 2


def test_a_result_that_comes_after_the_end_is_not_acknowledged() -> None:
    started, release, done = threading.Event(), threading.Event(), threading.Event()

    @queue_handler
    def late(message: Message[bytes]) -> None:
        started.set()
        release.wait(60)
        done.set()

    queue = ScriptedQueue(*messages(1))

    async def meanwhile(poller: Poller) -> None:
        await until_true(started.is_set)
        poller.stop()
        await until_true(lambda: bool(queue.settled))
        release.set()

    polled(late, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert done.wait(30)
    assert queue.fates() == {"m0": "retry"}


def test_groups_that_wait_go_back_too() -> None:
    gate, started = asyncio.Event(), []

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        started.append(message.id)
        await gate.wait()

    queue = ScriptedQueue(*in_group("a", "a1", "a2", "a3"), ordered=True)

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: started == ["a1"])
        poller.stop()
        await until_true(lambda: len(queue.settled) == 2)
        gate.set()

    stats = polled(wait, queue, Until.STOPPED, meanwhile=meanwhile)
    assert (stats.completed, stats.returned) == (1, 2)


def test_a_queue_that_cannot_be_reached_at_the_end_does_not_hold_it_up() -> None:
    @queue_handler
    async def take(message: Message[bytes]) -> None: ...

    queue = ScriptedQueue(*messages(2))

    async def meanwhile(poller: Poller) -> None:
        queue.settle_gate = asyncio.Event()  # no settlement is ever answered
        await until_true(lambda: queue.requests > 0)
        poller.stop()

    stats = polled(take, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert (stats.completed, stats.held) == (0, 2)
