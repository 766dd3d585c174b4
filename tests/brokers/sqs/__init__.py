"""An SQS for tests and benchmarks that real SDKs talk to over loopback."""

from tests.brokers.sqs.broker import SqsBroker
from tests.brokers.sqs.clock import MovableClock, stopped_clock
from tests.brokers.sqs.faults import Cut, Fail, FailEntries, Faults, Latency, Throttle
from tests.brokers.sqs.journal import Event, Journal, Kind

__all__ = [
    "Cut",
    "Event",
    "Fail",
    "FailEntries",
    "Faults",
    "Journal",
    "Kind",
    "Latency",
    "MovableClock",
    "SqsBroker",
    "Throttle",
    "stopped_clock",
]
