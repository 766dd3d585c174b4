"""Carries steps out through one of the SDK's receivers, many at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.settlement.plan import Action
from queue_runtime.transports.base import refused
from queue_runtime.transports.service_bus.errors import is_of_lock, lock_lost, translated
from queue_runtime.transports.service_bus.sdk_internals import settle_by_token
from queue_runtime.transports.service_bus.wire import LONGEST_TEXT, RECEIVED, delayed_copy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from queue_runtime.errors import TransportError
    from queue_runtime.message import Message
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import OutgoingMessage, SendResult

# The SDK would wait a minute for a confirmation.
SETTLE_SECONDS: Final = 15.0


class Settling:
    """How steps are carried out, whichever receiver does it.

    Args:
        queue: the queue's name.
        send: sends copies to where the messages came from.
    """

    def __init__(
        self,
        queue: str,
        send: Callable[[Sequence[OutgoingMessage]], Awaitable[Sequence[SendResult]]],
    ) -> None:
        self._queue = queue
        self._send = send

    async def settle(self, receiver: Any, steps: Sequence[Step]) -> list[SettleFailure]:
        """Settle through `receiver`, all at once: each settlement costs a round trip.

        They are sent in their order, so that the first of a session comes back first.
        """
        refused = await self._send_copies(steps)
        rest = [step for step in steps if id(step.message) not in refused]
        errors = await asyncio.gather(*(self._one(receiver, step) for step in rest))
        return [*refused.values()] + [
            SettleFailure(step.message, error, is_made=step.message.receipt.copied)
            for step, error in zip(rest, errors, strict=True)
            if error is not None
        ]

    async def _one(self, receiver: Any, step: Step) -> TransportError | None:
        message = step.message
        receipt = message.receipt
        if receipt.receiver is not receiver and not receipt.lost:
            receipt.lost = not settle_by_token(receipt.raw, self._queue)
        if receipt.lost:
            return lock_lost(message.id, self._queue)
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._carry_out(receiver, step)
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

    async def _carry_out(self, receiver: Any, step: Step) -> None:
        receipt = step.message.receipt
        if step.action is Action.GIVE_BACK and not receipt.copied:
            await receiver.abandon_message(receipt.raw)
        elif step.facts is not None:
            await receiver.dead_letter_message(
                receipt.raw,
                reason=step.outcome.reason[:LONGEST_TEXT],
                error_description=step.facts.within(LONGEST_TEXT),
            )
        else:  # a message whose copy is on its way is as good as done
            await receiver.complete_message(receipt.raw)

    async def _send_copies(self, steps: Sequence[Step]) -> dict[int, SettleFailure]:
        """Send the copies that stand in for delayed messages, before the originals go."""
        delayed = [
            step.message
            for step in steps
            if step.action is Action.COPY
            and not (step.message.receipt.copied or step.message.receipt.lost)
        ]
        if not delayed:
            return {}
        delays = {id(step.message): step.delay or 0.0 for step in steps}
        copies = [delayed_copy(each, RECEIVED, delays[id(each)]) for each in delayed]
        failures = refused(await self._send(copies))
        for position, message in enumerate(delayed):
            message.receipt.copied = position not in failures
        return {
            id(delayed[at]): SettleFailure(delayed[at], error) for at, error in failures.items()
        }
