"""One OpenTelemetry SDK for the process, and a process whose telemetry is off before each test."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from queue_runtime.observability.events import events
from queue_runtime.observability.exporters import logs
from tests.observability.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def _exporter() -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span that ended since the test began."""
    exporter = _exporter()
    exporter.clear()
    yield exporter
    exporter.clear()


@pytest.fixture
def shown(spans: InMemorySpanExporter, capfd: pytest.CaptureFixture[str]) -> Shown:
    """What is shown from now on, of lines everything down to DEBUG."""
    everything = Shown(spans, capfd)
    logging.getLogger().addHandler(everything)
    logs.log_as_json("DEBUG")
    return everything


@pytest.fixture(autouse=True)
def off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(events, "_said", set())
    monkeypatch.setattr(events, "_watchers", [])
    monkeypatch.setattr(events, "watching", False)
    monkeypatch.setattr(events, "binding", False)
    monkeypatch.setattr(events, "systems", {})
    root = logging.getLogger()
    before = root.handlers[:], root.level, [handler.formatter for handler in root.handlers]
    sdks = {sdk: sdk.level for sdk in map(logging.getLogger, logs.SDKS)}
    yield
    for sdk, level in sdks.items():
        sdk.setLevel(level)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for handler, formatter in zip(before[0], before[2], strict=True):
        handler.setFormatter(formatter)
