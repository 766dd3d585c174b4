"""The deadline guard on Lambda: what starts, what is interrupted, what comes back and when."""

import asyncio
import sys
from time import monotonic
from typing import Any
from unittest.mock import MagicMock

import pytest

from queue_runtime import Batch, Retry, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.testing import sqs_event
from tests.lambda_rig import Clock, Context, Rig, fifo, records

# Real seconds that a context has left where a test waits for a deadline of the event loop's.
SHORT = 0.2


class RealClock(Clock):
    def __call__(self) -> float:
        return monotonic()


@pytest.fixture(autouse=True)
def _sdk_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", sys)


def _taking(clock: Clock, *seconds: float, fail: str = "") -> tuple[Any, list[str]]:
    """A sync handler whose calls take these seconds, one after the other."""
    left = iter(seconds)
    journal: list[str] = []

    @queue_handler
    def handler(body: str) -> None:
        journal.append(body)
        clock.advance(next(left))
        if body == fail:
            raise Retry("busy", after=30)

    return handler, journal


def test_a_sync_one_starts_only_if_the_time_left_exceeds_reserve_and_longest_seen() -> None:
    clock = Clock()
    handler, journal = _taking(clock, 3, 1, 1, 1)
    # 10 s, less 2 of reserve: the fourth would start with 3 s left of 8 and may take 3.
    result = Rig(handler, clock=clock, reserve_seconds=2)(*records(*"abcdefg"), seconds=10)
    assert journal == ["a", "b", "c"]
    assert result.failed == ["m4", "m5", "m6", "m7"]
    assert result.sqs.visibility == {"r4": 0, "r5": 0, "r6": 0, "r7": 0}
    assert all(outcome.unrun for outcome in result.outcomes[3:])


def test_the_first_one_always_starts() -> None:
    clock = Clock()
    handler, journal = _taking(clock, 100)
    result = Rig(handler, clock=clock, reserve_seconds=60)(*records("a", "b"), seconds=0.001)
    assert journal == ["a"]
    assert result.failed == ["m2"]


def test_nothing_starts_when_there_is_no_time_at_all() -> None:
    clock = Clock()
    handler, journal = _taking(clock)
    assert Rig(handler, clock=clock)(*records("a"), seconds=0).failed == ["m1"]
    assert Rig(handler, clock=clock)(*records("a"), seconds=-5).failed == ["m1"]
    assert journal == []


def test_the_reserve_takes_a_quarter_of_an_invocation_at_most() -> None:
    clock = Clock()
    handler, journal = _taking(clock, 1, 1, 1, 1)
    Rig(handler, clock=clock, reserve_seconds=60)(*records(*"abcd"), seconds=4)
    assert journal == ["a", "b"]


def test_without_a_context_there_is_no_deadline() -> None:
    clock = Clock()
    handler, journal = _taking(clock, 1e6, 1e6)
    rig = Rig(handler, clock=clock)
    assert rig.host({"Records": records("a", "b")}, None) == {"batchItemFailures": []}
    assert journal == ["a", "b"]


