"""Sends metrics to Azure Monitor, which is told where by APPLICATIONINSIGHTS_CONNECTION_STRING."""

from __future__ import annotations

from queue_runtime.errors import MissingExtraError, SettingsError
from queue_runtime.observability.exporters.periodic import Every


def azure_monitor_metrics(seconds: float = 60.0) -> Every:
    """Make what sends all metrics every so many seconds.

    Spans need nothing of ours: `configure_azure_monitor()` of the same distribution sends them.

    Raises:
        MissingExtraError: Azure Monitor's OpenTelemetry distribution is not installed.
        SettingsError: it is not said where to.
    """
    try:
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

        from queue_runtime.observability.exporters.otel_metrics import OtelMetrics
    except ImportError:
        raise MissingExtraError("metrics for Azure Monitor", "azure-monitor") from None
    try:
        exporter = AzureMonitorMetricExporter()
    except ValueError:  # whose text may quote what was set
        raise SettingsError(
            "metrics for Azure Monitor: APPLICATIONINSIGHTS_CONNECTION_STRING is not set, or not "
            "whole; copy it from the Application Insights resource's overview"
        ) from None
    # It adds up what it is given, so what was sent before must not be in it again.
    return Every(seconds, OtelMetrics(exporter, delta=True).push)
