"""A topic: gives every subscription a copy of each message, at once or when it falls due."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .deadlines import Deadlines
from .errors import BrokerError, Condition
from .journal import Kind
from .queues import Queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .clock import Clock
    from .content import Content
    from .entities import QueueOptions, Record


@dataclass(slots=True)
class Topic:
    """Holds only what is scheduled; a message without subscriptions is dropped, as on Azure."""

    name: str
    options: QueueOptions
    clock: Clock
    record: Record
    subscriptions: dict[str, Queue] = field(default_factory=dict)
    _scheduled: dict[int, Content] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _deadlines: Deadlines = field(default_factory=Deadlines)

    def subscribe(self, name: str, options: QueueOptions) -> Queue:
        """Adds a subscription that sees every message sent from now on."""
        path = f"{self.name}/Subscriptions/{name}"
        return self.subscriptions.setdefault(
            name.lower(), Queue(path, options, self.clock, self.record)
        )

    def check(self, content: Content) -> None:
        """Refuses what a subscription would refuse, before any has taken it."""
        for queue in self.subscriptions.values():
            queue.check(content)

    def send(self, content: Content) -> int:
        """Fans a message out, or plans to."""
        self.check(content)
        number, due = next(self._numbers), content.scheduled_for
        if due is None or due <= self.clock.now():
            self._fan_out(content, number)
        else:
            self._scheduled[number] = content
            self._deadlines.add(due, lambda: self._activate(number))
            self._record(Kind.SCHEDULED, content, number)
        return number

    @property
    def scheduled(self) -> int:
        """How many messages wait for their time."""
        return len(self._scheduled)

    def cancel(self, sequence_numbers: Iterable[int]) -> None:
        """Takes scheduled messages back; all of them, or none and message-not-found."""
        numbers = list(sequence_numbers)
        for number in numbers:
            if number not in self._scheduled:
                text = f"no scheduled message {number} in '{self.name}'."
                raise BrokerError(Condition.MESSAGE_NOT_FOUND, text)
        for number in dict.fromkeys(numbers):
            self._record(Kind.SCHEDULE_CANCELLED, self._scheduled.pop(number), number)

    def run_due(self) -> int:
        """Fans out what fell due."""
        beneath = sum(queue.run_due() for queue in self.subscriptions.values())
        return self._deadlines.run(self.clock.now()) + beneath

    @property
    def next_due(self) -> float | None:
        """When `run_due` has something to do next."""
        times = [queue.next_due for queue in self.subscriptions.values()]
        known = [time for time in (self._deadlines.earliest, *times) if time is not None]
        return min(known, default=None)

    def _activate(self, number: int) -> None:
        content = self._scheduled.pop(number, None)
        if content is not None:
            self._fan_out(content, number)

    def _fan_out(self, content: Content, number: int) -> None:
        self._record(Kind.ENQUEUED, content, number)
        for queue in self.subscriptions.values():
            queue.send(content, number)

    def _record(self, kind: Kind, content: Content, number: int) -> None:
        self.record(
            kind,
            self.name,
            message_id=content.message_id,
            session_id=content.session_id,
            sequence_number=number,
        )
