"""Which visible message is handed out next: the one difference between the two queue types."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

from tests.brokers.sqs.messages import Message, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_Ready = list[tuple[int, Message]]  # a heap by sequence number, which is never equal


class Shelf(Protocol):
    """Holds the visible messages of a queue; entries of messages gone meanwhile are skipped."""

    def put(self, message: Message) -> None: ...

    def freed(self, message: Message) -> None:
        """`message` was in flight and is not any more: deleted, or just put back."""

    def take(self, count: int, accept: Callable[[Message], bool]) -> list[Message]:
        """Up to `count` messages that `accept` puts in flight; what it declines has left."""


class StandardShelf:
    """In order of sending, or with `disorder` any of that many next ones."""

    def __init__(self, random: Random, disorder: int = 0) -> None:
        self._ready: _Ready = []
        self._random = random
        self._disorder = disorder

    def put(self, message: Message) -> None:
        heappush(self._ready, (message.sequence, message))

    def freed(self, message: Message) -> None:
        """Nothing waits for another message here."""

    def take(self, count: int, accept: Callable[[Message], bool]) -> list[Message]:
        if not self._disorder:
            return _take(self._ready, count, accept)
        near = _take(self._ready, max(count, self._disorder), lambda _: True)
        self._random.shuffle(near)
        shuffled = [(position, message) for position, message in enumerate(near)]
        taken = _take(shuffled, count, accept)
        for _, message in shuffled:
            self.put(message)
        return taken


@dataclass(slots=True, eq=False)
class _Group:
    ready: _Ready = field(default_factory=list)
    in_flight: int = 0
    offered: bool = False  # it has an entry in the heap of open groups


class FifoShelf:
    """In order within a group, and nothing of a group while any of it is in flight."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._open: list[tuple[int, str]] = []  # a heap by the number of the group's next message

    def put(self, message: Message) -> None:
        group = self._groups.setdefault(message.group, _Group())
        heappush(group.ready, (message.sequence, message))
        self._offer(message.group, group)

    def freed(self, message: Message) -> None:
        group = self._groups[message.group]
        group.in_flight -= 1
        self._offer(message.group, group)

    def take(self, count: int, accept: Callable[[Message], bool]) -> list[Message]:
        taken: list[Message] = []
        while self._open and len(taken) < count:
            number, name = heappop(self._open)
            group = self._groups[name]
            group.offered = False
            _drop_gone(group.ready)
            if group.ready and group.ready[0][0] != number:  # its turn comes later than it seemed
                self._offer(name, group)
                continue
            found = _take(group.ready, count - len(taken), accept)
            group.in_flight += len(found)
            taken += found
            self._offer(name, group)
        return taken

    def _offer(self, name: str, group: _Group) -> None:
        if group.in_flight or group.offered:
            return
        if group.ready:
            group.offered = True
            heappush(self._open, (group.ready[0][0], name))
        else:
            del self._groups[name]


def _drop_gone(ready: _Ready) -> None:
    while ready and ready[0][1].state is State.GONE:
        heappop(ready)


def _take(ready: _Ready, count: int, accept: Callable[[Message], bool]) -> list[Message]:
    taken: list[Message] = []
    while ready and len(taken) < count:
        _, message = heappop(ready)
        if message.state is State.READY and accept(message):
            taken.append(message)
    return taken
