"""Threads for blocking calls, for callers on any event loop: one kind of job, one kind of thread.

A caller that is cancelled loses no result. Either it gets the result all the same, or the thread
gives the result back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from queue_runtime.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ResultT = TypeVar("ResultT")

# How long a cancelled caller, or an end, waits for calls that can be interrupted.
END_SECONDS: Final = 2.0
# How long a call that is interrupted may still bring something before its connection is cut.
_POLITE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.01
# How long an answer may be on its way from a queue that has messages.
_ANSWERS_SECONDS: Final = 2.0


class Job(Generic[ResultT]):
    """One blocking call, made on a thread for a caller on an event loop.

    A lock decides whether caller or thread owns the result, since the caller's loop may be closed
    before the thread can reach it.

    Args:
        work: the call.
        give_back: undoes the call, on its thread, where no caller is left for its result.
    """

    def __init__(
        self, work: Callable[[], ResultT], give_back: Callable[[ResultT], None] | None = None
    ) -> None:
        self._work, self._give_back = work, give_back
        self._lock = Lock()
        self._begun = self._cancelled = self._left = False
        self._result: ResultT | None = None
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[ResultT] = self._loop.create_future()

    def run(self, done: Callable[[], None] = lambda: None) -> None:
        """Make the call, unless it was cancelled before; raises nothing.

        `done` is called before the caller gets the result.
        """
        with self._lock:
            self._begun = not self._cancelled
        if not self._begun:
            done()
            return
        try:
            result = self._work()
        except BaseException as error:  # of any kind: the thread lives on, and the caller is told
            done()
            self._tell(self._refuse, error)
            return
        done()
        with self._lock:
            self._result, left = result, self._left
        if not left:
            self._tell(self._accept, result)
            return
        self._undo(result)
        self._tell(self.answer.cancel)  # its caller's loop may only have been held up

    def cancel(self) -> None:
        """Cancel the call if it has not begun, else let it end; on the caller's loop."""
        with self._lock:
            self._cancelled = True
            if not self._begun:
                self.answer.cancel()

    def leave(self) -> ResultT | None:
        """Stop waiting. Gives the result if it is there; a later one is undone."""
        with self._lock:
            self._left = True
            return self._result

    def give_up(self) -> None:
        """Give the result up, and undo the call, now or once it is done; from any thread."""
        with self._lock:
            self._cancelled = self._left = True
            result, self._result = self._result, None
        if result is not None:
            self._undo(result)

    def _undo(self, result: ResultT) -> None:
        if self._give_back is not None:
            with suppress(Exception):  # a lock that is not given back ends by itself
                self._give_back(result)

    def _tell(self, how: Callable[..., object], *what: object) -> None:
        with suppress(RuntimeError):  # a closed loop: no caller is left
            self._loop.call_soon_threadsafe(how, *what)

    def _accept(self, result: ResultT) -> None:
        if self._left:
            self.answer.cancel()
        elif not self.answer.done():
            self.answer.set_result(result)

    def _refuse(self, error: BaseException) -> None:
        if self._cancelled:  # an error that nobody asks for would be logged by asyncio
            self.answer.cancel()
        elif not self.answer.done():
            self.answer.set_exception(error)


