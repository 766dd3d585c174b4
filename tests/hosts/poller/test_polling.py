"""What the poller receives, and how much of it at a time."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from queue_runtime import (
    AccessDeniedError,
    Message,
    QueueNotFoundError,
    TransportError,
    queue_handler,
)
from queue_runtime.errors import MissingExtraError, QueueRuntimeError
from queue_runtime.hosts.poller import Poller, Until
from tests.hosts.poller.rig import ScriptedQueue, messages, polled, settings_for, until_true

if TYPE_CHECKING:
    from types import FrameType

    from queue_runtime.definition import Handles


@queue_handler
async def take(message: Message[bytes]) -> None:
    """Acknowledge."""


@queue_handler
def take_sync(message: Message[bytes]) -> None:
    """Acknowledge."""


@pytest.mark.parametrize("handler", [take, take_sync])
def test_everything_is_handled_and_acknowledged_once(handler: object) -> None:
    queue = ScriptedQueue(*messages(95))
    stats = polled(handler, queue)  # type: ignore[arg-type]
    assert (stats.received, stats.completed, stats.held) == (95, 95, 0)
    assert sorted(name for name, _ in queue.settled) == sorted(f"m{n}" for n in range(95))


@pytest.mark.parametrize("handler", [take, take_sync])
def test_a_message_is_handed_from_part_to_part_and_never_back_to_the_poller(
    handler: Handles,
) -> None:
    entered: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith(("poller.py", "poller/run.py")):
            entered.append(frame.f_code.co_name)

    def entered_for(count: int) -> list[str]:
        entered.clear()
        polled(handler, ScriptedQueue(*messages(count)), Until.ONCE)
        return sorted(set(entered))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        assert entered_for(9) == entered_for(0)
        assert len(entered) < 30
    finally:
        sys.setprofile(before)


def test_acknowledgements_are_gathered() -> None:
    queue = ScriptedQueue(*messages(100))
    polled(take, queue)
    assert queue.requests <= 20


def test_a_receive_never_asks_for_less_than_a_batch() -> None:
    queue = ScriptedQueue(*messages(45))
    polled(take, queue, in_flight=25)
    assert set(queue.limits) == {10}


def test_receives_grow_while_they_come_back_full_and_fall_back_to_one() -> None:
    queue = ScriptedQueue(*messages(400))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: not queue.waiting and not queue.held)
        await until_true(lambda: queue.receives_under_way <= 1)
        assert queue.most_receives > 1
        poller.stop()

    polled(take, queue, Until.STOPPED, meanwhile=meanwhile)


def test_a_quiet_queue_has_one_receive_under_way() -> None:
    queue = ScriptedQueue(*messages(3))
    polled(take, queue)
    assert queue.most_receives == 1


def test_no_more_is_held_than_allowed() -> None:
    gate = asyncio.Event()
    held = []

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        held.append(len(queue.held))
        await gate.wait()

    queue = ScriptedQueue(*messages(200))

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.held) == 30)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(queue.held) == 30
        gate.set()

    stats = polled(wait, queue, meanwhile=meanwhile, in_flight=30, concurrency=5)
    assert stats.completed == 200
    assert max(held) <= 30


def test_receives_do_not_wait_for_settlements() -> None:
    queue = ScriptedQueue(*messages(60))

    async def meanwhile(poller: Poller) -> None:
        queue.settle_gate = asyncio.Event()
        await until_true(lambda: poller.stats.received == 60)
        assert not queue.settled
        queue.settle_gate.set()

    assert polled(take, queue, meanwhile=meanwhile).completed == 60


def test_never_more_handlers_run_together_than_allowed() -> None:
    running = most = 0

    @queue_handler
    async def count(message: Message[bytes]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    polled(count, ScriptedQueue(*messages(60)), concurrency=4)
    assert most == 4


def test_a_slow_sync_handler_holds_no_other_message_up() -> None:
    release, done = threading.Event(), []

    @queue_handler
    def mixed(message: Message[bytes]) -> None:
        if message.id == "m0":
            assert release.wait(30)
        done.append(message.id)
        if len(done) == 9:
            release.set()

    polled(mixed, ScriptedQueue(*messages(10)), concurrency=3)
    assert done[-1] == "m0"


def test_once_ends_after_one_receive() -> None:
    queue = ScriptedQueue(*messages(25))
    stats = polled(take, queue, Until.ONCE)
    assert (stats.received, len(queue.limits)) == (10, 1)


def test_once_ends_on_an_empty_queue_too() -> None:
    assert polled(take, ScriptedQueue(), Until.ONCE).received == 0


def test_until_empty_waits_for_what_is_to_come_again() -> None:
    tries: list[int] = []

    @queue_handler
    def second_time(message: Message[bytes]) -> None:
        tries.append(message.delivery_count)
        if message.delivery_count == 1:
            raise ValueError

    queue = ScriptedQueue(*messages(1))
    queue.redeliver = True
    stats = polled(second_time, queue)
    assert tries == [1, 2]
    assert (stats.retried, stats.completed) == (1, 1)


@pytest.mark.parametrize(
    "error",
    [QueueNotFoundError("no such queue"), AccessDeniedError("no"), MissingExtraError("SQS", "aws")],
)
def test_a_queue_that_refuses_us_at_start_ends_the_run(error: QueueRuntimeError) -> None:
    queue = ScriptedQueue(*messages(5))
    queue.receive_errors.append(error)
    with pytest.raises(ExceptionGroup) as caught:
        polled(take, queue, Until.STOPPED)
    assert caught.value.exceptions == (error,)
    assert not queue.settled


def test_a_queue_that_refuses_us_later_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)
    queue = ScriptedQueue()

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: len(queue.limits) >= 2)
        queue.receive_errors.extend([QueueNotFoundError("gone"), TransportError("cut off")])
        queue.waiting.extend(messages(3))
        await until_true(lambda: len(queue.settled) == 3)
        poller.stop()

    assert polled(take, queue, Until.STOPPED, meanwhile=meanwhile).completed == 3


def test_an_outage_at_start_is_waited_out_and_its_end_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)
    queue = ScriptedQueue(*messages(2))
    queue.receive_errors.extend(TransportError("cut off") for _ in range(3))
    assert polled(take, queue).completed == 2
    lines = [line for line in caplog.messages if line.startswith("receiving from orders")]
    assert ["cut off" in line for line in lines] == [True, True, True, False]
    assert "works again, after 3 tries" in lines[-1]


def test_whoever_observes_is_told_each_settled_message() -> None:
    seen: list[str] = []

    async def run() -> None:
        queue = ScriptedQueue(*messages(4))
        poller = Poller(
            take,
            queue,
            settings=settings_for(take),
            observe=lambda message, outcome: seen.append(f"{message.id} {outcome.disposition}"),
        )
        await poller.run(Until.EMPTY)

    asyncio.run(run())
    assert sorted(seen) == [f"m{n} ack" for n in range(4)]


def test_context_variables_of_one_message_are_not_seen_by_the_next() -> None:
    from contextvars import ContextVar

    mark: ContextVar[str] = ContextVar("mark", default="clean")
    seen: list[str] = []

    @queue_handler
    def sync(message: Message[bytes]) -> None:
        seen.append(mark.get())
        mark.set("dirty")

    @queue_handler
    async def on_loop(message: Message[bytes]) -> None:
        seen.append(mark.get())
        mark.set("dirty")

    polled(sync, ScriptedQueue(*messages(5)), concurrency=1)
    polled(on_loop, ScriptedQueue(*messages(5)), concurrency=1)
    assert seen == ["clean"] * 10
