"""Long polls: receives that wait for a message, woken by effects, by time and by clock jumps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.brokers.sqs.errors import SqsError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tests.brokers.sqs.messages import Message
    from tests.brokers.sqs.queues import Queue

    Receive = Callable[[], list[Message]]


@dataclass(slots=True, eq=False)
class _Waiter:
    receive: Receive
    deadline: float
    future: asyncio.Future[list[Message]]


@dataclass(slots=True, eq=False)
class _Line:
    """The receives that wait on one queue, first come first served."""

    queue: Queue
    waiters: deque[_Waiter] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class LongPolls:
    """Serves waiting receives on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    def wait(self, queue: Queue, receive: Receive, seconds: float) -> asyncio.Future[list[Message]]:
        """What `receive` gives as soon as it gives something, else nothing at the deadline.

        Who cancels the future gets no message.
        """
        line = self._lines.setdefault(queue.name, _Line(queue))
        waiter = _Waiter(receive, self._clock() + seconds, self._loop.create_future())
        line.waiters.append(waiter)
        self._set_timer(line)
        return waiter.future

    def serve(self, queue: Queue) -> None:
        """Look whether a waiting receive can be answered now."""
        if line := self._lines.get(queue.name):
            self._serve(line)

    def serve_all(self) -> None:
        for line in tuple(self._lines.values()):
            self._serve(line)

    def close(self) -> None:
        for line in self._lines.values():
            if line.timer:
                line.timer.cancel()
        self._lines.clear()

    def _serve(self, line: _Line) -> None:
        while line.waiters and self._answer(line.waiters[0]):
            line.waiters.popleft()
        now = self._clock()
        for waiter in tuple(line.waiters):
            if waiter.deadline <= now and not waiter.future.done():
                waiter.future.set_result([])
            if waiter.future.done():
                line.waiters.remove(waiter)
        self._set_timer(line)

    def _answer(self, waiter: _Waiter) -> bool:
        if waiter.future.done():
            return True
        try:
            messages = waiter.receive()
        except SqsError as error:
            waiter.future.set_exception(error)
            return True
        if messages:
            waiter.future.set_result(messages)
        return bool(messages)

    def _set_timer(self, line: _Line) -> None:
        if line.timer:
            line.timer.cancel()
            line.timer = None
        if line.waiters:
            first = min(line.queue.next_due(), *(waiter.deadline for waiter in line.waiters))
            delay = max(0.0, first - self._clock())
            line.timer = self._loop.call_later(delay, self._serve, line)
