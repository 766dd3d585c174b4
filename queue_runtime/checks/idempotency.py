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
    origin: str = "",
) -> Iterator[Finding]:
    """Compare a handler's retention with how long its queues keep messages; None is unknown.

    `origin` tells who said the retention.

    A message can be delivered again for as long as its queue keeps it, and for as long as the
    dead-letter queue does, from which it may be redriven.
    """
    said = f" ({origin})" if origin else ""
    queues = (("queue", queue_seconds), ("dead-letter queue", dead_letter_seconds))
    for name, seconds in queues:
        if seconds is not None and retention < seconds:
            yield Finding(
                "idempotency-retention",
                "warning",
                f"that a message is done is kept for {_days(retention)}{said}, but the {name} "
                f"keeps messages for {_days(seconds)}: one that comes back after that is done "
                f"again; set QUEUE_IDEMPOTENCY_RETENTION_SECONDS to {seconds:.0f} or more",
            )


def _days(seconds: float) -> str:
    if seconds < _DAY:
        return f"{seconds:.0f} s"
    return "1 day" if seconds == _DAY else f"{seconds / _DAY:.3g} days"
