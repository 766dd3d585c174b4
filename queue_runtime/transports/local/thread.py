"""The thread on which one local transport does its SQL, for callers on any event loop."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeVar

from queue_runtime.errors import TransportError
from queue_runtime.transports.thread_job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


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
        job = Job(work, undo)
        if not self._put(job.run):
            raise TransportError(f"local queue {self._queue} has been closed: open it again")
        try:
            return await job.answer
        except asyncio.CancelledError:
            if undo is not None and (rest := job.abandon()) is not None:
                self._put(rest)
            raise

    async def aclose(self, last: Callable[[], None]) -> None:
        """End the thread after the jobs that it has, and after `last`; later ones are refused."""
        job = Job(last)
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
