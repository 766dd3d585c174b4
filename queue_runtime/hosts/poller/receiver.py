"""Keeps as many receives under way as the queue has messages for and the poller has room for."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.errors import (
    AccessDeniedError,
    MissingExtraError,
    QueueNotFoundError,
)
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import unrun
from queue_runtime.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.breaker import Breaker
    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.hosts.poller.in_flight import InFlight
    from queue_runtime.hosts.poller.settler import Settler
    from queue_runtime.message import Message
    from queue_runtime.transports.base import Transport

# Bounded by latency: messages a second are at most receives x batch size / round trip.
_MOST_RECEIVES: Final = 16
_AFTER_ERROR: Final = Backoff(0.2, maximum=30.0)
_NOT_TRIED: Final = unrun("the circuit breaker lets one message try", delay=0.0)


class Stage(Protocol):
    """The next station of a message on its way to the handler."""

    def schedule(self, arrived: Sequence[HeldMessage]) -> None:
        """Take messages that arrived together; each is settled sooner or later."""


class Receiver:
    """Receives under way: one on a quiet queue, doubled while they come back full.

    A receive starts only when a whole batch has room, so that it never asks for fewer messages
    than a request can give, unless handlers would idle; it never waits for a settlement.

    Args:
        transport: the queue.
        in_flight: holds what arrives, and says how much room there is.
        next_stage: takes what arrived and may run.
        settler: takes what arrived and may not.
        breaker: pauses receives while it is open, and lets one message at a time through on trial.
        arrived: told of the messages of each receive, before anything else is.
        concurrency: how many messages have to be held, so that no handler idles.
        wait: seconds that a receive waits for the first message.
        once: end after the first receive that is answered.
        patience: how many errors in a row are as good as a refusal.

    `refusal` is the error of a queue that is missing or forbidden before any receive was answered,
    or that came when patience was at its end.
    """

    def __init__(
        self,
        transport: Transport,
        in_flight: InFlight,
        next_stage: Stage,
        settler: Settler,
        breaker: Breaker,
        *,
        arrived: Callable[[Sequence[Message[Any]]], None],
        concurrency: int,
        wait: float,
        once: bool = False,
        patience: float = inf,
    ) -> None:
        self._transport = transport
        self._in_flight = in_flight
        self._next_stage = next_stage
        self._settler = settler
        self._most = in_flight.most
        self._concurrency = min(concurrency, in_flight.most)
        self._batch = min(transport.batch_size, in_flight.most)
        self._breaker = breaker
        self._arrived = arrived
        self._wait = wait
        self._once = once
        self._patience = patience
        self.ever_answered = False
        self.refusal: Exception | None = None
        self._under_way: dict[asyncio.Task[None], float] = {}  # each with when it is due
        self._idle_since = monotonic()
        self._reserved = 0
        self._wanted = 1
        self._errors_in_a_row = 0
        self._paused: asyncio.TimerHandle | None = None
        self._closed = False
        in_flight.when_room(self.top_up)

    def top_up(self) -> None:
        """Start receives that are wanted and have room; call it whenever there may be more."""
        while not self._closed and self._paused is None and (limit := self._next_limit()):
            self._reserved += limit
            task = asyncio.create_task(self._receive(limit))
            self._under_way[task] = monotonic() + self._wait
            task.add_done_callback(self._ended)

    def due_by(self) -> float:
        """When receiving was, or is, to move on by itself, on the monotonic clock. Any thread's.

        While it rests on purpose (no room, an error's pause, the end) that is always now.
        """
        due = min(list(self._under_way.values()), default=None)
        if due is not None:
            return due
        free = self._in_flight.room() - self._reserved
        on_trial = self._breaker.admit(1).on_trial
        full = free < self._most if on_trial else self._limit() == 0
        rests = self._closed or self._paused is not None or full
        return monotonic() if rests else self._idle_since

    def start_no_more(self) -> None:
        """Begin no more receives; from any thread."""
        self._closed = True

    async def close(self) -> None:
        """Abort the receives under way; what they had locked has been given back or has arrived."""
        self._closed = True
        if self._paused is not None:
            self._paused.cancel()
        for task in list(self._under_way):
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _next_limit(self) -> int:
        """Give how many messages the next receive may ask for; 0 where none may start."""
        admission = self._breaker.admit(1)
        if admission.wait:
            self._pause(admission.wait)
            return 0
        if admission.on_trial:  # a single message, and nothing else held
            alone = not self._under_way and self._in_flight.room() - self._reserved == self._most
            return 1 if alone else 0
        return self._limit() if len(self._under_way) < self._wanted else 0

    def _limit(self) -> int:
        """Give how many to ask for: a whole batch, or what has room while handlers idle."""
        free = self._in_flight.room() - self._reserved
        if free >= self._batch:
            return self._batch
        return free if self._most - free < self._concurrency else 0

    async def _receive(self, limit: int) -> None:
        started = monotonic()
        messages: Sequence[Message[Any]] = ()
        try:
            messages = await self._transport.receive(limit, self._wait)
        except Exception as error:  # a transport's own bug must not end polling silently
            self._failed(error)
            return
        finally:
            self._reserved -= limit
        took = monotonic() - started
        metrics.RECEIVE_DURATION.record(took, self._transport.queue)
        self.ever_answered, self._closed = True, self._closed or self._once
        self._say_recovered()
        self._adapt(limit, len(messages))
        if messages:
            self._arrived(messages)
            events.received(self._transport.queue, messages, took)
        self._hand_on(self._in_flight.take(messages))

    def _hand_on(self, arrived: Sequence[HeldMessage]) -> None:
        """Let run what may; give back what came with it while one message at a time is tried."""
        if len(self._in_flight) > 1 and self._breaker.admit(1).on_trial:
            alone = len(self._in_flight) == len(arrived)
            for held in arrived[alone:]:
                held.answered = True
                self._settler.add(held, _NOT_TRIED)
            arrived = arrived[:alone]
        if arrived:
            self._next_stage.schedule(arrived)

    def _adapt(self, limit: int, count: int) -> None:
        if count == limit:
            self._wanted = min(self._wanted * 2, _MOST_RECEIVES)
        elif count == 0:
            self._wanted = 1

    def _failed(self, error: Exception) -> None:
        self._wanted = 1
        queue = self._transport.queue
        metrics.ERRORS.add(1, queue, f"receive:{type(error).__name__}")
        if self._closed:
            return
        closed_to_us = isinstance(error, QueueNotFoundError | AccessDeniedError | MissingExtraError)
        if (closed_to_us and not self.ever_answered) or self._errors_in_a_row >= self._patience:
            self._closed = True
            self.refusal = error
            self._in_flight.changed.set()
            return
        if self._paused is not None:
            return  # sixteen receives that an outage ends together are one error, not sixteen
        self._errors_in_a_row += 1
        delay = _AFTER_ERROR.delay(self._errors_in_a_row + 1)
        self._pause(delay)
        text = "receiving from %s failed (%s); the next try is in %.1f s"
        events.warning(queue, "receive", text, queue, error, delay)

    def _say_recovered(self) -> None:
        if self._errors_in_a_row:
            queue = self._transport.queue
            text = "receiving from %s works again, after %d tries that failed"
            events.warning(queue, "receive", text, queue, self._errors_in_a_row)
        self._errors_in_a_row = 0

    def _pause(self, seconds: float) -> None:
        if self._paused is None:
            loop = asyncio.get_running_loop()
            self._paused = loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self.top_up()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self._idle_since = monotonic()
        try:
            if not task.cancelled():
                task.result()
        finally:
            self.top_up()
