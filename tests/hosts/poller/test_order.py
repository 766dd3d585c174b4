"""Groups side by side, each in order, whatever becomes of their messages."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from queue_runtime import (
    Batch,
    DeadLetter,
    HandlerDefinitionError,
    Message,
    Retry,
    TransportError,
    queue_handler,
)
from queue_runtime.hosts.poller import Poller
from queue_runtime.outcome import Disposition
from tests.hosts.poller.rig import ScriptedQueue, in_group, polled, settings_for

if TYPE_CHECKING:
    from queue_runtime import Handler, Outcome

calls: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def note(message: Message[bytes]) -> None:
    calls.append(message.id)
    if message.id.startswith("retry"):
        raise Retry("busy", after=9)
    if message.id.startswith("dead"):
        raise DeadLetter("never")


@queue_handler
def sync(message: Message[bytes]) -> None:
    note(message)


@queue_handler
async def on_loop(message: Message[bytes]) -> None:
    note(message)
    await asyncio.sleep(0)


BOTH = pytest.mark.parametrize("handler", [sync, on_loop])


@BOTH
def test_a_group_is_run_in_order_and_one_at_a_time(handler: Handler[Message[bytes], None]) -> None:
    names = [f"a{n}" for n in range(30)]
    polled(handler, ScriptedQueue(*in_group("a", *names), ordered=True))
    assert calls == names


@BOTH
def test_after_a_retry_the_rest_of_the_group_goes_back_unrun_with_its_delay(
    handler: Handler[Message[bytes], None],
) -> None:
    queue = ScriptedQueue(
        *in_group("a", "a1", "retry", "a3", "a4"), *in_group("b", "b1", "b2"), ordered=True
    )
    stats = polled(handler, queue)
    outcomes = dict(queue.settled)
    assert sorted(calls) == ["a1", "b1", "b2", "retry"]
    assert all(outcomes[name].unrun and outcomes[name].delay == 9 for name in ("a3", "a4"))
    assert (stats.completed, stats.retried, stats.returned) == (3, 1, 2)


@BOTH
def test_the_retry_is_settled_no_later_than_what_came_after_it(
    handler: Handler[Message[bytes], None],
) -> None:
    queue = ScriptedQueue(*in_group("a", "retry", "a2", "a3"), ordered=True)
    polled(handler, queue)
    assert [name for name, _ in queue.settled] == ["retry", "a2", "a3"]


@BOTH
def test_a_dead_letter_is_settled_before_its_group_goes_on(
    handler: Handler[Message[bytes], None],
) -> None:
    queue = ScriptedQueue(*in_group("a", "dead", "a2"), ordered=True)
    seen: list[list[str]] = []

    def watch(message: Message[bytes], outcome: Outcome) -> None:
        seen.append(list(calls))

    queue.refuse = watch
    polled(handler, queue)
    assert seen[0] == ["dead"]
    assert calls == ["dead", "a2"]
    assert queue.fates() == {"dead": "dead-letter", "a2": "ack"}


@BOTH
def test_a_dead_letter_that_cannot_be_made_stops_its_group(
    handler: Handler[Message[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.base", 0.001)
    queue = ScriptedQueue(*in_group("a", "dead", "a2"), ordered=True)
    queue.refuse = lambda _message, outcome: (
        TransportError("no such queue") if outcome.disposition is Disposition.DEAD_LETTER else None
    )
    polled(handler, queue)
    assert calls == ["dead"]
    assert queue.fates() == {"dead": "retry", "a2": "retry"}
    assert dict(queue.settled)["a2"].unrun


def test_groups_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=30)

    @queue_handler
    def meet(message: Message[bytes]) -> None:
        both.wait()

    queue = ScriptedQueue(*in_group("a", "a1"), *in_group("b", "b1"), ordered=True)
    assert polled(meet, queue, concurrency=2).completed == 2


def test_without_order_groups_mean_nothing() -> None:
    both = threading.Barrier(2, timeout=30)

    @queue_handler
    def meet(message: Message[bytes]) -> None:
        both.wait()

    assert polled(meet, ScriptedQueue(*in_group("a", "a1", "a2")), concurrency=2).completed == 2


def test_a_lost_lock_stops_its_group() -> None:
    queue = ScriptedQueue(*in_group("a", "a1", "a2"), ordered=True)

    @queue_handler
    async def overrun(message: Message[bytes]) -> None:
        calls.append(message.id)
        message.locked_until = 0.0
        queue.held.pop(id(message), None)

    stats = polled(overrun, queue)
    assert calls == ["a1"]
    assert (stats.lost, stats.returned) == (1, 1)


def test_a_batch_handler_is_refused_unless_it_accepts_repeats() -> None:
    @queue_handler
    def load(batch: Batch[bytes]) -> None: ...

    with pytest.raises(HandlerDefinitionError, match="accept_repeats"):
        Poller(load, ScriptedQueue(ordered=True), settings=settings_for(load))


def test_a_batch_that_accepts_repeats_returns_the_later_messages_of_a_failed_group() -> None:
    @queue_handler(batch_order="accept_repeats")
    async def load(batch: Batch[bytes]) -> None:
        for message in batch:
            if message.id in {"a1", "b2"}:
                batch.fail(message, Retry("busy", after=4))

    queue = ScriptedQueue(*in_group("a", "a1", "a2"), *in_group("b", "b1", "b2"), ordered=True)
    polled(load, queue)
    assert queue.fates() == {"a1": "retry", "a2": "retry", "b1": "ack", "b2": "retry"}
