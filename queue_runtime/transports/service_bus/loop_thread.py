"""A thread with an event loop of its own, since the SDK's objects belong to one loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from queue_runtime.errors import TransportError
from queue_runtime.transports.threads import result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

ResultT = TypeVar("ResultT")

_LOOK_SECONDS: Final = 0.005


class LoopThread:
    """Runs coroutines for callers on any thread and loop; no handler can hold its loop up.

    The thread begins with the first call, and again with one after `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def start(self, work: Coroutine[Any, Any, ResultT]) -> Future[ResultT]:
        """Begin a coroutine, and give what will hold its result."""
        with self._lock:
            return asyncio.run_coroutine_threadsafe(work, self._running())

    async def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine to its end, even where the caller is cancelled meanwhile."""
        future = self.start(work)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if future.cancelled():
                raise self._ended() from None
            raise

    async def run_cancellable(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine that is cancelled with its caller; what it gives then is the caller's."""
        call = _CancellableCall(work)
        answer = asyncio.wrap_future(self.start(call.run()))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if answer.cancelled():
                raise self._ended() from None
            call.cancel()
            await asyncio.wait([answer])
            if result := result_of(answer):
                return result
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """End the thread, after `last` on its loop; never from an event loop."""
        ended = self._detach(last)
        if ended is not None:
            future, thread = ended
            future.result()
            thread.join()

    async def aclose(self, last: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """End the thread, after `last` on its loop."""
        ended = self._detach(last)
        if ended is not None:
            future, thread = ended
            await asyncio.shield(asyncio.wrap_future(future))
            # Not by the loop's executor, which a handler may have shut down or filled.
            while thread.is_alive():  # noqa: ASYNC110 - a thread's end sets no event
                await asyncio.sleep(_LOOK_SECONDS)

    def _ended(self) -> TransportError:
        return TransportError(f"{self._name} was closed while it was at work")

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # A daemon: at the end of the process nothing is under way that is not lost anyway.
            self._thread = Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    def _detach(
        self, last: Callable[[], Coroutine[Any, Any, object]]
    ) -> tuple[Future[None], Thread] | None:
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return None
        return asyncio.run_coroutine_threadsafe(_end(last), loop), thread


class _CancellableCall(Generic[ResultT]):
    """A coroutine that another thread may cancel, whether or not it has begun."""

    def __init__(self, work: Coroutine[Any, Any, ResultT]) -> None:
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    async def run(self) -> ResultT:
        """Run it, on its own loop."""
        self._task = asyncio.current_task()
        # This order, and the other one below, so that one of the two sees the other.
        if self._cancelled:
            self._work.close()
            raise asyncio.CancelledError
        return await self._work

    def cancel(self) -> None:
        """Cancel it; the task under way decides what comes of that."""
        self._cancelled = True
        if self._task is not None:
            with suppress(RuntimeError):  # a loop that has ended has cancelled all that it had
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)


async def _end(last: Callable[[], Coroutine[Any, Any, object]]) -> None:
    try:
        await last()
    finally:
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_end_tasks())
    finally:
        loop.close()


async def _end_tasks() -> None:
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
