"""Starts the one exporter of metrics that an operator chose."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from queue_runtime.observability.exporters.periodic import Every

_AT_EXIT_SECONDS: Final = 2.0

_started: dict[str, Callable[[float], None] | None] = {}


def start_metrics(
    choice: Literal["prometheus", "otlp", "emf", "azure-monitor"],
) -> Callable[[float], None] | None:
    """Start an exporter, once a process; gives what sends everything now, where that is needed.

    Prometheus fetches, so for it nothing is started.

    Raises:
        MissingExtraError: an optional dependency is not installed.
    """
    if choice not in _started:
        _started[choice] = _start(choice)
    return _started[choice]


def _start(choice: str) -> Callable[[float], None] | None:
    if choice == "prometheus":
        return None
    if choice == "emf":
        from queue_runtime.observability.exporters.emf import Emf

        return Emf()
    if choice == "otlp":
        from queue_runtime.observability.exporters.otlp import otlp_metrics

        return _in_background(otlp_metrics())
    from queue_runtime.observability.exporters.azure_monitor import azure_monitor_metrics

    return _in_background(azure_monitor_metrics())


def _in_background(every: Every) -> Callable[[float], None]:
    every.start()
    atexit.register(every.close, _AT_EXIT_SECONDS)
    return every.now
