"""How outcomes are carried out: batched, repeated while that helps, never what was lost."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from queue_runtime import (
    DeadLetter,
    Discard,
    LockLostError,
    Message,
    Retry,
    TransportError,
    queue_handler,
)
from queue_runtime.observability import metrics
from queue_runtime.outcome import Disposition
from tests.hosts.poller.rig import ScriptedQueue, messages, polled, until_true

if TYPE_CHECKING:
    from queue_runtime import Outcome
    from queue_runtime.hosts.poller import Poller


@queue_handler(max_deliveries=3)
async def decide(message: Message[bytes]) -> None:
    """Do what the message's id says."""
    if message.id == "m1":
        raise Retry("busy", after=7)
    if message.id == "m2":
        raise DeadLetter("never")
    if message.id == "m3":
        raise Discard("old")
    if message.id == "m4":
        raise ValueError


@queue_handler
async def take(message: Message[bytes]) -> None:
    """Acknowledge."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.base", 0.001)


def test_each_outcome_is_carried_out() -> None:
    queue = ScriptedQueue(*messages(5))
    stats = polled(decide, queue)
    assert queue.fates() == {
        "m0": "ack", "m1": "retry", "m2": "dead-letter", "m3": "ack", "m4": "retry",
    }  # fmt: skip
    outcomes = dict(queue.settled)
    assert outcomes["m1"].delay == 7
    assert 0 <= (outcomes["m4"].delay or 0) <= 1
    assert stats.as_dict() == {
        "completed": 1, "dead_lettered": 1, "discarded": 1, "held": 0, "lost": 0,
        "received": 5, "retried": 2, "returned": 0,
    }  # fmt: skip


def test_the_last_allowed_delivery_that_fails_is_dead_lettered() -> None:
    queue = ScriptedQueue(*messages(5, delivery_count=3))
    polled(decide, queue)
    assert queue.fates()["m4"] == "dead-letter"


def test_a_settlement_that_fails_is_repeated_while_the_lock_lives() -> None:
    queue = ScriptedQueue(*messages(3))
    queue.settle_errors.extend(TransportError("cut off") for _ in range(4))
    stats = polled(take, queue)
    assert stats.completed == 3
    assert [name for name, _ in queue.settled] == ["m0", "m1", "m2"]


def test_only_the_entries_that_failed_are_repeated() -> None:
    queue = ScriptedQueue(*messages(3))
    failed: list[str] = []

    def once(message: Message[bytes], _outcome: Outcome) -> TransportError | None:
        if message.id == "m1" and not failed:
            failed.append(message.id)
            return TransportError("throttled")
        return None

    queue.refuse = once
    polled(take, queue)
    assert [name for name, _ in queue.settled] == ["m0", "m2", "m1"]


def test_a_dead_letter_that_cannot_be_made_is_a_retry() -> None:
    queue = ScriptedQueue(*messages(3))
    queue.refuse = lambda _message, outcome: (
        TransportError("no such queue") if outcome.disposition is Disposition.DEAD_LETTER else None
    )
    stats = polled(decide, queue)
    assert queue.fates()["m2"] == "retry"
    assert "(not dead-lettered: " in dict(queue.settled)["m2"].reason
    assert (stats.dead_lettered, stats.retried) == (0, 2)


def test_a_lost_lock_is_counted_and_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    before = metrics.LOCKS_LOST.values().get(("orders",), 0)
    queue = ScriptedQueue(*messages(2))

    def gone(message: Message[bytes], _outcome: Outcome) -> TransportError | None:
        queue.held.clear()  # the service has given it to somebody else
        return LockLostError("gone") if message.id == "m0" else None

    queue.refuse = gone
    with caplog.at_level(logging.WARNING, "queue_runtime"):
        stats = polled(take, queue)
    assert (stats.completed, stats.lost) == (1, 1)
    assert metrics.LOCKS_LOST.values()[("orders",)] == before + 1
    (line,) = [r for r in caplog.records if "its lock ended" in r.getMessage()]
    assert line.__dict__["message_id"] == "m0"


def test_what_is_stale_is_never_acknowledged() -> None:
    queue = ScriptedQueue(*messages(2))

    @queue_handler
    async def overrun(message: Message[bytes]) -> None:
        if message.id == "m0":
            message.locked_until = monotonic() - 1
            queue.held.clear()

    stats = polled(overrun, queue)
    assert [name for name, _ in queue.settled] == ["m1"]
    assert stats.lost == 1


def test_a_stale_message_does_not_even_start() -> None:
    started: list[str] = []

    @queue_handler
    async def take_async(message: Message[bytes]) -> None:
        started.append(message.id)

    @queue_handler
    def take_sync(message: Message[bytes]) -> None:
        started.append(message.id)

    class Late(ScriptedQueue):
        def _lock(self) -> Message[bytes]:
            message = super()._lock()
            if message.id == "m0":
                message.locked_until = monotonic() - 1
                del self.held[id(message)]
            return message

    for handler in (take_async, take_sync):
        queue = Late(*messages(2))
        assert polled(handler, queue).lost == 1
        assert [name for name, _ in queue.settled] == ["m1"]
    assert started == ["m1", "m1"]


def test_a_handler_that_ends_its_thread_costs_no_message() -> None:
    @queue_handler
    def odd(message: Message[bytes]) -> None:
        if message.id == "m0":
            raise KeyboardInterrupt
        if message.id == "m1":
            raise SystemExit(1)

    queue = ScriptedQueue(*messages(12))
    stats = polled(odd, queue, concurrency=2)
    assert (stats.completed, stats.retried, stats.returned) == (10, 2, 0)


def test_an_async_handler_that_cancels_itself_has_failed() -> None:
    import asyncio

    @queue_handler
    async def odd(message: Message[bytes]) -> None:
        raise asyncio.CancelledError

    queue = ScriptedQueue(*messages(1))
    assert polled(odd, queue).retried == 1


def test_a_request_that_a_handler_cancels_is_made_again() -> None:
    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        if message.id == "m9":
            await until_true(lambda: queue.requests > 0)
            for task in asyncio.all_tasks():
                if "Settler" in repr(task):
                    task.cancel()

    queue = ScriptedQueue(*messages(10))
    queue.settle_gate = asyncio.Event()

    async def meanwhile(_poller: Poller) -> None:
        assert queue.settle_gate is not None
        await until_true(lambda: queue.requests > 1)
        queue.settle_gate.set()

    stats = polled(handle, queue, meanwhile=meanwhile)
    assert (stats.completed, stats.held) == (10, 0)
