"""The loop of a transport's own: what a cancelled call brings is its caller's, and never lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from queue_runtime.errors import TransportError
from queue_runtime.transports.service_bus.loop_thread import LoopThread


async def nothing() -> None:
    pass


async def where() -> str:
    return threading.current_thread().name


def test_work_is_done_on_the_thread() -> None:
    async def main() -> list[str]:
        thread = LoopThread("own")
        names = [await thread.run(where()), await thread.run_cancellable(where())]
        await thread.aclose(nothing)
        return names

    assert asyncio.run(main()) == ["own", "own"]


def test_errors_come_back() -> None:
    async def fail() -> None:
        raise KeyError("x")

    async def main() -> None:
        thread = LoopThread("own")
        for call in (thread.run(fail()), thread.run_cancellable(fail())):
            with pytest.raises(KeyError):
                await call
        await thread.aclose(nothing)

    asyncio.run(main())


@pytest.mark.parametrize("yields", range(1, 12))
def test_result_of_a_call_that_was_cancelled_is_given_all_the_same(yields: int) -> None:
    made: list[int] = []

    async def make() -> int:
        await asyncio.sleep(0)
        made.append(1)
        return 1

    async def main() -> asyncio.Task[int]:
        thread = LoopThread("own")
        call = asyncio.create_task(thread.run_cancellable(make()))
        for _ in range(yields):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        await thread.aclose(nothing)
        return call

    call = asyncio.run(main())
    # Either it was never made, or the caller has it.
    assert made == ([] if call.cancelled() else [call.result()])


def test_result_that_is_on_its_way_to_a_cancelled_caller_is_given() -> None:
    async def make() -> int:
        return 1

    async def main() -> int:
        thread = LoopThread("own")
        call = asyncio.create_task(thread.run_cancellable(make()))
        await asyncio.sleep(0)  # lets it begin
        for _ in range(3):
            thread.start(nothing()).result()  # this loop stands still until it is made
        call.cancel()
        await asyncio.wait([call])
        await thread.aclose(nothing)
        return call.result()

    assert asyncio.run(main()) == 1


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

        call = asyncio.create_task(thread.run_cancellable(wait()))
        await asyncio.to_thread(begun.wait)
        call.cancel()
        await asyncio.wait([call])
        told = await asyncio.to_thread(ended.wait, 10)
        await thread.aclose(nothing)
        return told

    assert asyncio.run(main())


@pytest.mark.parametrize("cancellable", [True, False])
def test_close_ends_what_is_under_way_with_an_error(cancellable: bool) -> None:
    async def main() -> None:
        thread = LoopThread("own")
        begun = threading.Event()

        async def wait() -> None:
            begun.set()
            await asyncio.Event().wait()

        work = wait()
        how = thread.run_cancellable(work) if cancellable else thread.run(work)
        call = asyncio.create_task(how)
        await asyncio.to_thread(begun.wait)
        await thread.aclose(nothing)
        with pytest.raises(TransportError, match="own was closed"):
            await call

    asyncio.run(main())
