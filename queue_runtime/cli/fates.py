"""What became of messages, in the words and columns that every command shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queue_runtime.outcome import ACK, Disposition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome

COLUMNS = ("message", "group", "delivery", "fate", "reason")


def fate(outcome: Outcome) -> str:
    """Say an outcome in a word or four."""
    if outcome.disposition is Disposition.DEAD_LETTER:
        return "dead-lettered"
    if outcome.disposition is Disposition.ACK:
        return "completed" if outcome is ACK else "discarded"
    word = "returned unrun" if outcome.unrun else "retried"
    return word if outcome.delay is None else f"{word} in {round(outcome.delay, 2):g} s"


def row(message: Message[Any], outcome: Outcome) -> tuple[str, ...]:
    """Give a table's row, in the order of `COLUMNS`."""
    group, count = message.group_id or "-", str(message.delivery_count)
    return (message.id, group, count, fate(outcome), outcome.reason)


def record(message: Message[Any], outcome: Outcome) -> dict[str, Any]:
    """Give the same for a program."""
    return {
        "message_id": message.id,
        "group_id": message.group_id,
        "delivery_count": message.delivery_count,
        "disposition": str(outcome.disposition),
        "delay": outcome.delay,
        "unrun": outcome.unrun,
        "reason": outcome.reason,
        "error_type": type(outcome.error).__qualname__ if outcome.error else None,
    }


def summary(outcomes: Sequence[Outcome]) -> str:
    """Count fates in one line."""
    kinds = {"completed": 0, "discarded": 0, "retried": 0, "returned": 0, "dead-lettered": 0}
    for outcome in outcomes:
        kinds[fate(outcome).split(" ")[0]] += 1
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "no messages"
