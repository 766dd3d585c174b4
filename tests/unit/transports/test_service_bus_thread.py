"""The loop of a transport's own: what a caller gives up is undone, and never lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from queue_runtime.errors import TransportError
from queue_runtime.transports.service_bus_thread import LoopThread


async def nothing() -> None:
    pass


async def where() -> str:
    return threading.current_thread().name


def test_work_is_done_on_the_thread() -> None:
    async def main() -> list[str]:
        thread = LoopThread("own")
        names = [await thread.run(where()), await thread.run_or_undo(where(), lambda _: nothing())]
        await thread.aclose(nothing)
        return names

    assert asyncio.run(main()) == ["own", "own"]


def test_errors_come_back() -> None:
    async def fail() -> None:
        raise KeyError("x")

    async def main() -> None:
        thread = LoopThread("own")
        for call in (thread.run(fail()), thread.run_or_undo(fail(), lambda _: nothing())):
            with pytest.raises(KeyError):
                await call
        await thread.aclose(nothing)

    asyncio.run(main())


@pytest.mark.parametrize("yields", range(1, 12))
def test_result_of_a_caller_that_was_cancelled_is_undone(yields: int) -> None:
    made: list[int] = []
    undone: list[int] = []

    async def make() -> int:
        await asyncio.sleep(0)
        made.append(1)
        return 1

    async def undo(result: int) -> None:
        undone.append(result)

    async def main() -> bool:
        thread = LoopThread("own")
        call = asyncio.create_task(thread.run_or_undo(make(), undo))
        for _ in range(yields):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        await thread.run(nothing())
        await thread.run(nothing())
        await thread.aclose(nothing)
        return call.cancelled()

    # Either the caller got it, or it was undone, or it was never made.
    if asyncio.run(main()):
        assert undone == made
    else:
        assert (made, undone) == ([1], [])


def test_result_that_is_on_its_way_to_a_cancelled_caller_is_undone() -> None:
    undone: list[int] = []

    async def make() -> int:
        return 1

    async def undo(result: int) -> None:
        undone.append(result)

    async def main() -> None:
        thread = LoopThread("own")
        call = asyncio.create_task(thread.run_or_undo(make(), undo))
        await asyncio.sleep(0)  # lets it begin
        for _ in range(3):
            thread.start(nothing()).result()  # this loop stands still until it is made
        call.cancel()
        await asyncio.wait([call])
        await thread.aclose(nothing)

    asyncio.run(main())
    assert undone == [1]


def test_work_is_cancelled_with_its_caller() -> None:
    async def main() -> bool:
        thread = LoopThread("own")
        begun, ended = threading.Event(), threading.Event()

        async def wait() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        call = asyncio.create_task(thread.run_or_undo(wait(), lambda _: nothing()))
        await asyncio.to_thread(begun.wait)
        call.cancel()
        await asyncio.wait([call])
        told = await asyncio.to_thread(ended.wait, 10)
        await thread.aclose(nothing)
        return told

    assert asyncio.run(main())


@pytest.mark.parametrize("undone", [True, False])
def test_close_ends_what_is_under_way_with_an_error(undone: bool) -> None:
    async def main() -> None:
        thread = LoopThread("own")
        begun = threading.Event()

        async def wait() -> None:
            begun.set()
            await asyncio.Event().wait()

        work = wait()
        how = thread.run_or_undo(work, lambda _: nothing()) if undone else thread.run(work)
        call = asyncio.create_task(how)
        await asyncio.to_thread(begun.wait)
        await thread.aclose(nothing)
        with pytest.raises(TransportError, match="own was closed"):
            await call

    asyncio.run(main())
