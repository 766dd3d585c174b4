"""Names span attributes: by OpenTelemetry, by the operations guide, or by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from queue_runtime.printable import bounded, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queue_runtime.message import Message

Semconv: TypeAlias = Literal["current", "guide", "both"]

_TYPES: Final = {
    "send": "send",
    "receive": "receive",
    "process": "process",
    "session": "process",
    "complete": "settle",
    "abandon": "settle",
    "dead_letter": "settle",
}
_GUIDE_SYSTEMS: Final = {"servicebus": "azure_service_bus"}


class SpanPlace(NamedTuple):
    """Tells a queue's server and topic for spans; None for what is not known yet.

    - `server`: the host that is asked. `topic`, `subscription`: where the queue is a subscription.
    """

    server: str | None = None
    topic: str | None = None
    subscription: str | None = None


class Names:
    """The attributes of one system's spans, by one choice of names.

    They follow https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ (1.44).

    Args:
        system: what OpenTelemetry calls the queue service.
        semconv: whose names.
        place: tells where the queue is, when the first span of an operation asks.
    """

    def __init__(
        self,
        system: str,
        semconv: Semconv = "current",
        place: Callable[[], SpanPlace | None] = lambda: None,
    ) -> None:
        self.system = system
        self._place = place
        self._current = semconv != "guide"
        self._guide = semconv != "current"
        self._kept: dict[tuple[str, str], Mapping[str, Any]] = {}

    def of_operation(self, operation: str, queue: str) -> Mapping[str, Any]:
        """Give what all spans of an operation on a queue have; not to be changed."""
        kept = self._kept.get((operation, queue))
        if kept is None:
            kept = self._kept[operation, queue] = self._of_operation(operation, queue)
        return kept

    def with_message(self, operation: Mapping[str, Any], message: Message[Any]) -> dict[str, Any]:
        """Give the same, and what tells one message from others."""
        found = dict(operation)
        if self._current:
            found["messaging.message.id"] = printable(message.id)
            if message.correlation_id is not None:
                found["messaging.message.conversation_id"] = printable(message.correlation_id)
            if self.system == "servicebus":
                count = bounded(message.delivery_count)
                found["messaging.servicebus.message.delivery_count"] = count
        if self._guide:
            found["messaging.message_id"] = printable(message.id)
            if message.group_id is not None:
                found["messaging.conversation_id"] = printable(message.group_id)
        return found

    def _of_operation(self, operation: str, queue: str) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        if self._guide:
            found |= {
                "messaging.system": _GUIDE_SYSTEMS.get(self.system, self.system),
                "messaging.destination": queue,
                "messaging.operation": operation,
            }
        if self._current:
            found |= {
                "messaging.system": self.system,
                "messaging.destination.name": queue,
                "messaging.operation.name": operation,
                "messaging.operation.type": _TYPES[operation],
            }
            if self.system == "servicebus" and _TYPES[operation] == "settle":
                found["messaging.servicebus.disposition_status"] = operation
            found |= _of_place(self._place())
        return found


def _of_place(place: SpanPlace | None) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    if place is not None and place.server:
        found["server.address"] = place.server
    if place is not None and place.subscription:
        found["messaging.destination.name"] = place.topic
        found["messaging.destination.subscription.name"] = place.subscription
    return found