class JobThreads:
    """At most `most` daemon threads, started when they are needed and kept until the end.

    Jobs begin in their order; with one thread they also end in it.

    Args:
        name: the queue, for errors and as the threads' name.
        most: how many calls may be under way; more wait for a thread.
        interrupt: ends the call under way on a thread, given by its `get_ident()`; softly (True)
            or by force. Only where calls can be ended: then a caller that is cancelled waits for
            what its call still brings.
        end_seconds: how long a cancelled caller, or an end, waits at most.
    """

    def __init__(
        self,
        name: str,
        most: int = 1,
        interrupt: Callable[[int, bool], None] | None = None,
        *,
        end_seconds: float = END_SECONDS,
    ) -> None:
        self._name = name
        self._most = most
        self._interrupt = interrupt
        self._end_seconds = end_seconds
        self._jobs: SimpleQueue[Job[Any]] = SimpleQueue()
        self._under_way: dict[int, Job[Any]] = {}
        self._lock = Lock()
        self._threads: list[Thread] = []
        self._cancellable: set[Job[Any]] = set()
        self._busy = self._ended = 0
        self._last: Job[None] | None = None

    async def run(self, work: Callable[[], ResultT]) -> ResultT:
        """Make a call and await its result; the call is made even if its caller is cancelled.

        Raises:
            TransportError: the threads were ended.
        """
        job = Job(work)
        self._begin(job)
        return await job.answer

    async def run_cancellable(
        self, work: Callable[[], ResultT], give_back: Callable[[ResultT], None]
    ) -> ResultT:
        """Make a call and await its result; undo the call where no caller is left for the result.

        If the caller is cancelled, a call that waits for its turn is not made, and one that is
        under way is interrupted. A result that has come by then is returned all the same.

        Raises:
            TransportError: the threads were ended.
        """
        job = Job(work, give_back)
        self._begin(job)
        self._cancellable.add(job)
        began = monotonic()
        try:
            return await asyncio.shield(job.answer)
        except asyncio.CancelledError:
            job.cancel()
            if self._interrupt is not None:
                with suppress(asyncio.CancelledError):  # a second one only ends the wait
                    # A queue with messages answers at once, and an answer that is cut off hides
                    # them; only a call that has lasted longer can be an idle long poll.
                    await _done_by(job.answer, began + _ANSWERS_SECONDS)
                    await self._wait_for(job, lambda: self._threads_of(job))
            if result := job.leave():
                return result
            raise
        finally:
            self._cancellable.discard(job)

    def give_up(self) -> None:
        """Give back what cancellable calls under way still bring; from any thread."""
        for job in tuple(self._cancellable):
            job.give_up()

    async def aclose(self, last: Callable[[], None] = lambda: None) -> None:
        """Refuse new calls, interrupt those under way, and wait for the threads to end, bounded.

        `last` is called after all jobs, on a thread if there is one.
        """
        job = Job(last)
        with self._lock:
            if self._last is not None:
                return
            self._last = job
            self._jobs.put(job)
        if not self._threads:
            job.run()
        await self._wait_for(job, lambda: list(self._under_way))
        if job.answer.done():
            for thread in self._threads:
                thread.join()
            await job.answer

    async def _wait_for(self, job: Job[Any], threads: Callable[[], Iterable[int]]) -> None:
        """Interrupt again and again: a request may not have been sent at the first time."""
        started = monotonic()
        while not job.answer.done() and (elapsed := monotonic() - started) < self._end_seconds:
            if self._interrupt is not None:
                for thread in threads():
                    self._interrupt(thread, elapsed < _POLITE_SECONDS)
            await asyncio.wait([job.answer], timeout=_LOOK_SECONDS)

    def _threads_of(self, job: Job[Any]) -> list[int]:
        return [thread for thread, each in list(self._under_way.items()) if each is job]

    def _begin(self, job: Job[Any]) -> None:
        with self._lock:
            if self._last is not None:
                raise TransportError(f"{self._name} has been closed: open it again")
            if self._busy >= len(self._threads) and len(self._threads) < self._most:
                self._start()
            self._busy += 1
            self._jobs.put(job)

    def _start(self) -> None:
        # A daemon: a call that never returns must not keep the process from ending.
        thread = Thread(target=self._work, name=self._name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        me = get_ident()
        while (job := self._jobs.get()) is not self._last:
            self._under_way[me] = job
            job.run(self._free)
            del self._under_way[me], job  # else the last result stays alive while this is idle
        self._end(job)

    def _free(self) -> None:
        # Before the caller goes on, who would else find no thread free for its next call.
        with self._lock:
            self._busy -= 1

    def _end(self, last: Job[Any]) -> None:
        """Hand the last job on, so that the last of the threads runs it, after all others."""
        with self._lock:
            self._ended += 1
            is_alone = self._ended == len(self._threads)
        if is_alone:
            last.run()
        else:
            self._jobs.put(last)


async def _done_by(answer: asyncio.Future[Any], ends: float) -> None:
    left = ends - monotonic()
    if left > 0:
        await asyncio.wait([answer], timeout=left)


def result_of(answer: asyncio.Future[ResultT]) -> ResultT | None:
    """Give what an answer has come to; None where there is none, or an error."""
    failed = not answer.done() or answer.cancelled() or answer.exception() is not None
    return None if failed else answer.result()
