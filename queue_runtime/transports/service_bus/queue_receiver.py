"""Receives from a queue or subscription without sessions, over one connection."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import TransportError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.transports.service_bus.errors import (
    is_of_connection,
    is_of_lock,
    lock_lost,
    translated,
)
from queue_runtime.transports.service_bus.receiver import (
    SHORTEST_POLL,
    as_message,
    close_receiver,
    open_receiver,
)
from queue_runtime.transports.service_bus.sdk_internals import keep_arrivals
from queue_runtime.transports.service_bus.turns import Turns, make_interruptible, revoke_credit
from queue_runtime.transports.threads import result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.service_bus.receiver import LockClock
    from queue_runtime.transports.service_bus.settling import Settling

RENEW_SECONDS: Final = 10.0
# A connection that has gone silent looks like a queue that is empty, and the SDK never asks.
PROBE_SECONDS: Final = 60.0


class QueueLink:
    """One receiver after another on one queue, all of them on the transport's loop.

    Args:
        queue: the queue's name.
        make_receiver: makes one of the SDK's receivers.
        settling: how outcomes are carried out.
        clock: translates lock ends.
    """

    def __init__(
        self,
        queue: str,
        make_receiver: Callable[[], Any],
        settling: Settling,
        clock: LockClock,
    ) -> None:
        self._queue = queue
        self._make_receiver = make_receiver
        self._settling = settling
        self._clock = clock
        self._receiver: Any = None
        self._turns = Turns()
        self._longest_poll = 0.0
        self._one_receive = asyncio.Lock()
        self._one_opening = asyncio.Lock()
        self._closings: set[asyncio.Task[None]] = set()
        self._closed = False
        self._heard_at = monotonic()
        self.waiting = 0

    async def receive(self, limit: int, wait: float) -> list[Message[Any]]:
        """See `Transport.receive`; one call at a time, the others wait for their turn."""
        deadline = monotonic() + wait
        self.waiting += 1
        try:
            async with self._one_receive:
                return await self._look(limit, deadline)
        finally:
            self.waiting -= 1

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """See `Transport.settle`."""
        receiver = await self._opened()
        async with self._turns.request():
            failures = await self._settling.settle(receiver, steps)
        if any(type(failure.error) is TransportError for failure in failures):
            self._replace(receiver)
        return failures

    async def renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        """See `Transport.renew`; a request for each message, all of them under way together."""
        receiver = await self._opened()
        async with self._turns.request():
            errors = await asyncio.gather(*(self._renew_one(receiver, each) for each in messages))
        failures = [
            SettleFailure(message, error)
            for message, error in zip(messages, errors, strict=True)
            if error is not None
        ]
        if any(type(failure.error) is TransportError for failure in failures):
            self._replace(receiver)
        return failures

    async def peek(self, limit: int, start: int) -> list[Any]:
        """Look at messages from a sequence number on, whatever their state; none is locked."""
        receiver = await self._opened()
        try:
            async with self._turns.request():
                peeked: list[Any] = await receiver.peek_messages(limit, sequence_number=start)
        except Exception as error:
            self._replace(receiver)
            raise translated(error, self._queue) from error
        return peeked

    async def close(self) -> None:
        """End a receive under way, and let go of the connection."""
        self._closed = self._turns.ending = True
        async with self._one_receive:
            if self._receiver is not None:
                self._replace(self._receiver)
        if self._closings:
            await asyncio.wait(self._closings)

    # --- receiving -------------------------------------------------------------------------------

    async def _look(self, limit: int, deadline: float) -> list[Message[Any]]:
        replaceable = self._receiver is not None
        while not self._closed:
            receiver = await self._opened()
            try:
                await self._probe(receiver)
                messages = await self._poll(receiver, limit, deadline)
            except Exception as error:
                self._replace(receiver)
                # The service ends links that were idle for ten minutes, which is no news.
                if not replaceable or not is_of_connection(error):
                    raise translated(error, self._queue) from error
                replaceable = False
                continue
            if messages or monotonic() >= deadline:
                return messages
        return []

    async def _probe(self, receiver: Any) -> None:
        """Make sure of an answer, where there was none for a while."""
        if monotonic() - self._heard_at < PROBE_SECONDS:
            return
        async with self._turns.request():
            await receiver.peek_messages(1, timeout=RENEW_SECONDS)
        self._heard_at = monotonic()

    async def _poll(self, receiver: Any, limit: int, deadline: float) -> list[Message[Any]]:
        """Poll once. The SDK's call is never cancelled, but ended, and what it brings is given."""
        poll = asyncio.ensure_future(self._poll_alone(receiver, limit, deadline))
        try:
            return await asyncio.shield(poll)
        except asyncio.CancelledError:
            self._turns.ending = True
            try:
                await asyncio.wait([poll])
            finally:
                self._turns.ending = self._closed
            if messages := result_of(poll):
                return messages
            if poll.exception() is not None:
                self._replace(receiver)
            raise

    async def _poll_alone(self, receiver: Any, limit: int, deadline: float) -> list[Message[Any]]:
        async with self._turns.poll():
            seconds = min(max(deadline - monotonic(), SHORTEST_POLL), self._longest_poll)
            raws = await receiver.receive_messages(limit, max_wait_time=seconds)
        if raws:
            self._heard_at = monotonic()
        messages = self._locked(raws, receiver)
        over = messages or self._turns.ending or monotonic() >= deadline
        if not over:
            keep_arrivals(receiver, keep=True)
        elif len(raws) < limit:
            await revoke_credit(receiver)
        return messages

    def _locked(self, raws: Sequence[Any], receiver: Any) -> list[Message[Any]]:
        messages = []
        for raw in raws:
            until = self._clock.until(raw.locked_until_utc)
            message = as_message(raw, receiver, self, self._queue, until)
            if until > monotonic():
                messages.append(message)
            else:
                self._stale(message)
        return messages

    def _stale(self, message: Message[Any]) -> None:
        metrics.LOCKS_LOST.add(1, self._queue)
        events.say_once(
            self._queue,
            "stale_lock",
            f"message {message.id} came with a lock that is over, and is delivered again: this "
            "process is too busy, or its clock is ahead of the service's",
        )

    # --- the receiver ----------------------------------------------------------------------------

    async def _opened(self) -> Any:
        async with self._one_opening:
            if self._receiver is None:
                receiver = self._make_receiver()
                await open_receiver(receiver, self._queue)
                self._longest_poll = make_interruptible(receiver, self._turns.is_wanted)
                self._heard_at = monotonic()
                self._receiver = receiver
            return self._receiver

    def _replace(self, receiver: Any) -> None:
        """Let the next call open another receiver."""
        if self._receiver is receiver:
            self._receiver = None
            task = asyncio.ensure_future(close_receiver(receiver))
            self._closings.add(task)
            task.add_done_callback(self._closings.discard)

    async def _renew_one(self, receiver: Any, message: Message[Any]) -> TransportError | None:
        receipt = message.receipt
        if receipt.lost:
            return lock_lost(message.id, self._queue)
        try:
            end = await receiver.renew_message_lock(receipt.raw, timeout=RENEW_SECONDS)
        except Exception as error:
            if is_of_lock(error):
                receipt.lost = True
                return lock_lost(message.id, self._queue)
            return translated(error, self._queue)
        message.locked_until = self._clock.until(end)
        return None
