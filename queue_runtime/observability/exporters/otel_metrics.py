"""Gives our metrics to an OpenTelemetry exporter, under our names and under the conventions'."""

from __future__ import annotations

import os
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Gauge as GaugeData
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.observability.metrics import INSTRUMENTS, Counter, Gauge, Histogram, Labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.metrics.export import MetricExporter

_SCOPE: Final = InstrumentationScope("queue_runtime")
_SECONDS: Final = 60.0
_TIMEOUT_MILLIS: Final = 10_000

# https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/: (ours, theirs, unit,
# operation name and type).
_BY_CONVENTION: Final = (
    (metrics.MESSAGES_RECEIVED, "messaging.client.consumed.messages", "receive", "receive"),
    (metrics.MESSAGES_SENT, "messaging.client.sent.messages", "send", "send"),
    (metrics.SEND_DURATION, "messaging.client.operation.duration", "send", "send"),
    (metrics.RECEIVE_DURATION, "messaging.client.operation.duration", "receive", "receive"),
    (metrics.COMPLETE_DURATION, "messaging.client.operation.duration", "settle", "settle"),
    (metrics.HANDLER_DURATION, "messaging.process.duration", "process", "process"),
)


class OtelMetrics:
    """Turns what was counted into what an exporter of the OpenTelemetry SDK sends.

    Args:
        exporter: what sends.
        delta: send what came since the last time, for services that want it so.
    """

    def __init__(self, exporter: MetricExporter, *, delta: bool = False) -> None:
        self._exporter = exporter
        self._delta = delta
        self._started = time_ns()
        self._sent: dict[tuple[str, Labels], Any] = {}  # what the exporter has taken
        self._now: dict[tuple[str, Labels], Any] = {}
        self._lock = Lock()
        # Counts of this process alone: without an id of its own another one's would fall in with
        # them.
        self._resource = Resource.create(
            {
                "service.instance.id": str(uuid4()),
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "queue_runtime"),
            }
        )

    def push(self) -> None:
        """Send everything once; what the exporter refuses is sent with the next push."""
        with self._lock:
            now = time_ns()
            self._now = {}
            metrics = list(self._metrics(now))
            if metrics:
                scope = ScopeMetrics(_SCOPE, metrics, "")
                data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
                sent = self._exporter.export(data, timeout_millis=_TIMEOUT_MILLIS)
                if sent is MetricExportResult.FAILURE:
                    return
            self._sent |= self._now
            if self._delta:
                self._started = now

    def _metrics(self, now: int) -> Iterator[Metric]:
        # The convention's metrics can have several of ours as their source.
        points: dict[str, tuple[Counter | Gauge | Histogram, list[Any]]] = {}
        for instrument in INSTRUMENTS:
            values = self._values(instrument)
            found = points.setdefault(instrument.name, (instrument, []))[1]
            found.extend(
                self._point(
                    instrument, dict(zip(instrument.labels, labels, strict=True)), each, now
                )
                for labels, each in values.items()
            )
            for ours, theirs, name, kind in _BY_CONVENTION:
                if ours is instrument:
                    found = points.setdefault(theirs, (instrument, []))[1]
                    found.extend(
                        self._point(instrument, _by_convention(labels, name, kind), each, now)
                        for labels, each in values.items()
                    )
        for name, (instrument, found) in points.items():
            if found:
                yield Metric(
                    name, instrument.help, _unit(instrument), self._data(instrument, found)
                )

    def _values(self, instrument: Counter | Gauge | Histogram) -> Mapping[Labels, Any]:
        values = instrument.values()
        if not self._delta or isinstance(instrument, Gauge):
            return values
        since = {}
        for labels, value in values.items():
            before = self._sent.get((instrument.name, labels))
            self._now[instrument.name, labels] = value
            if value != before:
                since[labels] = value if before is None else _less(value, before)
        return since

    def _point(
        self,
        instrument: Counter | Gauge | Histogram,
        attributes: dict[str, str],
        value: Any,
        now: int,
    ) -> Any:
        if not isinstance(instrument, Histogram):
            start = self._started if isinstance(instrument, Counter) else 0
            return NumberDataPoint(attributes, start, now, value)
        counts, total = value
        low: Any = None  # is not kept, and the protocol has it optional
        return HistogramDataPoint(
            attributes, self._started, now, sum(counts), total, counts, instrument.bounds, low, low
        )

    def _data(self, instrument: Counter | Gauge | Histogram, points: list[Any]) -> Any:
        temporality = (
            AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        )
        if isinstance(instrument, Gauge):
            return GaugeData(points)
        if isinstance(instrument, Counter):
            return Sum(points, temporality, is_monotonic=True)
        return HistogramData(points, temporality)


def _by_convention(labels: Labels, name: str, kind: str) -> dict[str, str]:
    queue, *status = labels
    attributes = {
        "messaging.system": events.systems.get(queue, "local"),
        "messaging.destination.name": queue,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }
    if status == ["failure"]:
        attributes["error.type"] = "_OTHER"
    return attributes


def _less(value: Any, before: Any) -> Any:
    if isinstance(value, tuple):
        counts = tuple(a - b for a, b in zip(value[0], before[0], strict=True))
        return counts, value[1] - before[1]
    return value - before


def _unit(instrument: Counter | Gauge | Histogram) -> str:
    if instrument.name.endswith("_seconds"):
        return "s"
    return "{message}" if "messages" in instrument.name else "1"
