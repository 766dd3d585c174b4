"""Delays a message by a scheduled copy, since Service Bus cannot give one back for later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from queue_runtime.observability.events import events
from queue_runtime.outcome import Disposition
from queue_runtime.transports.service_bus.wire import delayed_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import OutgoingMessage, SendFailure
    from queue_runtime.transports.service_bus.wire import ServiceBusWire


class Sends(Protocol):
    """Whatever sends messages to the queue that they came from, and waits for it."""

    def send_now(self, messages: Sequence[OutgoingMessage], /) -> Sequence[SendFailure]:
        """Send, and name what was not accepted."""


class DelayedCopies:
    """Decides which messages are delayed by a copy, and sends the copies.

    Args:
        queue: the queue's name, for the log.
        make_sender: makes the sender, when the first copy is needed.
        always: for every retry with backoff too, not only where the author named a delay.
        refused: why this source's messages cannot be copied, if so.
    """

    def __init__(
        self,
        queue: str,
        make_sender: Callable[[], Sends],
        *,
        always: bool = False,
        refused: str = "",
    ) -> None:
        self._queue = queue
        self._make_sender = make_sender
        self._sender: Sends | None = None
        self._always = always
        self._refused = refused

    def wanted(self, outcome: Outcome) -> bool:
        """Whether a message is to be delayed; where that is refused, it is said here."""
        if outcome.disposition is not Disposition.RETRY or not outcome.delay:
            return False
        if not (outcome.asked or self._always):
            return False
        if self._refused:
            events.say_once(self._queue, "delayed_retry", self._refused)
            return False
        return True

    def send(
        self,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        wire: ServiceBusWire,
    ) -> list[bool]:
        """Send a copy of each message, and tell which were accepted."""
        sent = [True] * len(messages)
        for at, why in self._failures(messages, outcomes, wire).items():
            sent[at] = False
            text = "could not be delayed and comes back at once: %s"
            events.warning(messages[at], "abandon", text, why)
        return sent

    def _failures(
        self,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        wire: ServiceBusWire,
    ) -> dict[int, Exception]:
        try:
            if self._sender is None:
                self._sender = self._make_sender()
            copies = [
                delayed_copy(message, wire, outcome.delay or 0.0)
                for message, outcome in zip(messages, outcomes, strict=True)
            ]
            return {failure.position: failure.error for failure in self._sender.send_now(copies)}
        except Exception as error:  # without a copy the original is given back: nothing is lost
            return dict.fromkeys(range(len(messages)), error)
