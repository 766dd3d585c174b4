"""Delivery middleware that asks twice, answers for itself, or is still busy at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from queue_runtime import Message, queue_handler
from queue_runtime.hosts.poller import Until
from queue_runtime.outcome import ACK, Disposition
from tests.hosts.poller.rig import ScriptedQueue, messages, polled, until_true

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.hosts.poller import Poller
    from queue_runtime.middleware import Messages, Process
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import SettleFailure, Step


@pytest.mark.parametrize("is_async", [True, False])
def test_one_that_tries_failures_again_itself(is_async: bool) -> None:
    calls: list[str] = []

    async def again(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        outcomes = list(await call_next(messages))
        failed = [n for n, o in enumerate(outcomes) if o.disposition is Disposition.RETRY]
        second = await call_next([messages[n] for n in failed])
        for n, outcome in zip(failed, second, strict=True):
            outcomes[n] = outcome
        return outcomes

    def work(message: Message[bytes]) -> None:
        calls.append(message.id)
        if message.id == "m1" and calls.count("m1") == 1:
            raise ConnectionError

    if is_async:

        @queue_handler(delivery_middleware=[again])
        async def handle(message: Message[bytes]) -> None:
            work(message)

    else:

        @queue_handler(delivery_middleware=[again])
        def handle(message: Message[bytes]) -> None:
            work(message)

    queue = ScriptedQueue(*messages(3))
    assert polled(handle, queue).completed == 3
    assert sorted(calls) == ["m0", "m1", "m1", "m2"]


def test_one_that_passes_a_message_on_twice_at_once() -> None:
    async def twice(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        return (await call_next([*messages, *messages]))[: len(messages)]

    @queue_handler(delivery_middleware=[twice])
    async def handle(message: Message[bytes]) -> None:
        await asyncio.sleep(0)

    queue = ScriptedQueue(*messages(3))
    assert polled(handle, queue).completed == 3


def test_what_comes_out_of_one_after_the_end_starts_nothing() -> None:
    started: list[str] = []
    gate = asyncio.Event()

    async def claims(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        await gate.wait()
        return await call_next(messages)

    @queue_handler(delivery_middleware=[claims])
    async def handle(message: Message[bytes]) -> None:
        started.append(message.id)

    queue = ScriptedQueue(*messages(5))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 5)
        poller.stop()
        await asyncio.sleep(0.01)
        gate.set()

    stats = polled(handle, queue, Until.STOPPED, meanwhile=meanwhile)
    assert started == []
    assert (stats.returned, stats.held) == (5, 0)


def test_one_that_answers_after_its_messages_were_given_back_is_too_late() -> None:
    gate, answered = asyncio.Event(), asyncio.Event()

    async def late(messages: Messages, _call_next: Process) -> Sequence[Outcome]:
        await gate.wait()
        answered.set()
        return [ACK] * len(messages)

    @queue_handler(delivery_middleware=[late])
    async def handle(message: Message[bytes]) -> None: ...

    taken: list[tuple[str, str]] = []

    class Slow(ScriptedQueue):
        """Lets the middleware answer while the messages are being given back."""

        async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
            taken.extend((step.message.id, str(step.outcome.disposition)) for step in steps)
            gate.set()
            await answered.wait()
            await asyncio.sleep(0.01)
            return await super().settle(steps)

    queue = Slow(*messages(2))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 2)
        poller.stop()

    polled(handle, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert taken == [("m0", "retry"), ("m1", "retry")], "two outcomes for one message"


def test_one_whose_task_a_handler_cancels_gives_its_messages_back() -> None:
    async def waits(messages: Messages, call_next: Process) -> Sequence[Outcome]:
        outcomes = await call_next(messages)
        await asyncio.sleep(0)
        return outcomes

    @queue_handler(delivery_middleware=[waits])
    async def handle(message: Message[bytes]) -> None:
        if message.delivery_count == 1:
            for task in asyncio.all_tasks():
                if "DeliveryMiddlewareRun" in repr(task):
                    task.cancel()
            await asyncio.sleep(0)

    queue = ScriptedQueue(*messages(1))
    queue.redeliver = True
    stats = polled(handle, queue)
    assert (stats.returned, stats.completed, stats.held) == (1, 1, 0)
