"""What a poller has done so far, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.outcome import ACK, Disposition

if TYPE_CHECKING:
    from queue_runtime.outcome import Outcome


class PollStats:
    """What has become of messages so far; `held` ones are not settled yet."""

    __slots__ = (
        "completed",
        "dead_lettered",
        "discarded",
        "held",
        "lost",
        "received",
        "retried",
        "returned",
    )

    def __init__(self) -> None:
        self.received = self.completed = self.discarded = self.retried = 0
        self.returned = self.dead_lettered = self.lost = self.held = 0

    def count(self, outcome: Outcome) -> None:
        """Count one settled message."""
        if outcome is ACK:
            self.completed += 1
        elif outcome.disposition is Disposition.ACK:
            self.discarded += 1
        elif outcome.disposition is Disposition.DEAD_LETTER:
            self.dead_lettered += 1
        elif outcome.unrun:
            self.returned += 1
        else:
            self.retried += 1

    def as_dict(self) -> dict[str, int]:
        """Give all numbers by name."""
        return {name: getattr(self, name) for name in PollStats.__slots__}
