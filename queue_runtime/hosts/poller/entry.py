"""One message that the poller holds, from its receive until its settlement is confirmed."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future, Task

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


class Entry:
    """A held message and what goes on with it.

    - `lost`: its lock ended, so whatever comes of it must not be acknowledged.
    - `answered`: its outcome is decided; one that comes later counts no more.
    - `task`: what runs its handler, where that is async.
    - `answer`: who waits for its outcome, where a delivery middleware does.
    """

    __slots__ = ("answer", "answered", "lost", "message", "task")

    def __init__(self, message: Message[Any]) -> None:
        self.message = message
        self.lost = self.answered = False
        self.task: Task[None] | None = None
        self.answer: Future[Outcome] | None = None

    def stale(self) -> bool:
        """Tell whether the message is not ours any more: it must neither run nor be settled."""
        return self.lost or self.message.locked_until <= monotonic()
