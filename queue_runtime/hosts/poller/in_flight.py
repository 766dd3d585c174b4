"""The messages that a poller holds: how much room is left, and counts of what became of them."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from queue_runtime.hosts.poller.held_message import HeldMessage
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.hosts.poller.counts import PollStats
    from queue_runtime.hosts.poller.observation import Observation
    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome


class InFlight:
    """Holds each message from its receive until its settlement is confirmed.

    The receiver puts messages in, the settler takes them out, and the room that this makes lets the
    receiver go on. All of it on the event loop, but for `all`, which any thread may ask for.

    Args:
        most: how many messages may be held.
        stats: counts them.
        observation: told how many are held.
        observe: told each message and its outcome once it is settled.

    `changed` wakes the run, which then looks whether it has come to its end.
    """

    def __init__(
        self,
        most: int,
        stats: PollStats,
        observation: Observation,
        observe: Callable[[Message[Any], Outcome], None] | None = None,
    ) -> None:
        self.most = most
        self.changed = asyncio.Event()
        self._stats = stats
        self._observation = observation
        self._observe = observe
        self._held: dict[int, HeldMessage] = {}
        self._on_room: Callable[[], None] | None = None

    def __len__(self) -> int:
        """Count what is held."""
        return len(self._held)

    def room(self) -> int:
        """Give how many more messages may be held; `most` where none is."""
        return self.most - len(self._held)

    def all(self) -> list[HeldMessage]:
        """Give what is held now."""
        return list(self._held.values())

    def unanswered(self) -> list[HeldMessage]:
        """Give what has no outcome yet."""
        return [held for held in self._held.values() if not held.answered]

    def running(self) -> list[tuple[HeldMessage, float]]:
        """Give what a handler has been called for and not answered, with when; oldest first."""
        calls = [
            (held, held.started)
            for held in self._held.values()
            if held.started < inf and not held.answered
        ]
        return sorted(calls, key=lambda call: call[1])

    def describe(self, queue: str) -> list[str]:
        """Say of each message whether it waits, runs, or is being settled; from any thread."""
        now = monotonic()
        lines = [f"{len(self._held)} messages of {queue} are in flight"]
        for held in self.all():
            state = "is being settled" if held.answered else "waits"
            if held.started < inf and not held.answered:
                state = f"has run for {now - held.started:.1f} s"
            lines.append(f"message {held.message.id!a} {state}")
        return lines

    def when_room(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever messages were let go."""
        self._on_room = call

    def take(self, messages: Sequence[Message[Any]]) -> list[HeldMessage]:
        """Hold messages that have just arrived."""
        taken = [HeldMessage(message) for message in messages]
        self._held.update((id(held), held) for held in taken)
        self._stats.received += len(taken)
        self._count()
        if not taken:
            self.changed.set()
        return taken

    def release(self, settled: Sequence[tuple[HeldMessage, Outcome]]) -> None:
        """Let go of messages that are settled, or lost."""
        for held, outcome in settled:
            if self._held.pop(id(held), None) is None:
                continue
            held.released = True
            if held.lost:
                self._stats.lost += 1
                continue
            self._stats.count(outcome)
            if self._observe:
                events.observe(held.message, self._observe, held.message, outcome)
        self._count()
        if self._on_room is not None:
            self._on_room()
        if not self._held:
            self.changed.set()

    def _count(self) -> None:
        self._stats.held = len(self._held)
        self._observation.held(self._stats.held)
