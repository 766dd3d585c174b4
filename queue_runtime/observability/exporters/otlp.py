"""Sends metrics to an OpenTelemetry collector over HTTP, as its own variables say."""

from __future__ import annotations

from queue_runtime.errors import MissingExtraError
from queue_runtime.observability.exporters.periodic import Every


def otlp_metrics(seconds: float = 60.0) -> Every:
    """Make what sends all metrics every so many seconds; OTEL_EXPORTER_OTLP_* says where to.

    Raises:
        MissingExtraError: the OpenTelemetry SDK or its exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        from queue_runtime.observability.exporters.otel_metrics import OtelMetrics
    except ImportError:
        raise MissingExtraError("metrics over OTLP", "otel") from None
    return Every(seconds, OtelMetrics(OTLPMetricExporter()).push)
