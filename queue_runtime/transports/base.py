"""The whole contract between a queue service and what is above it, and nothing of what is decided.

docs/transports/your-own.md is written for people who implement it elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.settlement.plan import Abilities, Action, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.errors import TransportError
    from queue_runtime.message import Message
    from queue_runtime.observability.span_attributes import SpanPlace

# All that a transport is written with.
__all__ = [
    "Abilities",
    "Action",
    "CountsSessions",
    "Depth",
    "GivesUpReceives",
    "OutgoingMessage",
    "Purges",
    "SendResult",
    "SettleFailure",
    "Step",
    "Transport",
    "refused",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A message to send.

    - `body`: bytes or text, sent as it is.
    - `attributes`: str, int, float or bytes by name.
    - `group_id`: message group or session; needed on ordered queues.
    - `deduplication_id`: what the queue recognises a repeated send by, where it can.
    - `delay`: seconds until it may be received.
    - `native`: what only one service has, by the name that its SDK gives it.
    """

    body: str | bytes = field(repr=False)  # which must not reach a log
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    group_id: str | None = None
    correlation_id: str | None = None
    deduplication_id: str | None = None
    delay: float = 0.0
    native: Mapping[str, Any] = field(default_factory=dict, repr=False)


class SendResult(NamedTuple):
    """The answer to one message of a send.

    - `broker_id`: the queue service's id of what was sent; None where nothing was, or where the
      service does not tell it (local: a repeated `deduplication_id`).
    - `error`: why it was not accepted; None where it was.
    """

    broker_id: str | None = None
    error: TransportError | None = None


def refused(results: Sequence[SendResult]) -> dict[int, TransportError]:
    """Give the errors of a send by the positions of its messages; empty where all was accepted."""
    return {at: each.error for at, each in enumerate(results) if each.error is not None}


class Depth(NamedTuple):
    """How much is in a queue, as far as its service tells; most services tell it approximately.

    - `visible`: could be received now. `in_flight`: locked by somebody; 0 where the service counts
      these among the visible. `delayed`: not due yet.
    - `dead_lettered`: in its dead-letter queue; None where it has none or cannot be asked.
    - `oldest_seconds`: age of the oldest message that waits; None where the service hides it.
    """

    visible: int
    in_flight: int
    delayed: int
    dead_lettered: int | None = None
    oldest_seconds: float | None = None

    @property
    def backlog(self) -> int:
        """Everything that is to be done now."""
        return self.visible + self.in_flight

    @property
    def total(self) -> int:
        """Everything that is still to be done."""
        return self.backlog + self.delayed

    def as_dict(self) -> dict[str, Any]:
        """Give all figures by the one name that each has, wherever it is shown."""
        return {**self._asdict(), "backlog": self.backlog, "total": self.total}


@runtime_checkable
class GivesUpReceives(Protocol):
    """A transport whose receives can be given up while the event loop that awaits them is held."""

    def give_up_receives(self) -> None:
        """Give back whatever receives that are under way still bring; from any thread."""


class Transport(Protocol):
    """One queue of one service.

    Batch-shaped and dumb: a call makes one attempt and reports what failed, entry by entry; when to
    try again is decided above. Calls may be made from any event loop and thread, and at the same
    time; a cancelled `receive` strands no message: what it had already locked is given back, or
    given to its caller all the same.

    A whole request that fails raises a TransportError: `QueueNotFoundError`, `AccessDeniedError`,
    or TransportError itself for what may pass by itself.
    """

    @property
    def system(self) -> str:
        """The queue service, by OpenTelemetry's name: `messaging.system` of every span.

        The names are listed in https://opentelemetry.io/docs/specs/semconv/registry/attributes/messaging/;
        a service that is not listed there has one of its own.
        """

    @property
    def place(self) -> SpanPlace | None:
        """Where the queue is, for spans, as far as that is known by now; None shows nothing."""

    @property
    def queue(self) -> str:
        """The queue's name, as logs and metrics show it."""

    @property
    def ordered(self) -> bool:
        """Whether messages of a group must be settled in the order in which they came."""

    @property
    def lock_seconds(self) -> float:
        """How long a receive or a renewal locks a message."""

    @property
    def batch_size(self) -> int:
        """How many messages one request of the service takes or gives at most."""

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        """Lock and give at most `limit` messages; the first one is waited for `wait` seconds.

        Each has `locked_until`, on the monotonic clock. Never more than the service gives at once;
        none when the wait is over.
        """

    @property
    def abilities(self) -> Abilities:
        """How this queue delays and dead-letters; steps are planned by it."""

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        """Carry steps out, one for each message, and name those that failed.

        A message whose lock has ended gives a LockLostError. One that could not be dead-lettered
        is still locked, and comes back when its lock ends unless it is settled otherwise. A step
        that is repeated after it failed makes no second copy or dead-letter.
        """

    async def renew(self, messages: Sequence[Message[Any]]) -> Sequence[SettleFailure]:
        """Lock messages for another `lock_seconds` from now, moving their `locked_until`."""

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        """Send messages in their order, in as few requests as the service allows.

        Gives one result for each message, in the order of the messages.
        """

    async def depth(self) -> Depth:
        """Count what is in the queue."""

    async def aclose(self) -> None:
        """Release connections and threads; calls under way are ended, and later ones refused."""


@runtime_checkable
class CountsSessions(Protocol):
    """A transport that counts sessions itself, as its service opens and ends them.

    For all others on ordered queues, the poller counts each run of a group as a session.
    """

    @property
    def counts_sessions(self) -> bool:
        """Whether it does on this queue."""


@runtime_checkable
class Purges(Protocol):
    """A transport that can empty its queue."""

    async def purge(self) -> int:
        """Remove everything from the queue, locked or not, and give how much it was."""