@pytest.mark.parametrize(("memory", "reserve"), [(1769, 1.0), (3538, 1.0), (884.5, 1.5), (0, 1.0)])
def test_the_reserve_is_larger_while_the_sdk_is_not_loaded(
    memory: Any, reserve: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    host = Rig(_taking(clock)[0], clock=clock).host
    warm = host._deadline(Context(clock, 100))
    assert clock() + 100 - warm.stop_at == pytest.approx(0.5)
    monkeypatch.delitem(sys.modules, "botocore.session")
    cold = host._deadline(Context(clock, 100, memory=memory))
    assert cold.reserve == pytest.approx(reserve, rel=1e-3)
    assert clock() + 100 - cold.stop_at == pytest.approx(cold.reserve)


def test_a_context_that_does_not_say_its_memory_has_one_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Bare:
        def get_remaining_time_in_millis(self) -> int:
            return 100_000

    monkeypatch.delitem(sys.modules, "botocore.session")
    host = Rig(_taking(Clock())[0]).host
    assert host._deadline(Bare()).reserve == 1.0


def test_on_fifo_what_was_not_started_comes_back_at_once_once_nothing_of_its_group_runs() -> None:
    clock = Clock()
    handler, journal = _taking(clock, 20, 20, fail="a1")
    batch = fifo(("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("c", "c1"))
    result = Rig(handler, clock=clock)(*batch, seconds=50)
    assert journal == ["a1", "b1"]
    assert result.failed == ["m1", "m3", "m4", "m5"]
    # Group a was stopped by a1, so its tail waits as long as a1 does; the others do not wait.
    assert result.sqs.visibility == {"r1": 30, "r3": 30, "r4": 0, "r5": 0}


def test_a_thousand_delays_do_not_outlast_the_invocation() -> None:
    clock = Clock()
    handler, _ = _taking(clock, 29.4)
    rig = Rig(handler, clock=clock)
    answer = rig.sqs.change_message_visibility_batch

    def slowly(**request: Any) -> Any:
        clock.advance(0.1)
        return answer(**request)

    rig.sqs.change_message_visibility_batch = slowly  # type: ignore[method-assign]
    result = rig(*records(*"x" * 1000), seconds=30)
    assert len(result.failed) == 999
    assert 1 <= len(rig.sqs.calls) <= 6
    assert clock() < 1_000 + 30


def test_a_running_async_one_is_interrupted_and_what_waits_is_not_started() -> None:
    interrupted = []

    @queue_handler(concurrency=2, max_deliveries=1)
    async def handler(body: str) -> None:
        if body == "quick":
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.append(body)
            raise

    rig = Rig(handler, clock=RealClock(), dead_letter="dlq")
    result = rig(*records("quick", "slow 1", "slow 2", "waits"), seconds=SHORT)
    assert sorted(interrupted) == ["slow 1", "slow 2"]
    assert result.failed == ["m2", "m3", "m4"]
    # The interrupted may not have let go, so they come back by the queue's own lock time.
    assert result.sqs.visibility == {"r4": 0}
    assert result.sqs.sent == []


def test_an_error_made_of_the_interruption_is_no_failure_on_the_last_delivery() -> None:
    @queue_handler(max_deliveries=1, dead_letter="dlq")
    async def handler(body: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("connection closed") from None

    result = Rig(handler, clock=RealClock())(*records("a"), seconds=SHORT)
    assert (result.failed, result.outcomes[0].unrun) == (["m1"], True)
    assert result.sqs.sent == []


def test_what_is_done_while_it_is_interrupted_is_acknowledged() -> None:
    @queue_handler
    async def handler(body: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    assert Rig(handler, clock=RealClock())(*records("a"), seconds=SHORT).failed == []


@pytest.mark.parametrize("batched", [False, True])
def test_a_handler_that_ignores_its_cancellation_is_waited_for_shortly_and_left(
    batched: bool,
) -> None:
    holding: list[asyncio.Event] = []

    async def ignore() -> None:
        event = asyncio.Event()
        holding.append(event)
        while not event.is_set():
            try:
                await event.wait()
            except asyncio.CancelledError:
                continue

    if batched:

        @queue_handler
        async def handler(batch: Batch[str]) -> None:
            await ignore()
    else:

        @queue_handler
        async def handler(body: str) -> None:
            if body != "next":
                await ignore()

    rig = Rig(handler, clock=RealClock())
    assert rig(*records("a"), seconds=SHORT).failed == ["m1"]
    holding[0].set()
    if not batched:
        # It ends during a later invocation, which it does not disturb.
        assert rig(*records("next", "next")).failed == []


def test_an_async_batch_is_interrupted_as_a_whole() -> None:
    @queue_handler(max_deliveries=1, dead_letter="dlq", batch_order="accept_repeats")
    async def handler(batch: Batch[str]) -> None:
        batch.fail(batch[0], ValueError())
        await asyncio.Event().wait()

    rig = Rig(handler, clock=RealClock())
    result = rig(*fifo(("a", "1"), ("b", "2")), seconds=SHORT)
    assert result.failed == ["m1", "m2"]
    assert result.sqs.calls == []


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_does_not_start_without_time(is_async: bool) -> None:
    clock = Clock()

    async def slow(messages: Any, call_next: Any) -> Any:
        clock.advance(9)
        return await call_next(messages)

    if is_async:

        @queue_handler(delivery_middleware=[slow])
        async def handler(batch: Batch[str]) -> None:
            raise AssertionError
    else:

        @queue_handler(delivery_middleware=[slow])
        def handler(batch: Batch[str]) -> None:
            raise AssertionError

    rig = Rig(handler, clock=clock, reserve_seconds=2)
    result = rig(*records("a", "b"), seconds=10)
    assert result.failed == ["m1", "m2"]
    assert result.sqs.visibility == {"r1": 0, "r2": 0}


def test_never_more_than_the_allowed_number_run_together() -> None:
    running, most = 0, 0

    @queue_handler(concurrency=7)
    async def handler(body: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1

    assert Rig(handler)(*records(*"x" * 500)).failed == []
    assert most == 7


def test_the_clock_is_the_real_one_unless_a_test_says_otherwise() -> None:
    @queue_handler
    def handler(body: str) -> None: ...

    host = LambdaHost(handler, settings=load_settings(environ={}))
    deadline = host._deadline(Context(RealClock(), 100))
    assert deadline.clock is monotonic
    assert 99 < deadline.left() < 100


class Clockless:
    memory_limit_in_mb = 128


@pytest.mark.parametrize(
    "context", [None, {}, Clockless(), MagicMock(), object()], ids=lambda it: type(it).__name__
)
def test_a_context_without_a_clock_sets_no_deadline(context: Any) -> None:
    done: list[str] = []

    @queue_handler
    def take(body: str) -> None:
        done.append(body)

    assert take(sqs_event("a", "b"), context) == {"batchItemFailures": []}
    assert done == ["a", "b"]
