"""The two seams around a handler, as Protocols, and the shapes of what is called through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

from queue_runtime.message import Message
from queue_runtime.outcome import Outcome

Messages: TypeAlias = Sequence[Message[Any]]
Process: TypeAlias = Callable[[Messages], Coroutine[Any, Any, Sequence[Outcome]]]
# How one message, or one batch, gets its outcome.
Run: TypeAlias = Callable[[Message[Any]], Awaitable[Outcome]]
RunBatch: TypeAlias = Callable[[Messages], Coroutine[Any, Any, Sequence[Outcome]]]


class DeliveryMiddleware(Protocol):
    """What happens once for all messages that a host hands over together.

    Give back one outcome for each message, in their order; messages need not be passed on.
    A middleware that never suspends says `blocking = True`, so that no event loop is needed for it.
    """

    async def __call__(self, messages: Messages, call_next: Process, /) -> Sequence[Outcome]:
        """Answer for all messages."""


class CallMiddleware(Protocol):
    """What happens once for each call of the handler: one message, or all of a batch handler's.

    The same rules as for `DeliveryMiddleware`.
    """

    async def __call__(self, messages: Messages, call_next: Process, /) -> Sequence[Outcome]:
        """Answer for the messages of one call."""


class Around(Protocol):
    """What surrounds every call of a handler and changes no outcome: spans, times, log fields."""

    def one(self, run: Run, /) -> Run:
        """Surround the call for one message."""

    def batch(self, run: RunBatch, /) -> RunBatch:
        """Surround the call for a batch."""
