"""Batch handlers, envelopes and middleware in the poller."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import pytest

from queue_runtime import Batch, Message, Retry, queue_handler
from queue_runtime.outcome import ACK
from queue_runtime.testing import sns_notification
from tests.hosts.poller.rig import ScriptedQueue, messages, polled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime import Outcome
    from queue_runtime.middleware import Messages, Process

sizes: list[int] = []


@queue_handler
def load(batch: Batch[bytes]) -> None:
    """Take a batch on a thread."""
    assert threading.current_thread() is not threading.main_thread()
    sizes.append(len(batch))
    batch.fail(batch[0], Retry("busy", after=3))


@queue_handler
async def load_async(batch: Batch[bytes]) -> None:
    """Take a batch on the loop."""
    sizes.append(len(batch))
    batch.fail(batch[0], Retry("busy", after=3))


@pytest.mark.parametrize("handler", [load, load_async])
def test_a_receive_is_a_call(handler: object) -> None:
    sizes.clear()
    queue = ScriptedQueue(*messages(20))
    stats = polled(handler, queue)  # type: ignore[arg-type]
    assert sizes == [10, 10]
    assert (stats.completed, stats.retried) == (18, 2)


def test_a_batch_handler_that_raises_retries_all() -> None:
    @queue_handler
    def broken(batch: Batch[bytes]) -> None:
        raise ValueError

    assert polled(broken, ScriptedQueue(*messages(4))).retried == 4


def test_no_more_batches_run_together_than_allowed() -> None:
    running = most = 0

    @queue_handler
    async def count(batch: Batch[bytes]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    polled(count, ScriptedQueue(*messages(80)), concurrency=2)
    assert most == 2


class Record:
    """A delivery middleware that notes what it sees."""

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking
        self.seen: list[tuple[int, str]] = []

    async def __call__(self, batch: Messages, call_next: Process) -> Sequence[Outcome]:
        self.seen.append((len(batch), threading.current_thread().name))
        kept = [message for message in batch if message.id != "m1"]
        outcomes = iter(await call_next(kept))
        return [ACK if message.id == "m1" else next(outcomes) for message in batch]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_delivery_middleware_sees_a_receive_at_once(blocking: bool, is_async: bool) -> None:
    record, handled = Record(blocking=blocking), []

    @queue_handler(delivery_middleware=[record])
    async def on_loop(message: Message[bytes]) -> None:
        handled.append(message.id)

    @queue_handler(delivery_middleware=[record])
    def sync(message: Message[bytes]) -> None:
        handled.append(message.id)

    queue = ScriptedQueue(*messages(10))
    stats = polled(on_loop if is_async else sync, queue)
    assert [size for size, _ in record.seen] == [10]
    assert stats.completed == 10
    assert "m1" not in handled
    assert len(handled) == 9
    # One that blocks is kept off the event loop.
    assert (record.seen[0][1] == threading.main_thread().name) is not blocking


def test_a_middleware_that_breaks_costs_a_redelivery_only() -> None:
    class Broken:
        blocking = True

        async def __call__(self, batch: Messages, call_next: Process) -> Sequence[Outcome]:
            raise RuntimeError

    @queue_handler(delivery_middleware=[Broken()])
    def take(message: Message[bytes]) -> None: ...

    queue = ScriptedQueue(*messages(3))
    assert polled(take, queue).returned == 3


def test_a_sync_handler_under_an_async_middleware_does_not_block_the_loop() -> None:
    threads: list[str] = []

    class Waits:
        async def __call__(self, batch: Messages, call_next: Process) -> Sequence[Outcome]:
            await asyncio.sleep(0)
            return await call_next(batch)

    @queue_handler(call_middleware=[Waits()])
    def take(message: Message[bytes]) -> None:
        threads.append(threading.current_thread().name)

    assert polled(take, ScriptedQueue(*messages(3))).completed == 3
    assert threading.main_thread().name not in threads


def test_an_envelope_is_opened() -> None:
    bodies: list[str] = []

    @queue_handler(envelope="sns")
    def take(body: str) -> None:
        bodies.append(body)

    notification = sns_notification("hello")
    good: Message[str] = Message.of(notification, id="good")
    bad: Message[str] = Message.of("{}", id="bad")
    queue = ScriptedQueue(good, bad)
    polled(take, queue)
    assert bodies == ["hello"]
    assert queue.fates() == {json.loads(notification)["MessageId"]: "ack", "bad": "dead-letter"}


def test_poison_makes_no_call() -> None:
    calls: list[dict[str, object]] = []

    @queue_handler
    async def take(body: dict[str, int]) -> None:
        calls.append(dict(body))

    queue = ScriptedQueue(Message.of(b"nope", id="bad"), Message.of(b'{"a": 1}', id="good"))
    polled(take, queue)
    assert calls == [{"a": 1}]
    assert queue.fates() == {"good": "ack", "bad": "dead-letter"}
