"""The counters and histograms that any part may bump; no exporter, no dependency, no clock."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Labels: TypeAlias = tuple[str, ...]

# Bounds of the OpenTelemetry messaging conventions, in seconds.
DURATION_BOUNDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip

# From a tenth of a second to the 14 days that SQS keeps a message.
AGE_BOUNDS: Final = (
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 1_209_600.0,
)  # fmt: skip

# A label value beyond these many is counted as "other", so that no producer can grow our memory.
MOST_LABEL_SETS: Final = 500
_OTHER: Final = "other"
# What one metric of a CloudWatch log line can hold.
MOST_RECENT: Final = 100


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


class Gauge:
    """A number that goes up and down, one for each set of label values."""

    __slots__ = ("_lock", "_values", "help", "labels", "name")

    def __init__(self, name: str, labels: Labels, help: str) -> None:
        self.name, self.labels, self.help = name, labels, help
        self._values: dict[Labels, float] = {}
        self._lock = Lock()

    def set(self, value: float, *labels: str) -> None:
        """Set the current value; label values in the order of `labels`. Safe from any thread."""
        with self._lock:
            self._values[_bounded(self._values, labels)] = value

    def values(self) -> Mapping[Labels, float]:
        """Take a copy of what was said last."""
        with self._lock:
            return dict(self._values)


class Histogram:
    """Counts durations in seconds between bounds, for each set of label values."""

    __slots__ = ("_lock", "_rows", "bounds", "help", "labels", "name", "recent")

    def __init__(
        self, name: str, labels: Labels, help: str, bounds: tuple[float, ...] = DURATION_BOUNDS
    ) -> None:
        self.name, self.labels, self.help, self.bounds = name, labels, help, bounds
        self._rows: dict[Labels, list[float]] = {}
        self._lock = Lock()
        # Single durations, for an exporter that sends them rather than counts; None keeps none.
        self.recent: dict[Labels, list[float]] | None = None

    def record(self, seconds: float, *labels: str) -> None:
        """Count one duration. Safe from any thread."""
        self.record_all((seconds,), *labels)

    def record_all(self, durations: Iterable[float], *labels: str) -> None:
        """Count many durations for the price of one lock."""
        from bisect import bisect_left  # a Lambda function that only counts does not load it

        bounds = self.bounds
        with self._lock:
            row = self._rows.get(labels)
            if row is None:
                labels = _bounded(self._rows, labels)
                row = self._rows.setdefault(labels, [0.0] * (len(bounds) + 2))
            for seconds in durations:
                row[bisect_left(bounds, seconds)] += 1
                row[-1] += seconds
                if self.recent is not None:
                    kept = self.recent.setdefault(labels, [])
                    if len(kept) < MOST_RECENT:
                        kept.append(seconds)

    def take_recent(self) -> Mapping[Labels, list[float]]:
        """Give the durations since the last time, at most `MOST_RECENT` for each set of labels."""
        with self._lock:
            taken, self.recent = self.recent or {}, {}
            return taken

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
DUPLICATES: Final = Counter(
    "queue_messages_duplicate_total",
    _QUEUE,
    "Messages acknowledged since their work was done before",
)
LOCKS_LOST: Final = Counter(
    "queue_locks_lost_total", _QUEUE, "Messages whose lock ended while they were held"
)
ERRORS: Final = Counter("queue_errors_total", ("queue", "error_type"), "Errors by category")
SIGNALS: Final = Counter(
    "queue_signals_total", ("queue", "signal"), "Retry, DeadLetter and Discard raised by handlers"
)
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

HANDLER_DURATION: Final = Histogram(
    "queue_handler_duration_seconds", _QUEUE, "Time of one call of a handler, its decoding included"
)
TIME_TO_DONE: Final = Histogram(
    "queue_time_to_done_seconds",
    _QUEUE,
    "Time from the send of a message until its settlement as completed",
    AGE_BOUNDS,
)
SESSIONS_ACCEPTED: Final = Counter(
    "queue_sessions_accepted_total", _QUEUE, "Sessions or message groups taken up"
)
SESSIONS_COMPLETED: Final = Counter(
    "queue_sessions_completed_total", _QUEUE, "Sessions whose messages were all done"
)
SESSIONS_ABANDONED: Final = Counter(
    "queue_sessions_abandoned_total", _QUEUE, "Sessions that were let go before all was done"
)
SESSION_DURATION: Final = Histogram(
    "queue_session_duration_seconds", _QUEUE, "Time that a session was held", AGE_BOUNDS
)
IN_FLIGHT: Final = Gauge("queue_messages_in_flight", _QUEUE, "Messages held and not settled yet")
BREAKER_STATE: Final = Gauge(
    "queue_breaker_state", _QUEUE, "The circuit breaker: 0 closed, 1 on trial, 2 open"
)
DEPTH: Final = Gauge(
    "queue_depth",
    ("queue", "state"),
    "Messages in the queue by state: visible, in_flight, delayed, dead_lettered",
)
OLDEST_SECONDS: Final = Gauge(
    "queue_oldest_message_seconds", _QUEUE, "Age of the oldest message that waits"
)
SECRET_SECONDS: Final = Gauge(
    "queue_secret_expires_seconds",
    ("queue", "setting"),
    "Time until a secret ends, where its store or the secret itself says so",
)

INSTRUMENTS: Final[tuple[Counter | Gauge | Histogram, ...]] = (
    MESSAGES_SENT,
    MESSAGES_RECEIVED,
    MESSAGES_COMPLETED,
    MESSAGES_ABANDONED,
    MESSAGES_DEAD_LETTERED,
    RETRY_ATTEMPTS,
    DUPLICATES,
    LOCKS_LOST,
    ERRORS,
    SIGNALS,
    DEGRADED,
    SEND_DURATION,
    RECEIVE_DURATION,
    COMPLETE_DURATION,
    HANDLER_DURATION,
    TIME_TO_DONE,
    SESSIONS_ACCEPTED,
    SESSIONS_COMPLETED,
    SESSIONS_ABANDONED,
    SESSION_DURATION,
    IN_FLIGHT,
    BREAKER_STATE,
    DEPTH,
    OLDEST_SECONDS,
    SECRET_SECONDS,
)
