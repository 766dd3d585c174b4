"""One message that the poller holds, from its receive until its settlement is confirmed."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future, Task
    from contextvars import Context

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


class HeldMessage:
    """A held message and what goes on with it.

    - `lost`: its lock ended, so whatever comes of it must not be acknowledged.
    - `answered`: its outcome is decided; one that comes later counts no more.
    - `handed_over`: its outcome is the settler's, so that no second one can be.
    - `released`: it is settled, or lost, and not held any more.
    - `started`: when its handler was called, on the monotonic clock; infinity before.
    - `task`: what runs its handler, where that is async.
    - `answer`: takes its outcome, where a delivery middleware waits for it.
    - `context`: what its handler's context variables start from, where a middleware set some.
    """

    __slots__ = (
        "answer",
        "answered",
        "context",
        "handed_over",
        "lost",
        "message",
        "released",
        "started",
        "task",
    )

    def __init__(self, message: Message[Any]) -> None:
        self.message = message
        self.lost = self.answered = self.handed_over = self.released = False
        self.started = inf
        self.task: Task[Outcome] | None = None
        self.answer: Future[Outcome] | None = None
        self.context: Context | None = None

    def stale(self) -> bool:
        """Tell whether the message is not ours any more: it must neither run nor be settled."""
        return self.lost or self.message.locked_until <= monotonic()

    def lose(self) -> None:
        """Cancel the work on a message whose lock has ended; on the event loop only."""
        if self.lost:
            return
        self.lost = True
        if self.task is not None:
            self.task.cancel("the message's lock was lost")
