"""The messages that wait for a handler: which may start next, with groups kept in order."""

from __future__ import annotations

from collections import deque
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from queue_runtime.observability.events import events
from queue_runtime.outcome import Disposition
from queue_runtime.settlement.groups import rest_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from queue_runtime.hosts.poller.held_message import HeldMessage
    from queue_runtime.outcome import Outcome


class ReadyQueue:
    """What waits, for takers on any thread.

    Where `ordered`, one message of a group is out at a time, until `done` says how it went; a retry
    gives back whatever of the group waits, since nothing of it may be done before the retry is.
    From its first message until it is idle or has a retry, a group counts as a session of `queue`.
    """

    def __init__(self, *, ordered: bool, queue: str | None = None) -> None:
        self.ordered = ordered
        self._queue = queue
        self._accepted: dict[str, float] = {}
        self._ready: deque[HeldMessage] = deque()
        self._groups: dict[str, deque[HeldMessage]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        """Count what could start now."""
        return len(self._ready)

    def add(self, messages: Iterable[HeldMessage]) -> None:
        """Append messages in the order in which the queue gave them."""
        if not self.ordered:
            self._ready.extend(messages)
            return
        with self._lock:
            for held in messages:
                self._add_in_order(held)

    def take(self) -> HeldMessage | None:
        """Give the next message that may start, or None."""
        try:
            return self._ready.popleft()
        except IndexError:
            return None

    def done(self, held: HeldMessage, outcome: Outcome) -> list[tuple[HeldMessage, Outcome]]:
        """Let a message's group go on, or give what is left of the group back with it.

        A dead-letter counts once it is settled: until then do not call this.
        """
        group = held.message.group_id
        if not self.ordered or group is None:
            return []
        with self._lock:
            waiting = self._groups.pop(group, None)
            retried = outcome.disposition is Disposition.RETRY
            if not waiting or retried:
                self._ended(group, completed=not retried)
            if not waiting:  # the group is idle: its next message starts it anew
                return []
            if retried:
                rest = rest_after(outcome)
                return [(later, rest) for later in waiting]
            self._ready.append(waiting.popleft())
            self._groups[group] = waiting
            return []

    def drain(self) -> list[HeldMessage]:
        """Take out everything that has not started; for giving it back."""
        left: list[HeldMessage] = []
        with self._lock:
            while (held := self.take()) is not None:  # one by one: threads take at the same time
                left.append(held)
            for group in self._groups.values():
                left.extend(group)
                group.clear()
        return left

    def _add_in_order(self, held: HeldMessage) -> None:
        group = held.message.group_id
        if group is None:
            self._ready.append(held)
        elif group in self._groups:
            self._groups[group].append(held)
        else:
            self._groups[group] = deque()
            self._ready.append(held)
            if self._queue is not None:
                self._accepted[group] = monotonic()
                events.session_accepted(self._queue, group)

    def _ended(self, group: str, *, completed: bool) -> None:
        accepted = self._accepted.pop(group, None)
        if accepted is not None and self._queue is not None:
            events.session_ended(self._queue, group, monotonic() - accepted, completed=completed)
