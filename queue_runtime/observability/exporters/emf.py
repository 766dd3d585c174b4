"""Writes metrics as CloudWatch's embedded metric format, a few log lines for each invocation."""

from __future__ import annotations

import os
import sys
from json import dumps
from typing import TYPE_CHECKING, Any, Final, TextIO

from queue_runtime.errors import MissingExtraError
from queue_runtime.observability.metrics import INSTRUMENTS, Counter, Gauge, Histogram, Labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STANDARD_RESOLUTION: Final = 60


class Emf:
    """Writes the counts since the last invocation, one line for each set of dimensions.

    Lines have the format of Powertools Metrics, with its namespace and service, and share nothing
    with what the handler itself does with that.

    Args:
        namespace: None takes POWERTOOLS_METRICS_NAMESPACE, or else `queue_runtime`.
        out: where to; None is stdout, which Lambda gives to CloudWatch.

    Raises:
        MissingExtraError: Powertools is not installed.
    """

    def __init__(self, namespace: str | None = None, out: TextIO | None = None) -> None:
        try:
            from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
                AmazonCloudWatchEMFProvider,
            )
        except ImportError:
            raise MissingExtraError("CloudWatch metrics (EMF)", "powertools") from None
        name = namespace or os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "queue_runtime"
        self._provider = AmazonCloudWatchEMFProvider(
            metric_set={}, dimension_set={}, metadata_set={}, namespace=name, default_dimensions={}
        )
        self._service = os.environ.get("POWERTOOLS_SERVICE_NAME")
        self._out = out
        self._sent: dict[tuple[str, Labels], float] = {}
        for instrument in INSTRUMENTS:
            if isinstance(instrument, Histogram):
                instrument.recent = {}

    def __call__(self, _seconds: float = 0.0) -> None:
        """Write what has changed."""
        by_dimensions: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        for name, dimensions, values, unit in self._changes():
            metrics = by_dimensions.setdefault(dimensions, {})
            metrics[name] = {
                "Unit": unit,
                "StorageResolution": _STANDARD_RESOLUTION,
                "Value": values,
            }
        for dimensions, metrics in by_dimensions.items():
            self._write(dict(dimensions), metrics)

    def _changes(self) -> Iterator[tuple[str, tuple[tuple[str, str], ...], list[float], str]]:
        for instrument in INSTRUMENTS:
            for labels, values in self._of(instrument):
                dimensions = tuple(zip(instrument.labels, labels, strict=True))
                yield instrument.name, dimensions, values, _unit(instrument)

    def _of(self, instrument: Counter | Gauge | Histogram) -> Iterable[tuple[Labels, list[float]]]:
        if isinstance(instrument, Histogram):
            yield from instrument.take_recent().items()
            return
        for labels, value in instrument.values().items():
            before = self._sent.get((instrument.name, labels))
            self._sent[instrument.name, labels] = value
            if value != before:
                change = value if isinstance(instrument, Gauge) else value - (before or 0)
                yield labels, [change]

    def _write(self, dimensions: dict[str, str], metrics: dict[str, Any]) -> None:
        if self._service:
            dimensions["service"] = self._service
        line = self._provider.serialize_metric_set(metrics, dimensions, metadata={})
        out = self._out or sys.stdout
        out.write(dumps(line, separators=(",", ":")) + "\n")
        out.flush()


def _unit(instrument: Counter | Gauge | Histogram) -> str:
    return "Seconds" if instrument.name.endswith("_seconds") else "Count"
