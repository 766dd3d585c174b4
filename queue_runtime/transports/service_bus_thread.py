"""A thread with an event loop of its own, since the SDK's objects belong to one loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from queue_runtime.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

ResultT = TypeVar("ResultT")


class LoopThread:
    """Runs coroutines for callers on any thread and loop; no handler can hold its loop up.

    The thread begins with the first call, and again with one after `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self.undoing: set[asyncio.Task[object]] = set()

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

    async def run_or_undo(
        self,
        work: Coroutine[Any, Any, ResultT],
        undo: Callable[[ResultT], Coroutine[Any, Any, object]],
    ) -> ResultT:
        """Run a coroutine that ends with its caller; a result that comes too late is undone."""
        caller = asyncio.get_running_loop()
        answer: asyncio.Future[ResultT] = caller.create_future()
        call = _CancellableCall(self, work, undo)

        def tell(future: Future[ResultT]) -> None:
            try:
                caller.call_soon_threadsafe(_copy, future, answer, self._ended())
            except RuntimeError:
                call.give_up()  # the caller's loop has ended

        call.future.add_done_callback(tell)
        try:
            return await answer
        except asyncio.CancelledError:
            call.give_up()
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
            await asyncio.to_thread(thread.join)

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
        return asyncio.run_coroutine_threadsafe(_end(last, self.undoing), loop), thread


class _CancellableCall:
    """A coroutine under way on a `LoopThread`, which is either cancelled or undone, never lost."""

    def __init__(
        self,
        thread: LoopThread,
        work: Coroutine[Any, Any, Any],
        undo: Callable[[Any], Coroutine[Any, Any, object]],
    ) -> None:
        self._undo = undo
        self._undoing = thread.undoing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False
        self.future: Future[Any] = thread.start(self._run(work))

    def give_up(self) -> None:
        """Say that nobody waits any more. On any thread, once."""
        self._given_up = True
        self.future.add_done_callback(self._undo_result)
        if self._task is not None:
            self._on_loop(self._task.cancel)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        self._loop = asyncio.get_running_loop()
        # A task of its own: cancelling the future would drop a result that is there already.
        self._task = asyncio.ensure_future(work)
        if self._given_up:
            self._task.cancel()
        return await self._task

    def _undo_result(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._on_loop(lambda: self._begin_to_undo(future.result()))

    def _begin_to_undo(self, result: Any) -> None:
        task = asyncio.ensure_future(self._undo(result))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    def _on_loop(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            # A loop that has ended has closed what the call was about.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)


def _copy(source: Future[ResultT], target: asyncio.Future[ResultT], ended: TransportError) -> None:
    if target.done():
        return
    if source.cancelled():
        target.set_exception(ended)
    elif (error := source.exception()) is not None:
        target.set_exception(error)
    else:
        target.set_result(source.result())


async def _end(
    last: Callable[[], Coroutine[Any, Any, object]], undoing: set[asyncio.Task[object]]
) -> None:
    try:
        if undoing:
            await asyncio.wait(undoing)
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
