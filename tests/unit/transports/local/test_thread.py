"""What a call to the database's thread does for a caller that goes away, and for one that stays."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import TYPE_CHECKING

import pytest

from queue_runtime.errors import TransportError
from queue_runtime.transports.local.thread import DatabaseThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(scenario: Callable[[DatabaseThread], Coroutine[object, object, None]]) -> None:
    async def main() -> None:
        thread = DatabaseThread("q")
        try:
            await scenario(thread)
        finally:
            await thread.aclose(lambda: None)

    asyncio.run(main())


class Gate:
    """Work that tells when it has begun and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.released = Event(), Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(30)
        return "result"

    async def until_begun(self) -> None:
        assert await asyncio.get_running_loop().run_in_executor(None, self.begun.wait, 30)


def test_results_and_errors_reach_the_caller() -> None:
    async def scenario(thread: DatabaseThread) -> None:
        assert await thread.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 // 0)
        assert await thread.run(lambda: 8) == 8

    run(scenario)


def test_result_for_a_caller_that_went_away_meanwhile_is_undone() -> None:
    async def scenario(thread: DatabaseThread) -> None:
        gate = Gate()
        undone: list[str] = []
        call = asyncio.create_task(thread.run(gate, undo=undone.append))
        await gate.until_begun()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        gate.released.set()
        await thread.run(lambda: None)
        assert undone == ["result"]

    run(scenario)


def test_work_for_a_caller_that_went_away_before_is_not_begun() -> None:
    async def scenario(thread: DatabaseThread) -> None:
        gate = Gate()
        done: list[object] = []
        first = asyncio.create_task(thread.run(gate))
        second = asyncio.create_task(thread.run(lambda: done.append(1), undo=done.append))
        settling = asyncio.create_task(thread.run(lambda: done.append("settled")))
        await gate.until_begun()
        second.cancel()
        settling.cancel()
        await asyncio.wait([second, settling])
        gate.released.set()
        assert await first == "result"
        await thread.run(lambda: None)
        assert done == ["settled"]  # what cannot be undone is done: the caller may count on it

    run(scenario)


def test_result_that_has_arrived_but_was_not_taken_is_undone() -> None:
    async def scenario(thread: DatabaseThread) -> None:
        undone: list[int] = []
        loop = asyncio.get_running_loop()
        call = asyncio.create_task(thread.run(lambda: 7, undo=undone.append))
        await asyncio.sleep(0)
        ended = Event()
        barrier = asyncio.create_task(thread.run(ended.set))
        await asyncio.sleep(0)
        # The loop is held until the result waits for it, and the cancellation comes right after
        # the result has been put into the future, before the task has woken up.
        assert ended.wait(30)
        loop.call_soon(call.cancel)
        await asyncio.wait([call])
        assert call.cancelled()
        await barrier
        await thread.run(lambda: None)
        assert undone == [7]

    run(scenario)


def test_result_for_a_loop_that_was_closed_is_undone() -> None:
    gate = Gate()
    undone: list[str] = []

    async def first() -> DatabaseThread:
        thread = DatabaseThread("q")
        asyncio.ensure_future(thread.run(gate, undo=undone.append))  # noqa: RUF006  it is dropped
        await gate.until_begun()
        return thread

    thread = asyncio.run(first())
    gate.released.set()

    async def second() -> None:
        await thread.run(lambda: None)
        await thread.aclose(lambda: None)

    asyncio.run(second())
    assert undone == ["result"]


def test_closing_ends_after_the_jobs_at_hand_and_refuses_later_ones() -> None:
    async def main() -> None:
        thread, done = DatabaseThread("q"), []
        gate = Gate()
        first = asyncio.create_task(thread.run(gate))
        second = asyncio.create_task(thread.run(lambda: done.append("job")))
        await gate.until_begun()
        closing = asyncio.create_task(thread.aclose(lambda: done.append("last")))
        await asyncio.sleep(0)
        with pytest.raises(TransportError, match="local queue q has been closed"):
            await thread.run(lambda: None)
        await thread.aclose(lambda: done.append("never"))
        gate.released.set()
        await asyncio.gather(first, second, closing)
        assert done == ["job", "last"]

    asyncio.run(main())
