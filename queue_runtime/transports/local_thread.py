"""The thread on which one local transport does its SQL, for callers on any event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from queue_runtime.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


class _Job(Generic[ResultT]):
    """One piece of work, and the agreement on who cleans up after a caller that went away.

    The agreement is made under a lock and without the caller's loop, which may be closed before
    it hears of the result.
    """

    def __init__(self, work: Callable[[], ResultT], undo: Callable[[ResultT], None] | None) -> None:
        self._work, self._undo = work, undo
        self._lock = Lock()
        self._abandoned = False
        self._done: list[ResultT] = []
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[ResultT] = self._loop.create_future()

    def run(self) -> None:
        """Do the work on the database's thread; undo it where its caller has gone."""
        if self._abandoned and self._undo:
            return
        try:
            result = self._work()
        except BaseException as error:  # whatever it is, it is the caller's
            self._tell(self._refuse, error)
            return
        with self._lock:
            self._done.append(result)
            abandoned = self._abandoned
        if abandoned and self._undo:
            self._undo(result)
        else:
            self._tell(self._accept, result)

    def abandon(self) -> Callable[[], None] | None:
        """Say that nobody waits any more; gives what the thread has still to do about it."""
        with self._lock:
            self._abandoned = True
            if not self._done or self._undo is None:
                return None
            undo, result = self._undo, self._done[0]
            return lambda: undo(result)

    def _tell(self, how: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # a closed loop: whoever asked is gone
            self._loop.call_soon_threadsafe(how, what)

    def _accept(self, result: ResultT) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def _refuse(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class DatabaseThread:
    """Runs jobs one after another: a call costs two hand-overs, where an executor's costs ten."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = Lock()
        self._closed = False
        self._thread = Thread(target=self._run, name=f"local queue {queue}", daemon=True)
        self._thread.start()

    async def run(
        self, work: Callable[[], ResultT], undo: Callable[[ResultT], None] | None = None
    ) -> ResultT:
        """Run `work` there and await its result; if the caller is cancelled, `undo` gets it.

        Raises:
            TransportError: the transport is closed.
        """
        job = _Job(work, undo)
        if not self._put(job.run):
            raise TransportError(f"local queue {self._queue} has been closed: open it again")
        try:
            return await job.answer
        except asyncio.CancelledError:
            rest = job.abandon()
            if rest is not None:
                self._put(rest)
            raise

    async def aclose(self, last: Callable[[], None]) -> None:
        """End the thread after the jobs that it has, and after `last`; later ones are refused."""
        job = _Job(last, None)
        if not self._put(job.run, closing=True):
            return
        await job.answer
        self._thread.join()

    def _put(self, job: Callable[[], None], *, closing: bool = False) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._closed = closing
            self._jobs.put(job)
            if closing:
                self._jobs.put(None)
            return True

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # else the last result stays alive while the queue is empty
