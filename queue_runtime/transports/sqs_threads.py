"""Threads for requests that block, so that SQS's SDK can be called from any event loop."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from threading import Lock, Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from queue_runtime.errors import TransportError
from queue_runtime.transports.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")

# How long an end waits: for what an interrupted request still brings, and for all.
_POLITE_SECONDS: Final = 0.5
_END_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.01


class CallThreads:
    """At most `most` daemon threads, started when they are needed and kept.

    Args:
        queue: the queue's name, for errors.
        most: how many requests may be under way; more wait for a thread.
        interrupt: ends the request that a thread waits for, where requests may be ended.
    """

    def __init__(
        self,
        queue: str,
        most: int,
        interrupt: Callable[[int, bool], None] | None = None,
    ) -> None:
        self._queue = queue
        self._most = most
        self._interrupt = interrupt
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._running: dict[int, Callable[[], None]] = {}
        self._lock = Lock()
        self._free = 0
        self._closed = False

    async def run(
        self, work: Callable[[], ResultT], undo: Callable[[ResultT], None] | None = None
    ) -> ResultT:
        """Run `work` on a thread and await its result.

        A caller that is cancelled gets no result: with `undo`, the request is interrupted and
        `undo` is given what it brings all the same; without, it is carried out.

        Raises:
            TransportError: the transport is closed.
        """
        job = Job(work, undo)
        run = job.run
        if not self._put(run):
            raise TransportError(f"SQS queue {self._queue} has been closed: open it again")
        try:
            return await job.answer
        except asyncio.CancelledError:
            rest = job.abandon()
            if rest is not None:
                self._put(rest, even_closed=True)
            elif undo is not None:
                self._interrupt_thread_of(run)
            raise

    def close(self) -> None:
        """Refuse new calls; threads end with what they have."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._jobs.put(None)

    async def aclose(self) -> None:
        """Refuse new calls, interrupt those under way, and wait a little for the threads."""
        self.close()
        started = monotonic()
        while any(thread.is_alive() for thread in self._threads):
            elapsed = monotonic() - started
            if elapsed > _END_SECONDS:
                return  # daemons: they cannot keep the process from ending
            if self._interrupt is not None:
                for thread in list(self._running):
                    self._interrupt(thread, elapsed < _POLITE_SECONDS)
            await asyncio.sleep(_LOOK_SECONDS)

    def _interrupt_thread_of(self, run: Callable[[], None]) -> None:
        if self._interrupt is None:
            return
        for thread, running in list(self._running.items()):
            if running is run:
                self._interrupt(thread, True)

    def _put(self, job: Callable[[], None], *, even_closed: bool = False) -> bool:
        with self._lock:
            if self._closed and not even_closed:
                return False
            if self._closed:
                # The threads have been told to end, so this needs one that has not.
                self._start(job)
                return True
            self._free -= 1
            self._jobs.put(job)
            if self._free < 0 and len(self._threads) < self._most:
                self._free += 1
                self._start()
            return True

    def _start(self, only: Callable[[], None] | None = None) -> None:
        target = self._work if only is None else only
        thread = Thread(target=target, name=f"sqs {self._queue}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        me = get_ident()
        while (job := self._jobs.get()) is not None:
            self._running[me] = job
            job()
            del self._running[me], job  # else the last result stays alive while this is idle
            with self._lock:
                self._free += 1
