"""Carries outcomes out in few requests, and tries again while that can still help."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from queue_runtime.errors import LockLostError, TransportError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import unrun
from queue_runtime.retry import Backoff
from queue_runtime.settlement.failures import SettleFailure, after, may_repeat
from queue_runtime.settlement.plan import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.outcome import Outcome
    from queue_runtime.settlement.plan import Rules, Step
    from queue_runtime.transports.base import Transport

# How long an outcome may wait for company.
_COALESCE_SECONDS: Final = 0.02
_MOST_REQUESTS: Final = 8
_BETWEEN_TRIES: Final = Backoff(0.1, maximum=5.0)
# Without delay, since what waits behind it in its group is given back with it, and is still ours.
_LOST: Final = unrun("its lock had ended", delay=0.0)

Settled: TypeAlias = "tuple[HeldMessage, Outcome]"
# What the messages of a request came to, by the identity of each; not those that were lost.
_Final: TypeAlias = "dict[int, Outcome]"


class Releases(Protocol):
    """Lets go of messages."""

    def release(self, settled: Sequence[Settled], /) -> None:
        """Take what is settled, or lost."""


class Settler:
    """One place for all outcomes of a queue: acknowledges in batches, and never what was lost.

    A request that fails is repeated while the message's lock lives; a step that was refused becomes
    what `settlement.failures` says. What cannot be settled at all comes back when its lock ends.
    """

    def __init__(self, transport: Transport, rules: Rules, in_flight: Releases) -> None:
        self.rules = rules
        self._transport = transport
        self._in_flight = in_flight
        self._waiting: list[Settled] = []
        self._closed = False
        self._requests: set[asyncio.Task[_Final]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, held: HeldMessage, outcome: Outcome) -> None:
        """Take an outcome; it is carried out within 20 ms or with the next full request."""
        if held.handed_over:
            return  # while its group waited for it, or at the end, before its middleware answered
        held.handed_over = True
        self._waiting.append((held, outcome))
        if len(self._waiting) >= self._transport.batch_size:
            self._flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_COALESCE_SECONDS, self._flush)

    async def settle_now(self, held: HeldMessage, outcome: Outcome) -> Outcome:
        """Carry one outcome out while its group waits, after the group's earlier ones; gives what
        it came to.
        """
        final: _Final = {}
        if not held.handed_over:
            held.handed_over = True
            # In a task of its own: who waits may be cancelled, and the request must not be.
            task = self._begin([*self._earlier(held), (held, outcome)])
            await asyncio.wait([task])
            final = {} if task.cancelled() else task.result()
        return final.get(id(held), _LOST)

    def _earlier(self, held: HeldMessage) -> list[Settled]:
        group = held.message.group_id
        earlier = [pair for pair in self._waiting if pair[0].message.group_id == group]
        self._waiting = [pair for pair in self._waiting if pair[0].message.group_id != group]
        return earlier

    def withdraw(self) -> list[Settled]:
        """Take out what waits for a request; from any thread."""
        waiting, self._waiting = self._waiting, []
        return waiting

    async def give_up(self) -> None:
        """End the requests under way; their messages come back when their locks end."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests)

    async def drain(self) -> None:
        """Carry out everything that waits, and wait until it is done or given up."""
        while self._waiting or self._requests:
            self._flush()
            if self._requests:
                await asyncio.wait(self._requests)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed or not self._waiting or len(self._requests) >= _MOST_REQUESTS:
            return  # the request that ends next takes along what has gathered until then
        chunk, self._waiting = self._waiting, []
        self._begin(chunk)

    def _begin(self, chunk: Sequence[Settled]) -> asyncio.Task[_Final]:
        task = asyncio.create_task(self._settle(chunk))
        self._requests.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[_Final]) -> None:
        self._requests.discard(task)
        if not task.cancelled():
            task.result()
        if self._waiting:
            self._flush()

    async def _settle(self, chunk: Sequence[Settled]) -> _Final:
        try:
            return await self._settle_all(chunk)
        except asyncio.CancelledError:  # by a handler that cancels every task: one more request
            self._waiting.extend(pair for pair in chunk if not pair[0].released)
            raise

    async def _settle_all(self, chunk: Sequence[Settled]) -> _Final:
        tries = 0
        final: _Final = {}
        while chunk := self._still_ours(chunk):
            tries += 1
            steps = self._plan(chunk)
            started = monotonic()
            failures = await self._request(steps)
            took = monotonic() - started
            events.settle_request(self._transport.queue, took)
            failed = {id(failure.message): failure for failure in failures}
            done = [
                (held, step.outcome)
                for (held, _), step in zip(chunk, steps, strict=True)
                if id(step.message) not in failed
            ]
            self._confirm(done, took)
            final |= {id(held): outcome for held, outcome in done}
            chunk = self._again(chunk, steps, failed)
            if chunk:
                delay = _BETWEEN_TRIES.delay(tries)
                self._say_failed(len(chunk), failed[id(chunk[0][0].message)].error, delay)
                await asyncio.sleep(delay)
        return final

    def _plan(self, chunk: Sequence[Settled]) -> list[Step]:
        messages = [held.message for held, _ in chunk]
        outcomes = [outcome for _, outcome in chunk]
        steps = plan(messages, outcomes, self._transport.abilities, self.rules)
        events.noted(self._transport.queue, steps)
        return steps

    def _say_failed(self, count: int, error: TransportError, delay: float) -> None:
        queue = self._transport.queue
        text = "%d messages of %s could not be settled (%s); the next try is in %.1f s"
        events.warning(queue, "settle", text, count, queue, error, delay)

    async def _request(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        try:
            return await self._transport.settle(steps)
        except TransportError as error:
            return [SettleFailure(step.message, error) for step in steps]
        except Exception as error:  # a transport's own bug must not strand what it was given
            failure = TransportError(f"{type(error).__qualname__} in the transport")
            return [SettleFailure(step.message, failure) for step in steps]

    def _still_ours(self, chunk: Sequence[Settled]) -> list[Settled]:
        """Sort out what was lost while it waited: some services delete by a stale receipt."""
        now, ours = monotonic(), []
        for pair in chunk:
            held, outcome = pair
            if held.lost or held.message.locked_until <= now:
                self._lost(held, outcome)
            else:
                ours.append(pair)
        return ours

    def _confirm(self, done: Sequence[Settled], took: float) -> None:
        messages = [held.message for held, _ in done]
        outcomes = [outcome for _, outcome in done]
        events.settled(self._transport.queue, messages, outcomes, took)
        for held, _ in done:
            held.lost = False  # whatever the renewal has heard since: the queue has taken it
        self._in_flight.release(done)

    def _again(
        self, chunk: Sequence[Settled], steps: Sequence[Step], failed: dict[int, SettleFailure]
    ) -> list[Settled]:
        """Sort out what can still be done for the messages whose step failed."""
        again: list[Settled] = []
        for (held, outcome), step in zip(chunk, steps, strict=True):
            failure = failed.get(id(held.message))
            if failure is None:
                continue
            kind = type(failure.error).__name__
            metrics.ERRORS.add(1, self._transport.queue, f"settle:{kind}")
            if isinstance(failure.error, LockLostError) or held.stale():
                self._lost(held, outcome)
            elif may_repeat(step, failure):
                again.append((held, outcome))
            else:
                can = self._transport.abilities
                again.append((held, after(step, failure, can, self.rules)))
        return again

    def _lost(self, held: HeldMessage, outcome: Outcome) -> None:
        events.lock_lost(held.message, outcome)
        held.lost = True
        self._in_flight.release([(held, outcome)])
