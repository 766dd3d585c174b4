"""A transport in a list, as somebody elsewhere would write one: by CONTRIBUTING's checklist alone.

`toy://orders` is a queue in this process's memory. It locks, delays and dead-letters; it has no
groups and forgets deduplication ids.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from itertools import count, islice
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from queue_runtime import LockLostError, Message, TransportError
from queue_runtime.transports import (
    ATTRIBUTE,
    Abilities,
    Action,
    Depth,
    OutgoingMessage,
    SendResult,
    SettleFailure,
    read_carried,
    read_dead_letter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.transports import DeadLetterRecord, Step, Transport

_SECONDS_BETWEEN_LOOKS = 0.01


class Clock(Protocol):
    """Tells the time; tests have one that they move."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...


class Item:
    """A message in the list: due from `due` on, and locked until then by the receive `token`."""

    def __init__(self, number: int, message: OutgoingMessage, due: float, facts: str) -> None:
        self.id, self.message, self.due, self.facts = f"toy-{number}", message, due, facts
        self.sent, self.received, self.token = due - message.delay, 0, 0


class Delivery(NamedTuple):
    """One receive of an item, and its count as it was then."""

    item: Item
    token: int
    received: int


class ToyWire:
    """How a delivery is read: a function for each field of `Message`."""

    def id(self, raw: Delivery) -> str:
        return read_carried(raw.item.facts).id or raw.item.id

    def broker_id(self, raw: Delivery) -> str:
        return raw.item.id

    def payload(self, raw: Delivery) -> str | bytes:
        return raw.item.message.body

    def attributes(self, raw: Delivery) -> Mapping[str, Any]:
        sent = raw.item.message.attributes
        return {name: value for name, value in sent.items() if name != ATTRIBUTE}

    def group_id(self, raw: Delivery) -> str | None:
        return raw.item.message.group_id

    def correlation_id(self, raw: Delivery) -> str | None:
        return raw.item.message.correlation_id

    def delivery_count(self, raw: Delivery) -> int:
        return read_carried(raw.item.facts).attempts + raw.received

    def enqueued_at(self, raw: Delivery) -> datetime | None:
        return datetime.fromtimestamp(raw.item.sent, UTC)

    def receipt(self, raw: Delivery) -> Delivery:
        return raw

    def dead_letter(self, raw: Delivery) -> DeadLetterRecord | None:
        return read_dead_letter(raw.item.facts)


WIRE = ToyWire()
_QUEUES: dict[str, list[Item]] = {}
_LOCK = Lock()
_NUMBERS = count(1)


def open_toy(url: str, settings: Settings, handler: str) -> Transport:
    """Open what `toy://NAME` or `toy://NAME/dead-letter` names; an entry point leads here."""
    return ToyTransport(url.removeprefix("toy://"), lock_seconds=settings.visibility_seconds)


class ToyTransport:
    """One list of messages."""

    system = "toy"
    place = None
    ordered = False
    batch_size = 10
    abilities = Abilities()

    def __init__(self, queue: str, *, lock_seconds: float, clock: Clock = time) -> None:
        self.queue, self.lock_seconds, self._clock = queue, lock_seconds, clock
        self._items = _QUEUES.setdefault(queue, [])
        self._closed = False

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        ends = time.monotonic() + wait
        while True:
            self._check_open()
            # Nothing is awaited after a lock is taken, so a cancelled receive strands no message.
            if messages := self._take(min(limit, self.batch_size)):
                return messages
            if time.monotonic() >= ends:
                return []
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        self._check_open()
        with _LOCK:
            return [failure for step in steps if (failure := self._settle(step))]

    async def renew(self, messages: Sequence[Message[Any]]) -> Sequence[SettleFailure]:
        self._check_open()
        with _LOCK:
            lost = [message for message in messages if not self._holds(message)]
            for message in messages:
                if message not in lost:
                    self._lock(message)
        return [self._lost(message) for message in lost]

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        self._check_open()
        with _LOCK:
            return [self._send(message) for message in messages]

    async def depth(self) -> Depth:
        self._check_open()
        now = self._clock.time()
        with _LOCK:
            waiting = [item for item in self._items if item.due <= now]
            locked = sum(item.due > now and item.token > 0 for item in self._items)
            dead = len(_QUEUES.get(f"{self.queue}/dead-letter", ()))
            delayed = len(self._items) - len(waiting) - locked
        oldest = max((now - item.sent for item in waiting), default=None)
        return Depth(len(waiting), locked, delayed, dead, oldest)

    async def aclose(self) -> None:
        self._closed = True

    def _take(self, limit: int) -> list[Message[Any]]:
        with _LOCK:
            return [self._received(item) for item in islice(self._due(), limit)]

    def _due(self) -> Iterator[Item]:
        now = self._clock.time()
        return (item for item in list(self._items) if item.due <= now)

    def _received(self, item: Item) -> Message[Any]:
        item.received, item.token = item.received + 1, next(_NUMBERS)
        message: Message[Any] = Message(Delivery(item, item.token, item.received), WIRE, self.queue)
        self._lock(message)
        return message

    def _lock(self, message: Message[Any]) -> None:
        message.native.item.due = self._clock.time() + self.lock_seconds
        message.locked_until = self._clock.monotonic() + self.lock_seconds

    def _holds(self, message: Message[Any]) -> bool:
        item, token, _ = message.receipt
        return item in self._items and item.token == token and item.due > self._clock.time()

    def _settle(self, step: Step) -> SettleFailure | None:
        if not self._holds(step.message):
            return self._lost(step.message)
        item: Item = step.message.receipt.item
        if step.action is Action.GIVE_BACK:
            if step.delay is not None:  # else it is left to the end of its lock
                item.due, item.token = self._clock.time() + step.delay, 0
            return None
        self._items.remove(item)
        if step.facts is not None:
            dead = Item(next(_NUMBERS), item.message, self._clock.time(), next(iter(step.facts)))
            _QUEUES.setdefault(f"{self.queue}/dead-letter", []).append(dead)
        return None

    def _lost(self, message: Message[Any]) -> SettleFailure:
        text = f"the lock of message {message.id} of toy queue {self.queue} has ended"
        return SettleFailure(message, LockLostError(f"{text}: it will be delivered again"))

    def _send(self, message: OutgoingMessage) -> SendResult:
        for name, value in message.attributes.items():
            if not isinstance(value, str | int | float | bytes):
                text = f"toy queue {self.queue}: attribute {name!r} is a {type(value).__name__}"
                return SendResult(error=TransportError(f"{text}: send str, int, float or bytes"))
        facts = str(message.attributes.get(ATTRIBUTE, ""))
        item = Item(next(_NUMBERS), message, self._clock.time() + message.delay, facts)
        self._items.append(item)
        return SendResult(item.id)

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError(f"toy queue {self.queue} was closed here: open it again")
