"""Everything is on, every error path is taken, and no output of any kind shows a body or a key.

Here for Lambda, settings and log levels; test_secrets_polled.py has the pollers of the clouds, and
tests/hosts/azure_functions/test_secrets.py the Functions host.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
from typing import Any

import pytest

from queue_runtime.cli import poll as poll_command
from queue_runtime.clouds.aws import QueueArn, queue_arn
from queue_runtime.config import load_settings
from queue_runtime.errors import QueueNotFoundError
from queue_runtime.observability.exporters.emf import Emf
from queue_runtime.observability.exporters.logs import SDKS, JsonFormatter, log_as_json, set_level
from queue_runtime.observability.exporters.prometheus import exposition
from queue_runtime.observability.metrics import INSTRUMENTS, Histogram
from queue_runtime.transports import open_transport
from tests.hosts.aws_lambda.test_secrets import CASES, SECRET
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


@pytest.mark.parametrize(
    "given",
    [
        CREDENTIAL,
        f"servicebus://{CREDENTIAL}",
        f"servicebus://ns/orders?SharedAccessKey={SECRET}",
        f"servicebus://n:{SECRET}@ns/orders",
        f"https://key:{SECRET}@sqs.us-east-1.amazonaws.com/123456789012/orders",
        f"https://sqs.us-east-1.amazonaws.com/123456789012/orders?X-Amz-Security-Token={SECRET}",
        f"local://orders?password={SECRET}",
        f"amqp://guest:{SECRET}@localhost/orders",
        f"SharedAccessKeyName=n;SharedAccessKey={SECRET}",
    ],
)
def test_a_queue_that_is_given_with_a_secret_is_refused_without_it(given: str) -> None:
    with pytest.raises(QueueNotFoundError) as caught:
        open_transport(given, settings=load_settings(environ={}))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "given", [CREDENTIAL, f"https://key:{SECRET}@host/orders", f"sig={SECRET}"]
)
def test_a_dead_letter_queue_that_is_given_with_a_secret_is_refused_without_it(given: str) -> None:
    with pytest.raises(QueueNotFoundError) as caught:
        queue_arn(given, QueueArn("aws", "us-east-1", "123456789012", "orders"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_commands_lines_of_debugging_are_not_the_sdks(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    said = argparse.Namespace(quiet=False, json=False, log_level="debug", with_parent=False)
    poll_command._set_up_logs(said, load_settings({}, environ={}))
    assert logging.getLogger("shop.orders").isEnabledFor(logging.DEBUG)
    assert [sdk for sdk in SDKS if logging.getLogger(f"{sdk}.x").isEnabledFor(logging.DEBUG)] == []


def test_who_wants_an_sdks_lines_gets_them() -> None:
    wanted = logging.getLogger("botocore")
    wanted.setLevel(logging.DEBUG)
    set_level("DEBUG")
    assert wanted.level == logging.DEBUG


def test_no_sdk_says_more_than_the_level_allows() -> None:
    set_level("ERROR")
    assert not logging.getLogger("botocore").isEnabledFor(logging.WARNING)
