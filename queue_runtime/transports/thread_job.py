"""One piece of blocking work on a thread of a transport's own, for a caller on an event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


class Job(Generic[ResultT]):
    """One piece of work, and the agreement on who cleans up after a caller that went away.

    The agreement is made under a lock and without the caller's loop, which may be closed before
    it hears of the result.
    """

    def __init__(
        self, work: Callable[[], ResultT], undo: Callable[[ResultT], None] | None = None
    ) -> None:
        self._work, self._undo = work, undo
        self._lock = Lock()
        self._abandoned = self._withdrawn = False
        self._done: list[ResultT] = []
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[ResultT] = self._loop.create_future()

    def run(self) -> None:
        """Do the work, on the thread that is for it; undo it where its caller has gone.

        Work that is abandoned before is not begun.
        """
        if self._abandoned or self._withdrawn:
            self._tell(self.answer.cancel)
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
            self._tell(self.answer.cancel)  # its caller's loop may only have been held up
        else:
            self._tell(self._accept, result)

    def withdraw(self) -> None:
        """Have it not begun, if it is not; its caller goes on waiting for what has."""
        self._withdrawn = True

    def abandon(self) -> Callable[[], None] | None:
        """Say that nobody waits any more; gives what the thread has still to do about it."""
        with self._lock:
            self._abandoned = True
            if not self._done or self._undo is None:
                return None
            undo, result = self._undo, self._done[0]
            return lambda: undo(result)

    def _tell(self, how: Callable[..., object], *what: object) -> None:
        with suppress(RuntimeError):  # a closed loop: whoever asked is gone
            self._loop.call_soon_threadsafe(how, *what)

    def _accept(self, result: ResultT) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def _refuse(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def result_of(answer: asyncio.Future[ResultT]) -> ResultT | None:
    """Give what an answer has come to; None where there is none, or an error."""
    failed = not answer.done() or answer.cancelled() or answer.exception() is not None
    return None if failed else answer.result()
