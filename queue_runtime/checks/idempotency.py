"""Finds where it is not remembered, or not for long enough, that a message is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.checks import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.config import Settings

_DAY = 86_400


def switch_findings(settings: Settings) -> Iterator[Finding]:
    """Find that repeated messages are not told, which is for tests."""
    if not settings.idempotency:
        yield Finding(
            "idempotency-off",
            "warning",
            f"idempotency is off ({settings.origin('idempotency')}): the work of a message that "
            "arrives twice is done twice; take the setting out, which is for tests",
        )


def retention_findings(
    retention: float,
    *,
    queue_seconds: float | None = None,
    dead_letter_seconds: float | None = None,
) -> Iterator[Finding]:
    """Compare a handler's retention with how long its queues keep messages; None is unknown.

    A message can be delivered again for as long as its queue keeps it, and for as long as the
    dead-letter queue does, from which it may be redriven.
    """
    queues = (("queue", queue_seconds), ("dead-letter queue", dead_letter_seconds))
    for name, seconds in queues:
        if seconds is not None and retention < seconds:
            yield Finding(
                "idempotency-retention",
                "warning",
                f"that a message is done is kept for {_days(retention)}, but the {name} keeps "
                f"messages for {_days(seconds)}: one that comes back after that is done again; set "
                f"QUEUE_IDEMPOTENCY_RETENTION_SECONDS to {seconds:.0f} or more",
            )


def _days(seconds: float) -> str:
    return f"{seconds / _DAY:.3g} days" if seconds >= _DAY else f"{seconds:.0f} s"
