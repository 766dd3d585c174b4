"""Defines a message, and a batch of them, as lazy views of the queue service's records."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from queue_runtime.outcome import Outcome, Signal

BodyT = TypeVar("BodyT")
# Of the `of` methods alone: with the class's own, pyright sees a message of an unknown body.
GivenT = TypeVar("GivenT")

_READ_FROM_WIRE = frozenset(
    (
        "id",
        "broker_id",
        "payload",
        "attributes",
        "group_id",
        "correlation_id",
        "delivery_count",
        "enqueued_at",
        "receipt",
    )
)


class Wire(Protocol):
    """Reads one queue service's raw records: a method for each field of `Message`."""

    def id(self, raw: Any, /) -> str:
        """Give the original id where a copy carries one, else the broker's."""

    def broker_id(self, raw: Any, /) -> str:
        """Give the queue service's own id of this copy."""

    def payload(self, raw: Any, /) -> str | bytes:
        """Give the body in the form in which the service sent it.

        It is read before the handler's call, so this is where a message says that it cannot be
        read: its body or anything else of it.

        Raises:
            BodyDecodeError: it is poison, and this message alone.
        """

    def attributes(self, raw: Any, /) -> Mapping[str, Any]:
        """Give the producer's attributes, without those that this library adds to copies."""

    def group_id(self, raw: Any, /) -> str | None:
        """Give the message group or session."""

    def correlation_id(self, raw: Any, /) -> str | None:
        """Give the producer's correlation id."""

    def delivery_count(self, raw: Any, /) -> int:
        """Count this delivery and all earlier ones, those of earlier copies included."""

    def enqueued_at(self, raw: Any, /) -> datetime | None:
        """Give the time of the send in UTC, or None."""

    def receipt(self, raw: Any, /) -> Any:
        """Give the token by which the service settles the message."""

    def dead_letter(self, raw: Any, /) -> DeadLetterRecord | None:
        """Read the failure from a dead-letter entry; None where the record is no such entry."""


class DeadLetterRecord(NamedTuple):
    """Describes why a message was dead-lettered; None for each fact that was not recorded.

    - `reason`: why. `error_type`, `error`: what the handler raised, and its text.
    - `queue`, `handler`: where that was. `deliveries`: how often it had been delivered by then.
    - `failed_at`: when, in ISO 8601.
    """

    reason: str | None = None
    error_type: str | None = None
    error: str | None = None
    queue: str | None = None
    handler: str | None = None
    deliveries: int | None = None
    failed_at: str | None = None


