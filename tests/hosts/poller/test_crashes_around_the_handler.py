"""What must not stop a poller, or leave a message with it for ever."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, Message, queue_handler
from queue_runtime.errors import TransportError
from queue_runtime.hosts.poller import Poller, Until, liveness
from queue_runtime.observability.events import events
from tests.hosts.poller.rig import (
    ScriptedQueue,
    in_group,
    messages,
    polled,
    run_of,
    settings_for,
    until_true,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from queue_runtime.outcome import Outcome


class PanicError(BaseException):
    """What extensions that are not written in Python raise; no Exception."""


@queue_handler
async def panics_at_once(message: Message[bytes]) -> None:
    if message.id == "m1":
        raise PanicError


@queue_handler
async def panics_later(message: Message[bytes]) -> None:
    await asyncio.sleep(0)
    if message.id == "m1":
        raise PanicError


@queue_handler
def panics_on_a_thread(message: Message[bytes]) -> None:
    if message.id == "m1":
        raise PanicError


@queue_handler
def panics_with_a_batch(batch: Batch[bytes]) -> None:
    if any(message.id == "m1" for message in batch):
        raise PanicError


@queue_handler
async def panics_with_an_async_batch(batch: Batch[bytes]) -> None:
    if any(message.id == "m1" for message in batch):
        raise PanicError


@pytest.mark.parametrize(
    "handler",
    [
        panics_at_once,
        panics_later,
        panics_on_a_thread,
        panics_with_a_batch,
        panics_with_an_async_batch,
    ],
    ids=lambda handler: handler.definition.name.rpartition(".")[2],
)
def test_a_handler_that_panics_gives_its_messages_back_and_the_next_ones_run(handler: Any) -> None:
    queue = ScriptedQueue(*messages(3))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.settled) == 3)
        queue.waiting.extend(messages(1, delivery_count=2))
        await until_true(lambda: len(queue.settled) == 4)
        poller.stop()

    stats = polled(handler, queue, Until.STOPPED, meanwhile=meanwhile)
    assert queue.fates()["m1"] == "retry"
    assert (stats.completed >= 1, stats.held) == (True, 0)


async def at_most_a_moment(
    given: Sequence[Message[Any]],
    call_next: Callable[[Sequence[Message[Any]]], Awaitable[Sequence[Outcome]]],
) -> Sequence[Outcome]:
    return await asyncio.wait_for(call_next(given), 0.05)


def test_a_middleware_that_gives_up_leaves_its_group_free() -> None:
    ran: list[str] = []
    release = asyncio.Event()

    @queue_handler(delivery_middleware=[at_most_a_moment])
    async def handler(message: Message[bytes]) -> None:
        ran.append(message.id)
        if message.id == "slow":
            await release.wait()

    queue = ScriptedQueue(*in_group("g", "slow", "second"), ordered=True)

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.settled) == 2)
        release.set()
        queue.stopped_groups.clear()
        queue.waiting.extend(in_group("g", "again"))
        await until_true(lambda: "again" in ran)
        poller.stop()

    polled(handler, queue, Until.STOPPED, meanwhile=meanwhile)
    assert ran == ["slow", "again"]


def test_what_a_middleware_gave_back_is_not_run_after_all() -> None:
    ran: list[str] = []
    release = asyncio.Event()

    @queue_handler(delivery_middleware=[at_most_a_moment])
    async def handler(message: Message[bytes]) -> None:
        ran.append(message.id)
        await release.wait()

    queue = ScriptedQueue(*messages(3))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.settled) == 3)
        release.set()
        queue.waiting.extend(messages(4)[3:])
        await until_true(lambda: "m3" in ran)
        poller.stop()

    polled(handler, queue, Until.STOPPED, meanwhile=meanwhile, concurrency=1)
    assert ran == ["m0", "m3"]


class Breaks(logging.Handler):
    """Raises, once, on a line that has some words in it."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at, self.broke = at, False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.broke and self.at in record.getMessage():
            self.broke = True
            raise OSError("the log shipper is down")


