"""Errors that nobody foresaw: a transport's own bug, a broken observer, an unanswered depth."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, Message, TransportError, queue_handler
from queue_runtime.hosts.poller import Poller, Until
from tests.hosts.poller.rig import ScriptedQueue, messages, polled, settings_for, until_true

if TYPE_CHECKING:
    from queue_runtime.outcome import Outcome


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.base", 0.001)
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)


@queue_handler
async def take(message: Message[bytes]) -> None: ...


def test_a_receive_that_breaks_by_a_bug_does_not_stop_the_poller_silently() -> None:
    queue = ScriptedQueue(*messages(3))
    queue.receive_errors.extend([KeyError("Messages"), KeyError("Messages")])  # type: ignore[list-item]
    assert polled(take, queue).completed == 3


def test_nor_does_a_settlement() -> None:
    queue = ScriptedQueue(*messages(3))
    queue.settle_errors.append(KeyError("Successful"))  # type: ignore[arg-type]
    assert polled(take, queue).completed == 3


def test_nor_does_a_renewal() -> None:
    gate = asyncio.Event()

    @queue_handler
    async def wait(message: Message[bytes]) -> None:
        await gate.wait()

    queue = ScriptedQueue(*messages(3), lock=0.6)
    queue.renew_errors.append(KeyError("Successful"))  # type: ignore[arg-type]

    async def meanwhile(_poller: Poller) -> None:
        await until_true(lambda: len(queue.renewed) >= 3)
        gate.set()

    assert polled(wait, queue, meanwhile=meanwhile).completed == 3


def test_an_observer_that_raises_costs_no_message(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_message: Message[Any], _outcome: Outcome) -> None:
        raise OSError(28, "No space left on device")

    queue = ScriptedQueue(*messages(25))

    async def run() -> None:
        poller = Poller(take, queue, settings=settings_for(take), observe=broken)
        async with asyncio.timeout(30):
            stats = await poller.run(Until.EMPTY)
        assert (stats.completed, stats.held) == (25, 0)

    asyncio.run(run())
    assert len(caplog.records) == 25
    line = next(each for each in caplog.records if vars(each)["message_id"] == "m7")
    assert vars(line)["queue_name"] == queue.queue
    assert "an observer that raised OSError (at " in line.getMessage()
    assert "<locals>.broken)" in line.getMessage()
    assert "No space" not in caplog.text


def test_a_depth_that_cannot_be_had_is_asked_for_again() -> None:
    class Silent(ScriptedQueue):
        asked = 0

        async def depth(self) -> Any:
            self.asked += 1
            if self.asked < 3:
                raise TransportError("cut off")
            return await super().depth()

    queue = Silent(*messages(3))
    assert polled(take, queue).completed == 3
    assert queue.asked == 3


@pytest.mark.parametrize("batch", [True, False])
def test_an_error_of_our_own_brings_the_message_back(
    batch: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_arguments: object) -> None:
        raise AssertionError("SECRET")

    monkeypatch.setattr("queue_runtime.pipeline.Pipeline._run_batch", broken)
    monkeypatch.setattr(
        "queue_runtime.pipeline.Pipeline._build_run", lambda *_arguments, **_options: broken
    )

    async def many(batch: Batch[bytes]) -> None: ...

    async def one(message: Message[bytes]) -> None: ...

    handler = queue_handler(many) if batch else queue_handler(one)
    assert polled(handler, ScriptedQueue(*messages(3))).returned == 3
    named = [
        identity
        for line in map(vars, caplog.records)
        for identity in line.get("message_ids") or [line["message_id"]]
    ]
    assert sorted(named) == ["m0", "m1", "m2"]
    assert "AssertionError in queue_runtime (at " in caplog.text
    assert "<locals>.broken)" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_batch_that_does_not_finish_is_interrupted_and_returned() -> None:
    @queue_handler
    async def stuck(batch: Batch[bytes]) -> None:
        await asyncio.Event().wait()

    async def meanwhile(poller: Poller) -> None:
        await until_true(lambda: poller.stats.received == 3)
        poller.stop()

    queue = ScriptedQueue(*messages(3))
    stats = polled(stuck, queue, Until.STOPPED, meanwhile=meanwhile, drain_seconds=0.05)
    assert (stats.returned, stats.held) == (3, 0)
