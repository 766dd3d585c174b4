"""SQS: standard and FIFO queues, over the AWS SDK on threads of the transport's own."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeVar

from queue_runtime.clouds.aws_sqs import SqsClients
from queue_runtime.observability.span_attributes import SpanPlace
from queue_runtime.settlement.plan import Abilities, Action
from queue_runtime.transports.sqs.address import read_address
from queue_runtime.transports.sqs.batch_calls import LARGEST_BATCH
from queue_runtime.transports.sqs.queue import SqsQueue
from queue_runtime.transports.threads import JobThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.message import Message
    from queue_runtime.settlement.failures import SettleFailure
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import (
        Depth,
        OutgoingMessage,
        SendResult,
    )
    from queue_runtime.transports.sqs.address import SqsAddress
    from queue_runtime.transports.sqs.queue import Clock

EachT = TypeVar("EachT")

# More make nothing faster: a core's worth of the SDK is used up before.
_RECEIVES: Final = 8
_CALLS: Final = 8
_PAUSE_SECONDS: Final = 1.0


def open_sqs(url: str, settings: Settings, handler: str = "") -> SqsTransport:
    """Open the queue that a URL names; SQS is first asked when the queue is first used.

    Raises:
        QueueNotFoundError: the URL names no SQS queue.
    """
    return SqsTransport(read_address(url), settings)


class SqsTransport:
    """One SQS queue; found and checked at its first use.

    Args:
        address: which queue.
        settings: locks, dead-letter queue and region.
        clock: what tells the time; tests have one that they move.
    """

    system = "aws_sqs"
    abilities = Abilities()

    def __init__(self, address: SqsAddress, settings: Settings, *, clock: Clock = time) -> None:
        region = address.region or settings.aws_region
        self._clients = SqsClients(region, endpoint_url=address.endpoint_url)
        self._queue = SqsQueue(address, self._clients, settings=settings, clock=clock)
        self.queue, self.ordered = self._queue.name, self._queue.ordered
        self.lock_seconds: float = self._queue.lock_seconds
        self.batch_size = LARGEST_BATCH
        name = f"SQS queue {self.queue}"
        self._receives = JobThreads(name, _RECEIVES, self._clients.interrupt)
        self._calls = JobThreads(name, _CALLS)
        self._closing = False

    @property
    def place(self) -> SpanPlace:
        """Give the queue's server, once the queue was found."""
        return SpanPlace(self._queue.server)

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        """Lock and give at most `limit` messages, and at most 10; see `Transport.receive`.

        `wait` is made of long polls of at most 20 s, in whole seconds.
        """
        limit, deadline = min(limit, self.batch_size), time.monotonic() + wait
        left = wait
        while limit > 0:
            seconds = min(ceil(left), self._queue.longest_poll())
            started = time.monotonic()
            messages = await self._receives.run_cancellable(
                partial(self._poll, limit, seconds), self._give_back
            )
            left = deadline - time.monotonic()
            if messages or left <= 0 or self._closing:
                return messages
            if time.monotonic() - started < seconds / 2:
                # It did not wait, as it does at its limit of messages in flight.
                await asyncio.sleep(min(left, _PAUSE_SECONDS))
        return []

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        """Carry steps out in requests of ten, side by side; see `Transport.settle`."""
        failures: list[SettleFailure] = []
        deletes: list[Message[Any]] = []
        retries: list[tuple[Message[Any], float]] = []
        dead: list[Step] = []
        for step in steps:
            message = step.message
            stale = self._queue.stale(message)
            if stale is not None:
                failures.append(stale)
            elif step.action is Action.ACKNOWLEDGE or self._queue.is_copied(message):
                deletes.append(message)
            elif step.action is Action.DEAD_LETTER:
                dead.append(step)
            elif step.delay is not None:  # else it is left to the end of its lock
                retries.append((message, step.delay))
        works = [
            *self._in_tens(self._queue.delete, deletes),
            *self._in_tens(self._queue.retry, retries),
            *self._in_tens(self._queue.dead_letter, dead),
        ]
        return failures + await self._run_all(works)

    async def renew(self, messages: Sequence[Message[Any]]) -> Sequence[SettleFailure]:
        """Lock messages anew, for 12 hours since their receive at most; see `Transport.renew`."""
        return await self._run_all(self._in_tens(self._queue.renew, messages))

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        """Send messages in requests of ten or 1 MiB; see `Transport.send`.

        A delay is 900 s at most. On a FIFO queue that does not deduplicate by content, a message
        without a `deduplication_id` gets one of its own.
        """
        return await self._calls.run(partial(self._queue.send, messages))

    async def depth(self) -> Depth:
        """Count what is in the queue, approximately, as SQS does."""
        return await self._calls.run(self._queue.depth)

    def give_up_receives(self) -> None:
        """Give back what receives under way still bring; see `GivesUpReceives`."""
        self._closing = True
        self._receives.give_up()

    async def aclose(self) -> None:
        """End long polls, whose messages still reach their callers, and then the threads."""
        self._closing = True
        await self._receives.aclose()
        await self._calls.aclose()
        self._clients.close()

    def _poll(self, limit: int, seconds: int) -> list[Message[Any]]:
        if self._closing:
            return []
        try:
            self._queue.find()
            if self._closing:  # while it was found
                return []
            return self._queue.receive(limit, seconds)
        except Exception:
            if self._closing:  # it was interrupted
                return []
            raise

    def _give_back(self, messages: list[Message[Any]]) -> None:
        """Unlock messages that were received for a caller that has gone."""
        with suppress(Exception):  # it comes back when its lock ends
            self._queue.retry([(message, 0.0) for message in messages])

    def _in_tens(
        self, call: Callable[[list[EachT]], list[SettleFailure]], each: Sequence[EachT]
    ) -> list[Callable[[], list[SettleFailure]]]:
        size = self.batch_size
        return [partial(call, list(each[at : at + size])) for at in range(0, len(each), size)]

    async def _run_all(
        self, works: Sequence[Callable[[], list[SettleFailure]]]
    ) -> list[SettleFailure]:
        if len(works) == 1:
            return await self._calls.run(works[0])
        answers = await asyncio.gather(*map(self._calls.run, works))
        return [failure for answer in answers for failure in answer]
