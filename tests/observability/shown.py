"""Collects whatever this process shows to anybody, to look for secrets in it."""

from __future__ import annotations

import io
import logging
import traceback
from typing import TYPE_CHECKING, Any

from queue_runtime.observability.exporters.emf import Emf
from queue_runtime.observability.exporters.logs import SDKS, JsonFormatter
from queue_runtime.observability.exporters.prometheus import exposition
from queue_runtime.observability.metrics import INSTRUMENTS, Histogram
from tests.hosts.aws_lambda.test_secrets import SECRET

if TYPE_CHECKING:
    import pytest
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# What somebody sets to have all of it.
EVERYTHING_ON: dict[str, Any] = {
    "logs": "json",
    "metrics": "prometheus",
    "tracing": "otel",
    "semconv": "both",
}
# A secret that a service tells in its own words. What is the SDK's repeats those: its lines, and
# its errors as the causes of ours.
TOLD = "TOLD-4111-1111"


class Shown(logging.Handler):
    """All lines of all loggers, errors that reached a caller, spans, metrics, stdout and stderr."""

    def __init__(self, spans: InMemorySpanExporter, streams: pytest.CaptureFixture[str]) -> None:
        super().__init__()
        self.secrets = [SECRET]
        self.ours: list[str] = []
        self.of_sdks: list[str] = []
        self.errors: list[str] = []
        self.traces: list[str] = []
        self._spans, self._streams = spans, streams

    def emit(self, record: logging.LogRecord) -> None:
        lines = self.of_sdks if record.name.partition(".")[0] in SDKS else self.ours
        lines.append(f"{JsonFormatter().format(record)} {vars(record)}")

    def raised(self, error: BaseException) -> None:
        """Take an error as a caller sees it who lets it go through to the top."""
        self.errors.append(repr(error))
        self.traces += traceback.format_exception(error)

    def said(self, text: str) -> bool:
        """Tell whether a line of ours had this."""
        return any(text in line for line in self.ours)

    def hides_secrets(self, *shown: str) -> bool:
        """Tell whether no secret was shown, and whatever `shown` names was."""
        ours = [
            *self.ours,
            *self.errors,
            *(span.to_json() for span in self._spans.get_finished_spans()),
            *_metrics(),
            *self._streams.readouterr(),
        ]
        missing = [text for text in shown if not _with([text], ours)]
        assert missing == []
        assert _with([TOLD], ours) == []
        assert _with(self.secrets, [*ours, *self.of_sdks, *self.traces]) == []
        return True


def _with(texts: list[str], lines: list[str]) -> list[str]:
    return [line for line in lines if any(text in line for text in texts)]


def _metrics() -> tuple[str, str]:
    out = io.StringIO()
    Emf(out=out)()
    for instrument in INSTRUMENTS:
        if isinstance(instrument, Histogram):
            instrument.recent = None
    return out.getvalue(), exposition()


def attributes(**others: Any) -> dict[str, Any]:
    """Give a message's attributes, each with a secret in it."""
    return {"traceparent": SECRET, "secret": SECRET, **others}
