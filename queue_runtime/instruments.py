"""The counters and histograms that any part may bump; no exporter, no dependency, no clock."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Labels: TypeAlias = tuple[str, ...]

# Bounds of the OpenTelemetry messaging conventions, in seconds.
DURATION_BOUNDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip

# A label value beyond these many is counted as "other", so that no producer can grow our memory.
MOST_LABEL_SETS: Final = 500
_OTHER: Final = "other"


class Counter:
    """A number that only grows, one for each set of label values."""

    __slots__ = ("_lock", "_values", "help", "labels", "name")

    def __init__(self, name: str, labels: Labels, help: str) -> None:
        self.name, self.labels, self.help = name, labels, help
        # A cell for each number: to find it is one hash of the labels, and half of the cost.
        self._values: dict[Labels, list[float]] = {}
        self._lock = Lock()

    def add(self, amount: float, *labels: str) -> None:
        """Count; label values in the order of `labels`. Safe from any thread."""
        with self._lock:
            cell = self._values.get(labels)
            if cell is None:
                cell = self._values.setdefault(_bounded(self._values, labels), [0])
            cell[0] += amount

    def values(self) -> Mapping[Labels, float]:
        """Take a copy of what has been counted so far."""
        with self._lock:
            return {labels: cell[0] for labels, cell in self._values.items()}


class Histogram:
    """How often a duration in seconds fell between two bounds, one for each set of label values."""

    __slots__ = ("_lock", "_rows", "bounds", "help", "labels", "name")

    def __init__(
        self, name: str, labels: Labels, help: str, bounds: tuple[float, ...] = DURATION_BOUNDS
    ) -> None:
        self.name, self.labels, self.help, self.bounds = name, labels, help, bounds
        self._rows: dict[Labels, list[float]] = {}
        self._lock = Lock()

    def record(self, seconds: float, *labels: str) -> None:
        """Count one duration. Safe from any thread."""
        with self._lock:
            key = _bounded(self._rows, labels)
            row = self._rows.setdefault(key, [0.0] * (len(self.bounds) + 2))
            row[self._slot(seconds)] += 1
            row[-1] += seconds

    def _slot(self, seconds: float) -> int:
        for slot, bound in enumerate(self.bounds):
            if seconds <= bound:
                return slot
        return len(self.bounds)

    def values(self) -> Mapping[Labels, tuple[tuple[int, ...], float]]:
        """Take a copy: counts between the bounds (the last is above all of them) and the sum."""
        with self._lock:
            return {
                key: (tuple(int(n) for n in row[:-1]), row[-1]) for key, row in self._rows.items()
            }


def _bounded(known: Mapping[Labels, object], labels: Labels) -> Labels:
    if labels in known or len(known) < MOST_LABEL_SETS:
        return labels
    return (_OTHER,) * len(labels)


_QUEUE: Final = ("queue",)

MESSAGES_SENT: Final = Counter(
    "queue_messages_sent_total", ("queue", "status"), "Messages sent, by success or failure"
)
MESSAGES_RECEIVED: Final = Counter("queue_messages_received_total", _QUEUE, "Messages received")
MESSAGES_COMPLETED: Final = Counter(
    "queue_messages_completed_total", _QUEUE, "Messages processed and acknowledged"
)
MESSAGES_ABANDONED: Final = Counter(
    "queue_messages_abandoned_total", _QUEUE, "Messages given back to their queue"
)
MESSAGES_DEAD_LETTERED: Final = Counter(
    "queue_messages_dead_lettered_total", _QUEUE, "Messages moved to a dead-letter queue"
)
RETRY_ATTEMPTS: Final = Counter(
    "queue_retry_attempts_total", _QUEUE, "Deliveries that failed and are to be repeated"
)
LOCKS_LOST: Final = Counter(
    "queue_locks_lost_total", _QUEUE, "Messages whose lock ended while they were held"
)
ERRORS: Final = Counter("queue_errors_total", ("queue", "error_type"), "Errors by category")
DEGRADED: Final = Counter(
    "queue_degraded_total",
    ("queue", "what"),
    "Times that a host could not do what was asked and took the safe side",
)
SEND_DURATION: Final = Histogram("queue_send_duration_seconds", _QUEUE, "Time of one send request")
RECEIVE_DURATION: Final = Histogram(
    "queue_receive_duration_seconds", _QUEUE, "Time of one receive request"
)
COMPLETE_DURATION: Final = Histogram(
    "queue_complete_duration_seconds", _QUEUE, "Time of one settle request"
)

INSTRUMENTS: Final[tuple[Counter | Histogram, ...]] = (
    MESSAGES_SENT,
    MESSAGES_RECEIVED,
    MESSAGES_COMPLETED,
    MESSAGES_ABANDONED,
    MESSAGES_DEAD_LETTERED,
    RETRY_ATTEMPTS,
    LOCKS_LOST,
    ERRORS,
    DEGRADED,
    SEND_DURATION,
    RECEIVE_DURATION,
    COMPLETE_DURATION,
)
