"""A call on a thread: for a caller that stays, for one that goes away, and at the end of all."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import pytest

from queue_runtime.errors import TransportError
from queue_runtime.transports.threads import JobThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(scenario: Callable[[JobThreads], Coroutine[object, object, None]]) -> None:
    async def main() -> None:
        threads = JobThreads("queue q")
        try:
            await scenario(threads)
        finally:
            await threads.aclose()

    asyncio.run(main())


class Gate:
    """Work that tells when it has begun and ends when it is let go, or interrupted."""

    def __init__(self) -> None:
        self.begun, self.released = Event(), Event()
        self.interrupts: list[tuple[int, bool]] = []
        self.thread = 0

    def __call__(self) -> str:
        self.thread = threading.get_ident()
        self.begun.set()
        assert self.released.wait(30)
        return "result"

    def interrupt(self, thread: int, softly: bool) -> None:
        self.interrupts.append((thread, softly))
        self.released.set()

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 30)


def ignore(_: object) -> None:
    """Give nothing back."""


# --- a caller that stays -------------------------------------------------------------------------


def test_results_and_errors_reach_the_caller() -> None:
    async def scenario(threads: JobThreads) -> None:
        assert await threads.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await threads.run_cancellable(lambda: 1 // 0, ignore)
        assert await threads.run_cancellable(lambda: 8, ignore) == 8

    run(scenario)


def test_one_thread_makes_its_calls_in_their_order() -> None:
    async def scenario(threads: JobThreads) -> None:
        done: list[int] = []
        await asyncio.gather(*(threads.run(partial(done.append, n)) for n in range(50)))
        assert done == list(range(50))

    run(scenario)


def test_calls_beyond_the_threads_wait_for_one() -> None:
    async def main() -> None:
        threads = JobThreads("queue q", 2)
        gates = [Gate(), Gate(), Gate()]
        calls = [asyncio.create_task(threads.run(gate)) for gate in gates]
        await gates[0].until_begun()
        await gates[1].until_begun()
        assert not gates[2].begun.is_set()
        gates[0].released.set()
        await gates[2].until_begun()
        assert gates[2].thread == gates[0].thread
        for gate in gates:
            gate.released.set()
        assert await asyncio.gather(*calls) == ["result"] * 3
        await threads.aclose()

    asyncio.run(main())


def test_a_thread_that_is_free_is_used_again() -> None:
    async def main() -> None:
        threads = JobThreads("queue q", 8)
        idents = {await threads.run(threading.get_ident) for _ in range(20)}
        await threads.aclose()
        # A thread counts as free a moment after its result has been told.
        assert len(idents) <= 2

    asyncio.run(main())


# --- a caller that goes away ---------------------------------------------------------------------


def test_result_for_a_caller_that_went_away_meanwhile_is_given_back() -> None:
    async def scenario(threads: JobThreads) -> None:
        gate = Gate()
        returned: list[str] = []
        call = asyncio.create_task(threads.run_cancellable(gate, returned.append))
        await gate.until_begun()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        gate.released.set()
        await threads.run(lambda: None)
        assert returned == ["result"]

    run(scenario)


def test_a_result_that_cannot_be_given_back_ends_no_thread() -> None:
    async def scenario(threads: JobThreads) -> None:
        gate = Gate()

        def fail(_: str) -> None:
            raise TransportError("the file is gone")

        call = asyncio.create_task(threads.run_cancellable(gate, fail))
        await gate.until_begun()
        call.cancel()
        await asyncio.wait([call])
        gate.released.set()
        assert await threads.run(lambda: 7) == 7

    run(scenario)


def test_work_for_a_caller_that_went_away_before_is_not_begun() -> None:
    async def scenario(threads: JobThreads) -> None:
        gate = Gate()
        done: list[object] = []
        first = asyncio.create_task(threads.run(gate))
        second = asyncio.create_task(threads.run_cancellable(lambda: done.append(1), done.append))
        settling = asyncio.create_task(threads.run(lambda: done.append("settled")))
        await gate.until_begun()
        second.cancel()
        settling.cancel()
        await asyncio.wait([second, settling])
        gate.released.set()
        assert await first == "result"
        await threads.run(lambda: None)
        assert done == ["settled"]  # without a way to undo it, it is done: a caller may count on it

    run(scenario)


def test_result_that_has_come_but_was_not_taken_is_the_callers() -> None:
    async def scenario(threads: JobThreads) -> None:
        returned: list[int] = []
        call = asyncio.create_task(threads.run_cancellable(lambda: 7, returned.append))
        await asyncio.sleep(0)
        ended = Event()
        barrier = asyncio.create_task(threads.run(ended.set))
        await asyncio.sleep(0)
        assert ended.wait(30)  # the loop stands still until the result waits for it
        call.cancel()
        assert await call == 7
        await barrier
        await threads.run(lambda: None)
        assert returned == []

    run(scenario)


def test_result_for_a_loop_that_was_closed_is_given_back() -> None:
    gate = Gate()
    returned: list[str] = []

    async def first() -> JobThreads:
        threads = JobThreads("queue q")
        call = threads.run_cancellable(gate, returned.append)
        asyncio.ensure_future(call)  # noqa: RUF006  it is dropped
        await gate.until_begun()
        return threads

    threads = asyncio.run(first())
    gate.released.set()

    async def second() -> None:
        await threads.run(lambda: None)
        await threads.aclose()

    asyncio.run(second())
    assert returned == ["result"]


# --- calls that can be interrupted ---------------------------------------------------------------


def test_a_cancelled_caller_interrupts_its_call_and_gets_what_it_brings() -> None:
    async def main() -> None:
        gate, other = Gate(), Gate()
        threads = JobThreads("queue q", 2, gate.interrupt)
        call = asyncio.create_task(threads.run_cancellable(gate, ignore))
        beside = asyncio.create_task(threads.run_cancellable(other, ignore))
        await gate.until_begun()
        await other.until_begun()
        call.cancel()
        assert await call == "result"
        assert set(gate.interrupts) == {(gate.thread, True)}  # and not the other call's
        other.released.set()
        assert await beside == "result"
        await threads.aclose()

    asyncio.run(main())


def test_an_error_after_the_cancellation_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        gate = Gate()

        def work() -> str:
            gate()
            raise OSError("hung up")

        threads = JobThreads("queue q", 1, gate.interrupt)
        call = asyncio.create_task(threads.run_cancellable(work, ignore))
        await gate.until_begun()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await threads.aclose()

    asyncio.run(main())
    assert not [line for line in caplog.records if line.name == "asyncio"]


def test_an_interruption_without_effect_becomes_one_by_force_and_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("queue_runtime.transports.threads._POLITE_SECONDS", 0.02)

    async def main() -> None:
        gate = Gate()
        softly: list[bool] = []
        threads = JobThreads("queue q", 1, lambda _, soft: softly.append(soft), end_seconds=0.1)
        returned: list[str] = []
        call = asyncio.create_task(threads.run_cancellable(gate, returned.append))
        await gate.until_begun()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert softly == sorted(softly, reverse=True)
        assert set(softly) == {True, False}
        gate.released.set()
        await threads.run(lambda: None)
        assert returned == ["result"]
        await threads.aclose()

    asyncio.run(main())


def test_a_second_cancellation_ends_the_wait_and_the_result_is_given_back() -> None:
    async def main() -> None:
        gate, interrupted = Gate(), asyncio.Event()
        threads = JobThreads("queue q", 1, lambda *_: interrupted.set(), end_seconds=30)
        returned: list[str] = []
        call = asyncio.create_task(threads.run_cancellable(gate, returned.append))
        await gate.until_begun()
        call.cancel()
        await interrupted.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        gate.released.set()
        await threads.run(lambda: None)
        assert returned == ["result"]
        await threads.aclose()

    asyncio.run(main())


# --- the end -------------------------------------------------------------------------------------


def test_an_end_comes_after_the_jobs_at_hand_and_refuses_later_ones() -> None:
    async def main() -> None:
        threads, done = JobThreads("queue q"), []
        gate = Gate()
        first = asyncio.create_task(threads.run(gate))
        second = asyncio.create_task(threads.run(lambda: done.append("job")))
        await gate.until_begun()
        closing = asyncio.create_task(threads.aclose(lambda: done.append("last")))
        await asyncio.sleep(0)
        with pytest.raises(TransportError, match="queue q has been closed: open it again"):
            await threads.run(lambda: None)
        await threads.aclose(lambda: done.append("never"))
        gate.released.set()
        await asyncio.gather(first, second, closing)
        assert done == ["job", "last"]

    asyncio.run(main())


def test_an_end_interrupts_what_is_under_way_and_leaves_no_thread() -> None:
    async def main() -> None:
        gates = {gate: None for gate in (Gate(), Gate(), Gate())}

        def interrupt(thread: int, softly: bool) -> None:
            for gate in gates:
                if gate.thread == thread:
                    gate.interrupt(thread, softly)

        threads = JobThreads("queue to end", 3, interrupt)
        calls = [asyncio.create_task(threads.run(gate)) for gate in gates]
        for gate in gates:
            await gate.until_begun()
        await threads.aclose()
        assert not any(each.name == "queue to end" for each in threading.enumerate())
        assert await asyncio.gather(*calls) == ["result"] * 3

    asyncio.run(main())


def test_an_end_waits_no_longer_than_said_for_a_call_that_does_not_return() -> None:
    async def main() -> None:
        gate, done = Gate(), Event()
        threads = JobThreads("queue q", end_seconds=0.05)
        call = asyncio.create_task(threads.run(gate))
        await gate.until_begun()
        await threads.aclose(done.set)
        assert not done.is_set()
        gate.released.set()
        assert await call == "result"
        assert await asyncio.to_thread(done.wait, 30)

    asyncio.run(main())


def test_threads_that_were_never_used_end_with_their_last_call_all_the_same() -> None:
    async def main() -> None:
        done: list[str] = []
        await JobThreads("queue q").aclose(lambda: done.append("last"))
        assert done == ["last"]

    asyncio.run(main())


def test_an_error_of_the_last_call_reaches_who_ends_them() -> None:
    async def main() -> None:
        threads = JobThreads("queue q")
        await threads.run(lambda: None)

        def fail() -> None:
            raise TransportError("the file cannot be closed")

        with pytest.raises(TransportError, match="cannot be closed"):
            await threads.aclose(fail)

    asyncio.run(main())
