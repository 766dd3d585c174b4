"""Locks kept alive from a thread of their own, and what becomes of lost ones."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from queue_runtime import Message, TransportError, queue_handler
from tests.hosts.poller.rig import PATIENCE_SECONDS, ScriptedQueue, messages, polled, until_true

if TYPE_CHECKING:
    from queue_runtime.hosts.poller import Poller

LOCK = 0.3


def wait_for(condition: object) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_running_and_waiting_messages_are_renewed() -> None:
    gate = asyncio.Event()

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        await gate.wait()

    queue = ScriptedQueue(*messages(5), lock=LOCK)

    async def meanwhile(_poller: Poller) -> None:
        await until_true(lambda: {name for name, _ in queue.renewed} == {f"m{n}" for n in range(5)})
        await until_true(lambda: len(queue.renewed) >= 15)
        gate.set()

    stats = polled(wait, queue, meanwhile=meanwhile, concurrency=1)
    assert (stats.completed, stats.lost) == (5, 0)


def test_a_handler_that_blocks_the_loop_loses_no_lock() -> None:
    queue = ScriptedQueue(*messages(3), lock=LOCK)

    @queue_handler
    async def hog(message: Message[bytes]) -> None:
        # The whole event loop stands still, for longer than a lock lives.
        before = len(queue.renewed)
        wait_for(lambda: len(queue.renewed) >= before + 6)

    stats = polled(hog, queue)
    assert (stats.completed, stats.lost) == (3, 0)
    assert {thread for _, thread in queue.renewed} == {"queue-runtime-lock-renewal"}


def test_renewals_that_fail_are_tried_again_and_stop_nothing() -> None:
    gate = asyncio.Event()

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        await gate.wait()

    queue = ScriptedQueue(*messages(1), lock=6 * LOCK)
    queue.renew_errors.extend([TransportError("throttled"), TransportError("throttled")])

    async def meanwhile(_poller: Poller) -> None:
        await until_true(lambda: len(queue.renewed) >= 2)
        gate.set()

    assert polled(wait, queue, meanwhile=meanwhile).completed == 1


def test_a_lost_lock_cancels_an_async_handler() -> None:
    cancelled: list[str] = []

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message.id)
            queue.held.clear()
            raise

    queue = ScriptedQueue(*messages(1), lock=LOCK)
    queue.lost.add("m0")
    stats = polled(wait, queue)
    assert cancelled == ["m0"]
    assert (stats.lost, queue.settled) == (1, [])


def test_a_lost_lock_throws_a_sync_handlers_result_away() -> None:
    @queue_handler
    def busy(message: Message[bytes]) -> None:
        assert any(name == message.id for name, _ in queue.renewed) or lost.wait(30)
        wait_for(lambda: queue.renewed)
        time.sleep(LOCK / 2)  # the keeper has told the loop by now
        queue.held.clear()

    lost = threading.Event()
    queue = ScriptedQueue(*messages(1), lock=LOCK)
    queue.lost.add("m0")
    lost.set()
    stats = polled(busy, queue)
    assert (stats.lost, queue.settled) == (1, [])


def test_a_keeper_that_cannot_reach_the_queue_at_all_reports_the_lock_lost() -> None:
    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            queue.held.clear()

    queue = ScriptedQueue(*messages(1), lock=LOCK)
    queue.renew_errors.extend(TransportError("no network") for _ in range(1000))
    assert polled(wait, queue).lost == 1
