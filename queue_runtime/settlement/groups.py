"""Keeps order: after a group's first retry, no later message of the group is acknowledged."""

from __future__ import annotations

from queue_runtime.outcome import Disposition, Outcome, unrun


class GroupRule:
    """Remembers stopped groups, and gives the outcome of the rest of each.

    The rest of a stopped group comes back unrun, with the delay of the message that stopped it: a
    shorter one would put later messages before it.
    """

    __slots__ = ("_stopped",)

    def __init__(self) -> None:
        self._stopped: dict[str | None, Outcome] = {}

    def held(self, group: str | None) -> Outcome | None:
        """Give the outcome of a message whose group has stopped, or None if it may run."""
        return self._stopped.get(group) if self._stopped else None

    def learn(self, group: str | None, outcome: Outcome) -> None:
        """Stop a group whose message is to be delivered again."""
        if outcome.disposition is Disposition.RETRY:
            self._stopped[group] = rest_after(outcome)


def rest_after(outcome: Outcome) -> Outcome:
    """Give the outcome of the later messages of a group, after one that is delivered again."""
    return unrun("an earlier message of its group was not done", delay=outcome.delay)
