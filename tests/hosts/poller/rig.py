"""A queue in memory whose every answer a test can script, and a way to poll it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from queue_runtime.config import Settings, load_settings
from queue_runtime.errors import LockLostError, QueueRuntimeError, TransportError
from queue_runtime.hosts.poller import Poller, PollStats, Until
from queue_runtime.message import Message
from queue_runtime.outcome import Disposition
from queue_runtime.transports.base import Abilities, Depth, SettleFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from queue_runtime.definition import Handles
    from queue_runtime.hosts.poller.run import PollerRun
    from queue_runtime.outcome import Outcome
    from queue_runtime.transports.base import OutgoingMessage, SendResult, Step

PATIENCE_SECONDS = 45.0


class ScriptedQueue:
    """A transport that keeps what it is given and fails as it is told.

    - `receive_errors`, `settle_errors`, `renew_errors`: raised by the calls to come, in order.
    - `refuse`: gives the error of a single settlement, or None.
    - `settled`: every settlement that took place, in order; `requests`: how many calls made them.
    """

    system = "scripted"
    place = None

    def __init__(
        self, *messages: Message[Any], ordered: bool = False, batch_size: int = 10, lock: float = 60
    ) -> None:
        self.queue = "orders"
        self.ordered = ordered
        self.batch_size = batch_size
        self.lock_seconds = lock
        self.waiting = deque(messages)
        self.held: dict[int, Message[Any]] = {}
        self.settled: list[tuple[str, Outcome]] = []
        self.requests = 0
        self.limits: list[int] = []
        self.receives_under_way = self.most_receives = 0
        self.receive_errors: deque[QueueRuntimeError] = deque()
        self.settle_errors: deque[TransportError] = deque()
        self.renew_errors: deque[TransportError] = deque()
        self.refuse: Callable[[Message[Any], Outcome], TransportError | None] = lambda _m, _o: None
        self.renewed: list[tuple[str, str]] = []
        self.lost: set[str] = set()
        self.settle_gate: asyncio.Event | None = None
        self.cancelled_receives = 0
        self.redeliver = False
        self.behind: deque[Message[Any]] = deque()
        self.stopped_groups: set[str | None] = set()

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        self.limits.append(limit)
        if self.receive_errors:
            raise self.receive_errors.popleft()
        self.receives_under_way += 1
        self.most_receives = max(self.most_receives, self.receives_under_way)
        try:
            if not self.waiting:
                await asyncio.sleep(min(wait, 0.02))
            await asyncio.sleep(0)
            self._hold_groups()
            return [self._lock() for _ in range(min(limit, len(self.waiting)))]
        except asyncio.CancelledError:
            self.cancelled_receives += 1
            raise
        finally:
            self.receives_under_way -= 1

    @property
    def abilities(self) -> Abilities:
        return Abilities()

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        self.requests += 1
        if self.settle_gate is not None:
            await self.settle_gate.wait()
        if self.settle_errors:
            raise self.settle_errors.popleft()
        failures = []
        for message, outcome in ((step.message, step.outcome) for step in steps):
            error = self.refuse(message, outcome)
            if error is not None:
                failures.append(SettleFailure(message, error))
                continue
            self.held.pop(id(message), None)
            self.settled.append((message.id, outcome))
            if self.ordered and outcome.disposition is Disposition.RETRY:
                self.stopped_groups.add(message.group_id)
            if self.redeliver and outcome.disposition is Disposition.RETRY:
                self._again(message)
        return failures

    async def renew(self, messages: Sequence[Message[Any]]) -> Sequence[SettleFailure]:
        if self.renew_errors:
            raise self.renew_errors.popleft()
        failures = []
        for message in messages:
            self.renewed.append((message.id, threading.current_thread().name))
            if message.id in self.lost:
                failures.append(SettleFailure(message, LockLostError("gone")))
            else:
                message.locked_until = monotonic() + self.lock_seconds
        return failures

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        raise NotImplementedError

    async def depth(self) -> Depth:
        self._hold_groups()
        return Depth(len(self.waiting), len(self.held), 0)

    async def aclose(self) -> None:
        """Has nothing to close."""

    def fates(self) -> dict[str, str]:
        """Give the last disposition of each message."""
        return {name: str(outcome.disposition) for name, outcome in self.settled}

    def _hold_groups(self) -> None:
        """Keep back what an ordered queue would: groups that are held, or wait for a retry."""
        if not self.ordered:
            return
        closed = {message.group_id for message in self.held.values()} | self.stopped_groups
        everything = [*self.behind, *self.waiting]
        self.behind = deque(message for message in everything if message.group_id in closed)
        self.waiting = deque(message for message in everything if message.group_id not in closed)

    def _lock(self) -> Message[Any]:
        message = self.waiting.popleft()
        message.locked_until = monotonic() + self.lock_seconds
        self.held[id(message)] = message
        return message

    def _again(self, message: Message[Any]) -> None:
        copy: Message[Any] = Message.of(
            message.body,
            id=message.id,
            group_id=message.group_id,
            delivery_count=message.delivery_count + 1,
        )
        self.waiting.append(copy)


def run_of(poller: Poller) -> PollerRun:
    """Give the parts of a poller that runs, or has."""
    assert poller._run is not None
    return poller._run


def messages(count: int, **fields: Any) -> list[Message[bytes]]:
    """Make messages m0, m1, …"""
    return [Message.of(b"{}", id=f"m{n}", queue="orders", **fields) for n in range(count)]


def in_group(group: str, *names: str) -> list[Message[bytes]]:
    """Make messages of one group."""
    return [Message.of(b"{}", id=name, queue="orders", group_id=group) for name in names]


def settings_for(handler: Handles, **values: Any) -> Settings:
    """Take the decorator's word and a test's own values; the environment is not read."""
    return load_settings(handler.definition.settings, environ={}, arguments=values)


def polled(
    handler: Handles,
    queue: Any,
    until: Until = Until.EMPTY,
    *,
    meanwhile: Callable[[Poller], Any] | None = None,
    **values: Any,
) -> PollStats:
    """Poll in a loop of its own, with something else going on beside it if wanted."""
    return asyncio.run(_polled(handler, queue, until, meanwhile, values))


async def _polled(
    handler: Handles,
    queue: Any,
    until: Until,
    meanwhile: Callable[[Poller], Any] | None,
    values: dict[str, Any],
) -> PollStats:
    poller = Poller(handler, queue, settings=settings_for(handler, **values))
    async with asyncio.timeout(PATIENCE_SECONDS * 2), asyncio.TaskGroup() as group:
        run = group.create_task(poller.run(until))
        if meanwhile is not None:
            group.create_task(meanwhile(poller))
    return run.result()


async def run_beside(poller: Poller, meanwhile: Callable[[Poller], Awaitable[None]]) -> PollStats:
    """Poll until `meanwhile` is through; what either of them raises is raised."""
    running = asyncio.create_task(poller.run())
    beside = asyncio.ensure_future(meanwhile(poller))
    await asyncio.wait({running, beside}, return_when=asyncio.FIRST_COMPLETED)
    poller.stop()
    stats = await running
    await beside
    return stats


async def until_true(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; fails after a while."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for is told by no event
            await asyncio.sleep(0.001)
