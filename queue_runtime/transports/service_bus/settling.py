"""Carries outcomes out through one of the SDK's receivers, many at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.observability.events import events
from queue_runtime.outcome import Disposition
from queue_runtime.settlement.lineage import dead_letter_facts
from queue_runtime.transports.base import SettleFailure
from queue_runtime.transports.service_bus.errors import is_of_lock, lock_lost, translated
from queue_runtime.transports.service_bus.receiver import POLLED
from queue_runtime.transports.service_bus.wire import delayed_copy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from queue_runtime.errors import TransportError
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import OutgoingMessage, SendFailure, Settlement

# The SDK would wait a minute for a confirmation.
SETTLE_SECONDS: Final = 15.0
# The service takes no longer reason or description.
_LONGEST: Final = 4096


class Settling:
    """How outcomes are carried out, whichever receiver does it.

    Args:
        queue: the queue's name.
        handler: the handler's name, for dead-letter entries.
        error_text: whether an exception's own text may be in them.
        send: sends copies to where the messages came from.
        always_delayed: delay every retry with backoff, not only where the author named a delay.
        no_copies: why a message of this source cannot be copied; empty where it can.
    """

    def __init__(
        self,
        queue: str,
        *,
        handler: str,
        error_text: bool,
        send: Callable[[Sequence[OutgoingMessage]], Awaitable[Sequence[SendFailure]]],
        always_delayed: bool,
        no_copies: str,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._error_text = error_text
        self._send = send
        self._always_delayed = always_delayed
        self._no_copies = no_copies

    async def settle(self, receiver: Any, settlements: Sequence[Settlement]) -> list[SettleFailure]:
        """Settle through `receiver`, all at once: each settlement costs a round trip.

        They are sent in their order, so that the first of a session comes back first.
        """
        await self._send_copies(settlements)
        errors = await asyncio.gather(
            *(self._one(receiver, message, outcome) for message, outcome in settlements)
        )
        return [
            SettleFailure(message, error)
            for (message, _), error in zip(settlements, errors, strict=True)
            if error is not None
        ]

    async def _one(
        self, receiver: Any, message: Message[Any], outcome: Outcome
    ) -> TransportError | None:
        receipt = message.receipt
        if receipt.lost:
            return lock_lost(message.id, self._queue)
        if receipt.receiver is not receiver:
            # Its link is gone: the SDK settles by request, by the lock token, what was deferred.
            receipt.raw._is_deferred_message = True
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._carry_out(receiver, message, outcome)
        except Exception as error:
            return self._failure(message, error)
        return None

    def _failure(self, message: Message[Any], error: Exception) -> TransportError | None:
        from azure.servicebus.exceptions import MessageAlreadySettled

        if isinstance(error, MessageAlreadySettled):
            return None
        if is_of_lock(error):
            message.receipt.lost = True
            return lock_lost(message.id, self._queue)
        why = translated(error, self._queue)
        return type(why)(f"message {message.id} of {why}")

    async def _carry_out(self, receiver: Any, message: Message[Any], outcome: Outcome) -> None:
        receipt = message.receipt
        if outcome.disposition is Disposition.ACK or receipt.copied:
            await receiver.complete_message(receipt.raw)
        elif outcome.disposition is Disposition.RETRY:
            await receiver.abandon_message(receipt.raw)
        else:
            await receiver.dead_letter_message(
                receipt.raw,
                reason=outcome.reason[:_LONGEST],
                error_description=self._facts(message, outcome),
            )

    def _facts(self, message: Message[Any], outcome: Outcome) -> str:
        facts = dead_letter_facts(
            message, outcome, handler=self._handler, error_text=self._error_text
        )
        return next((text for text in facts if len(text) <= _LONGEST), "")

    async def _send_copies(self, settlements: Sequence[Settlement]) -> None:
        """Send the copies that stand in for delayed messages, before the originals go."""
        delayed = [
            (message, outcome.delay or 0.0)
            for message, outcome in settlements
            if self._is_delayed(message, outcome)
        ]
        if not delayed:
            return
        copies = [delayed_copy(message, POLLED, delay) for message, delay in delayed]
        failures = {failure.position: failure.error for failure in await self._send(copies)}
        for position, (message, _) in enumerate(delayed):
            if position not in failures:
                message.receipt.copied = True
                continue
            text = "could not be delayed and comes back at once: %s"
            events.warning(message, "abandon", text, failures[position])

    def _is_delayed(self, message: Message[Any], outcome: Outcome) -> bool:
        if outcome.disposition is not Disposition.RETRY or not outcome.delay:
            return False
        if not (outcome.asked or self._always_delayed):
            return False
        if self._no_copies:
            events.say_once(self._queue, "delayed_retry", self._no_copies)
            return False
        return not (message.receipt.copied or message.receipt.lost)
