"""Everything is on, every error path is taken, and no output of any kind shows a body or a key."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from queue_runtime.exporters.emf import Emf
from queue_runtime.exporters.logs import JsonFormatter, log_as_json
from queue_runtime.exporters.prometheus import exposition
from queue_runtime.instruments import INSTRUMENTS, Histogram
from tests.hosts.test_lambda_secrets import CASES, SECRET
from tests.lambda_rig import Rig, Sqs, fifo, records, refused

CREDENTIAL = "Endpoint=sb://ns/;SharedAccessKeyName=n;SharedAccessKey=SECRET-4111-1111"


@pytest.mark.parametrize("deliveries", [1, 9])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("handler", "body"), CASES)
def test_no_line_span_or_metric_shows_a_body(
    handler: Any,
    body: str,
    ordered: bool,
    deliveries: int,
    spans: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = io.StringIO()
    root = logging.getLogger()
    stream = logging.StreamHandler(out)
    root.addHandler(stream)
    log_as_json("DEBUG")
    sent = {"traceparent": SECRET, "secret": SECRET}
    make: Any = fifo if ordered else records
    batch = make(("g", body) if ordered else body, deliveries=deliveries, attributes=sent)
    if ordered and "Batch" in repr(handler):
        handler.definition.batch_order = "accept_repeats"
    sqs = Sqs(broken=refused(), refuse={body: "InternalError"})
    Rig(handler, sqs=sqs, tracing="otel", metrics="prometheus", semconv="both")(*batch)
    emf = Emf(out=out)
    emf()
    for instrument in INSTRUMENTS:
        if isinstance(instrument, Histogram):
            instrument.recent = None
    lines = out.getvalue()
    assert all(json.loads(line) for line in lines.splitlines())
    everything = [
        lines,
        *(span.to_json() for span in spans.get_finished_spans()),
        exposition(),
        *capfd.readouterr(),
    ]
    assert len(everything) > 4
    assert [text for text in everything if SECRET in text] == []


def test_a_settings_secret_is_shown_nowhere() -> None:
    from queue_runtime.config import load_settings

    settings = load_settings(environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": CREDENTIAL})
    record = logging.makeLogRecord(
        {
            "msg": "%s %r",
            "args": (settings, settings.connection_string),
            "settings": settings,
            "secret": settings.connection_string,
        }
    )
    assert SECRET not in JsonFormatter().format(record)