@pytest.mark.parametrize(
    "at", ["received", "completed", "receiving from", "a lock of", "could not be settled"]
)
def test_a_log_handler_that_raises_costs_a_line_and_nothing_else(
    at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)
    monkeypatch.setattr("queue_runtime.hosts.poller.lock_renewal._LONGEST_PAUSE", 0.01)
    queue = ScriptedQueue(*messages(1), lock=1)
    queue.receive_errors.append(TransportError("x"))
    queue.settle_errors.append(TransportError("x"))
    queue.renew_errors.append(TransportError("x"))

    @queue_handler
    async def handler(message: Message[bytes]) -> None:
        await until_true(lambda: not queue.renew_errors and len(queue.renewed) > 0)

    breaks = Breaks(at)
    logger = logging.getLogger("queue_runtime")
    monkeypatch.setattr(logger, "handlers", [breaks])
    monkeypatch.setattr(logger, "propagate", False)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        assert polled(handler, queue).completed == 1
    finally:
        logger.setLevel(before)
    assert breaks.broke


def test_a_long_trial_of_the_breaker_is_alive() -> None:
    tried = asyncio.Event()

    @queue_handler
    async def handler(message: Message[bytes]) -> None:
        if message.delivery_count == 1:
            raise ValueError
        tried.set()
        await asyncio.Event().wait()

    queue = ScriptedQueue(*messages(4))
    queue.redeliver = True

    async def meanwhile(poller: Poller) -> None:
        await tried.wait()
        await until_true(lambda: poller.stats.held == 1 and not run_of(poller).receiver._under_way)
        run_of(poller).receiver._idle_since -= 60  # as after a minute of it
        assert monotonic() - run_of(poller).receiver.due_by() < 30
        poller.stop()

    settings = {"breaker_failures": 2, "breaker_seconds": 0.05, "drain_seconds": 0}
    polled(handler, queue, Until.STOPPED, meanwhile=meanwhile, concurrency=1, **settings)


def test_a_poller_that_has_ended_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    @queue_handler
    async def handler(message: Message[bytes]) -> None:
        """Acknowledge."""

    async def run() -> Poller:
        poller = Poller(handler, ScriptedQueue(*messages(1)), settings=settings_for(handler))
        await poller.run(Until.EMPTY)
        return poller

    poller = asyncio.run(run())
    monkeypatch.setattr(liveness, "_PATIENCE_SECONDS", -1.0)
    assert poller.liveness.stuck() is None


def test_a_second_cancellation_leaves_nobody_who_renews() -> None:
    @queue_handler
    async def stubborn(message: Message[bytes]) -> None:
        await asyncio.Event().wait()

    async def run() -> Poller:
        queue = ScriptedQueue(*messages(1))
        poller = Poller(stubborn, queue, settings=settings_for(stubborn, drain_seconds=60))
        task = asyncio.create_task(poller.run())
        await until_true(lambda: poller.stats.received == 1)
        task.cancel()
        await until_true(lambda: poller.liveness.state() is liveness.State.STOPPING)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return poller

    poller = asyncio.run(run())
    run_of(poller).lock_renewal._thread.join(10)
    assert not run_of(poller).lock_renewal._thread.is_alive()


@pytest.mark.parametrize(("batch", "in_flight"), [(10, 10), (10, 15), (100, 100)])
def test_a_slow_message_leaves_the_other_handlers_at_work(batch: int, in_flight: int) -> None:
    done: list[str] = []

    @queue_handler
    async def handler(message: Message[bytes]) -> None:
        if message.id == "m0":
            await until_true(lambda: len(done) == 249)
        done.append(message.id)

    queue = ScriptedQueue(*messages(250), batch_size=batch)
    assert polled(handler, queue, in_flight=in_flight).completed == 250


def test_a_poller_that_runs_again_records_each_span_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_watchers", [])

    @queue_handler(tracing="otel")
    async def handler(message: Message[bytes]) -> None:
        """Acknowledge."""

    for _ in range(3):
        polled(handler, ScriptedQueue(*messages(1)))
    assert events._watchers == []
