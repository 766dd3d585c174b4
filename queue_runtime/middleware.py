"""Defines the two kinds of middleware as Protocols, and the types of the functions they call."""

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
    """Surrounds the handling of all messages that arrived together.

    Returns one outcome for each message, in their order; messages need not be passed on.
    A middleware that never suspends sets `blocking = True`, so that it runs without an event loop.
    """

    async def __call__(self, messages: Messages, call_next: Process, /) -> Sequence[Outcome]:
        """Give the outcome of each message, in their order."""


class CallMiddleware(Protocol):
    """Surrounds each call of the handler: one message, or all of a batch handler's.

    The same rules as for `DeliveryMiddleware`.
    """

    async def __call__(self, messages: Messages, call_next: Process, /) -> Sequence[Outcome]:
        """Give the outcome of each message of one call, in their order."""


class Around(Protocol):
    """Surrounds every call of a handler and changes no outcome: spans, times, log fields."""

    def one(self, run: Run, /) -> Run:
        """Surround the call for one message."""

    def batch(self, run: RunBatch, /) -> RunBatch:
        """Surround the call for a batch."""
