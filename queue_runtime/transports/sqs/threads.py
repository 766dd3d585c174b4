"""Threads for requests that block, so that SQS's SDK can be called from any event loop."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from threading import Lock, Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from queue_runtime.errors import TransportError
from queue_runtime.transports.thread_job import Job, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ResultT = TypeVar("ResultT")

# How long an end waits: for what an interrupted request still brings, and for all.
_POLITE_SECONDS: Final = 0.5
# How long an answer may be on its way from a queue that has messages.
_ANSWERS_SECONDS: Final = 2.5
_END_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.01


class CallThreads:
    """At most `most` daemon threads, started when they are needed and kept.

    Args:
        queue: the queue's name, for errors.
        most: how many requests may be under way; more wait for a thread.
        interrupt: ends the request that a thread waits for, politely or not; only where requests
            may be ended.
    """

    def __init__(
        self,
        queue: str,
        most: int,
        interrupt: Callable[[int, bool], None] = lambda _thread, _politely: None,
    ) -> None:
        self._queue = queue
        self._most = most
        self._interrupt = interrupt
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._running: dict[int, Callable[[], None]] = {}
        self._interruptible: set[Job[Any]] = set()
        self._lock = Lock()
        self._free = 0
        self._closed = False

    async def run(self, work: Callable[[], ResultT]) -> ResultT:
        """Run `work` on a thread and await its result; cancelled or not, it is carried out.

        Raises:
            TransportError: the transport is closed.
        """
        return await self._begin(work).answer

    async def run_interruptibly(
        self, work: Callable[[], ResultT], undo: Callable[[ResultT], None]
    ) -> ResultT:
        """Run `work` on a thread and await its result; a caller that is cancelled interrupts it.

        What was on its way by then cannot be sent back, so the caller gets it all the same; and
        `undo` gets what comes when the caller has waited long enough.

        Raises:
            TransportError: the transport is closed.
        """
        job = self._begin(work, undo)
        self._interruptible.add(job)
        began = monotonic()
        try:
            return await asyncio.shield(job.answer)
        except asyncio.CancelledError:
            job.withdraw()
            job.answer.add_done_callback(result_of)  # an error that nobody waits for is heard here
            # A queue with messages answers at once, and an answer that is cut off hides them for
            # the visibility timeout; only what has waited longer can be an idle long poll.
            await _done_by(job.answer, began + _ANSWERS_SECONDS)
            await self._interrupt_until(job.answer.done, lambda: self._threads_of(job))
            if result := result_of(job.answer):
                return result
            if (late := job.abandon()) is not None:
                Thread(target=late, name=f"sqs {self._queue} late", daemon=True).start()
            raise
        finally:
            self._interruptible.discard(job)

    def give_up(self) -> None:
        """Undo what work under way still brings, as if its callers had gone; from any thread."""
        for job in tuple(self._interruptible):
            job.withdraw()
            if (late := job.abandon()) is not None:
                late()

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
        await self._interrupt_until(
            lambda: not any(thread.is_alive() for thread in self._threads),
            lambda: list(self._running),
        )

    async def _interrupt_until(
        self, over: Callable[[], bool], threads: Callable[[], Iterable[int]]
    ) -> None:
        """Interrupt again and again: a request may not have been sent at the first time."""
        started = monotonic()
        while not over():
            elapsed = monotonic() - started
            if elapsed > _END_SECONDS:
                return  # daemons: they cannot keep the process from ending
            for thread in threads():
                self._interrupt(thread, elapsed < _POLITE_SECONDS)
            await asyncio.sleep(_LOOK_SECONDS)

    def _threads_of(self, job: Job[ResultT]) -> list[int]:
        return [thread for thread, run in list(self._running.items()) if run == job.run]

    def _begin(
        self, work: Callable[[], ResultT], undo: Callable[[ResultT], None] | None = None
    ) -> Job[ResultT]:
        job = Job(work, undo)
        with self._lock:
            if self._closed:
                raise TransportError(f"SQS queue {self._queue} has been closed: open it again")
            self._free -= 1
            self._jobs.put(job.run)
            if self._free < 0 and len(self._threads) < self._most:
                self._free += 1
                self._start()
        return job

    def _start(self) -> None:
        thread = Thread(target=self._work, name=f"sqs {self._queue}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        me = get_ident()
        while (run := self._jobs.get()) is not None:
            self._running[me] = run
            run()
            del self._running[me], run  # else the last result stays alive while this is idle
            with self._lock:
                self._free += 1


async def _done_by(answer: asyncio.Future[Any], ends: float) -> None:
    left = ends - monotonic()
    if left > 0:
        await asyncio.wait([answer], timeout=left)
