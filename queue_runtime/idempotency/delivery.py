"""What is known of one delivery's keys: what is ours to do, what is a duplicate, what repeats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from queue_runtime.outcome import Disposition, Outcome

if TYPE_CHECKING:
    from queue_runtime.idempotency.store import Claim
    from queue_runtime.middleware import Messages


class Duplicate:
    """A message that has nothing to do, if `first`, of the same delivery, does it."""

    __slots__ = ("at", "first", "outcome")

    def __init__(self, at: int, first: int | None) -> None:
        self.at, self.first = at, first
        self.outcome = Outcome(Disposition.ACK, reason="a duplicate, whose work was done before")


class ClaimedDelivery:
    """One delivery under one owner's token; messages go by their positions.

    - `claims`, `positions`: each key once, with the first message that has it.
    - `repeats`: position, first position and claim of each later message of a key.
    - `held`: what is ours to do. `committed`: what of it is noted as done.
    - `decided`: what is not to run.
    """

    __slots__ = (
        "claims",
        "committed",
        "decided",
        "duplicates",
        "held",
        "messages",
        "owner",
        "positions",
        "repeats",
    )

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.owner = os.urandom(12).hex()
        self.claims: list[Claim] = []
        self.positions: list[int] = []
        self.repeats: list[tuple[int, int, Claim]] = []
        self.held: dict[int, Claim] = {}
        self.committed: set[int] = set()
        self.decided: list[int] = []
        self.duplicates: list[Duplicate] = []

    def decide(self, at: int, outcome: Outcome) -> None:
        """Let a message have its outcome, in its turn, without being run."""
        self.messages[at].decided = outcome
        self.decided.append(at)

    def add_duplicate(self, duplicate: Duplicate) -> None:
        """Let a message be acknowledged, if nothing before it in its group comes back."""
        self.duplicates.append(duplicate)
        self.decide(duplicate.at, duplicate.outcome)

    def forget_decided(self) -> None:
        """Take back what was decided, once every message has had its turn."""
        for at in self.decided:
            self.messages[at].decided = None