class Message(Generic[BodyT]):
    """One delivery of a message: a view over `native`, each field read on first use and kept.

    - `id`: the identity that survives copies (delayed retry, dead-letter, redrive): the key to
      log, to deduplicate and to search by. `broker_id` is what the queue service calls this copy.
    - `body`: bytes as they came until the body is decoded, then what the handler's annotation says.
      `payload` stays what the queue service sent, `str` or `bytes`.
    - `attributes`: the producer's own: str, int, float or bytes by name.
    - `group_id`: SQS message group or Service Bus session; None where there is none.
    - `delivery_count`: 1 on the first delivery, on every host; earlier copies' attempts included.
    - `enqueued_at`: when the producer's send was accepted, in UTC; None where the service hides it.
    - `queue`: the queue's name. `receipt`: opaque, read only by the transport that gave it.
    - `locked_until`: on the monotonic clock, when a poller's lock or a Lambda invocation ends; else
      infinity.
    - `dead_letter`: why it was dead-lettered, where it is received from a dead-letter queue; None
      elsewhere, also once a redrive has brought it back to the queue where it failed.
    - `decided`: the outcome of a message that must not reach the handler (poison, a duplicate);
      None for all others. Set while it waits for its turn.
    - `opened`: its envelope has been opened, so that the message inside is what the fields tell of.
    - `native`: the service's own record, for what this class does not cover.
    """

    __slots__ = (
        "_wire",
        "attributes",
        "body",
        "broker_id",
        "correlation_id",
        "dead_letter",
        "decided",
        "delivery_count",
        "enqueued_at",
        "group_id",
        "id",
        "locked_until",
        "native",
        "opened",
        "payload",
        "queue",
        "receipt",
    )

    id: str
    broker_id: str
    body: BodyT
    payload: str | bytes
    attributes: Mapping[str, Any]
    group_id: str | None
    correlation_id: str | None
    delivery_count: int
    enqueued_at: datetime | None
    queue: str
    receipt: Any
    locked_until: float
    dead_letter: DeadLetterRecord | None
    decided: Outcome | None
    opened: bool
    native: Any

    def __init__(self, native: Any, wire: Wire, queue: str) -> None:
        self.native = native
        self._wire = wire
        self.queue = queue

    # Hidden from type checkers, which would take every misspelt field for one of these.
    if not TYPE_CHECKING:  # pragma: no branch

        def __getattr__(self, name: str) -> Any:
            # Reached only while the slot is empty, so a field costs its decoding once, and one that
            # nobody reads costs nothing.
            if name == "dead_letter":
                value: Any = _of_another_queue(self._wire.dead_letter(self.native), self.queue)
            elif name in _READ_FROM_WIRE:
                value = getattr(self._wire, name)(self.native)
            elif name == "decided":
                value = None
            elif name == "opened":
                value = False
            elif name == "body":
                payload = self.payload
                value = payload.encode() if isinstance(payload, str) else payload
            elif name == "locked_until":
                value = inf
            else:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            setattr(self, name, value)
            return value

    def __repr__(self) -> str:
        return f"<Message id={self.id!r} queue={self.queue!r} delivery_count={self.delivery_count}>"

    @classmethod
    def of(
        cls,
        body: GivenT,
        *,
        id: str = "message-1",
        queue: str = "queue",
        attributes: Mapping[str, Any] | None = None,
        group_id: str | None = None,
        correlation_id: str | None = None,
        delivery_count: int = 1,
        enqueued_at: datetime | None = None,
    ) -> Message[GivenT]:
        """Make a message around a body that is already decoded, for calling a handler in a test.

        A handler under test never sees a queue, so `payload` is the body where that is str or
        bytes, and empty otherwise.
        """
        message: Message[Any] = cls(None, None, queue)  # type: ignore[arg-type]  # all set here
        message.id = message.broker_id = id
        message.body = body
        message.payload = body if isinstance(body, str | bytes) else b""
        message.attributes = dict(attributes or {})
        message.group_id, message.correlation_id = group_id, correlation_id
        message.delivery_count, message.enqueued_at = delivery_count, enqueued_at
        message.receipt, message.locked_until = None, inf
        message.dead_letter = message.decided = None
        message.opened = False
        return message


def _of_another_queue(record: DeadLetterRecord | None, queue: str) -> DeadLetterRecord | None:
    # A broker's own redrive leaves our attribute on what it brings back to the queue.
    return None if record is None or record.queue == queue else record


class Batch(Sequence[Message[BodyT]]):
    """The messages of one call of a batch handler, in the order in which the queue gave them.

    A batch is never empty when a host makes it. Return None to acknowledge every message that was
    not marked by `fail`; raise to retry every message that was not marked.
    """

    __slots__ = ("_messages", "failures")

    def __init__(self, messages: Iterable[Message[BodyT]]) -> None:
        self._messages = tuple(messages)
        self.failures: dict[int, Exception] = {}

    @classmethod
    def of(cls, *bodies: GivenT) -> Batch[GivenT]:
        """Make a batch of decoded bodies with ids `message-1`, `message-2`… for use in a test."""
        messages = (Message.of(body, id=f"message-{n}") for n, body in enumerate(bodies, start=1))
        made: Batch[Any] = cls(messages)  # type: ignore[arg-type]  # of what was given
        return made

    def fail(self, message: Message[BodyT], error: Exception | type[Signal]) -> None:
        """Mark one message as failed, with an exception or a signal that decides its outcome.

        The message object is looked up by its position, since ids can be missing or repeated. The
        last call for a message counts.

        Raises:
            ValueError: the message is not of this batch.
            TypeError: the error is neither an exception nor one of the signals.
        """
        position = self._position(message)
        failure = error() if isinstance(error, type) else error
        if not isinstance(failure, Exception):
            raise TypeError(
                f"fail() takes an exception or a signal for message {message.id!r}, "
                f"not {type(error).__name__}"
            )
        self.failures[position] = failure

    def _position(self, message: Message[BodyT]) -> int:
        for position, candidate in enumerate(self._messages):
            if candidate is message:
                return position
        raise ValueError("fail() was given a message that is not of this batch")

    @overload
    def __getitem__(self, index: int) -> Message[BodyT]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message[BodyT]]: ...
    def __getitem__(self, index: int | slice) -> Message[BodyT] | Sequence[Message[BodyT]]:
        return self._messages[index]

    def __len__(self) -> int:
        return len(self._messages)

    def __repr__(self) -> str:
        return f"<Batch of {len(self._messages)} messages, {len(self.failures)} marked>"
