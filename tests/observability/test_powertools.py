"""Powertools' Logger, Tracer and Metrics in a handler, and its decorators around and below it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_xray_sdk import global_sdk_config

from queue_runtime import Message, Retry, queue_handler
from queue_runtime.testing import lambda_context, sqs_event
from tests.lambda_rig import Rig, records

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def powertools(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "shop")
    yield
    Metrics().clear_metrics()
    # A Tracer that is disabled disables the X-Ray SDK for all of the process.
    global_sdk_config.set_sdk_enabled(True)


def test_all_three_work_inside_a_handler(capsys: pytest.CaptureFixture[str], spans: Any) -> None:
    out = io.StringIO()
    logger, metrics, tracer = Logger(service="a", stream=out), Metrics(service="a"), Tracer("a")

    @tracer.capture_method
    def book(body: str) -> None:
        logger.info("booking", extra={"message_body_length": len(body)})

    @queue_handler(tracing="otel")
    def take(message: Message[str]) -> None:
        book(message.body)
        metrics.add_metric(name="booked", unit="Count", value=1)
        if message.body == "busy":
            raise Retry("busy")

    assert Rig(take, metrics="emf", logs="json")(*records("a", "busy")).fates == ["ack", "retry"]
    metrics.flush_metrics()
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    theirs = [line for line in printed if "booked" in line]
    assert theirs[0]["booked"] == [1.0, 1.0]
    assert any("queue_messages_received_total" in line for line in printed)
    assert not any("queue_messages_received_total" in line for line in theirs)
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["booking"] * 2


def test_their_decorators_go_below_ours() -> None:
    out = io.StringIO()
    logger, tracer = Logger(service="b", stream=out), Tracer("b")
    taken: list[Any] = []

    @queue_handler
    @tracer.capture_method
    def take(order: dict[str, Any]) -> None:
        logger.info("taken")
        taken.append(order)

    event = sqs_event({"id": 1}, {"id": 2})
    assert take(event, lambda_context()) == {"batchItemFailures": []}
    assert taken == [{"id": 1}, {"id": 2}]


def test_their_decorators_go_around_the_entry_point(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    logger, metrics, tracer = Logger(service="c", stream=out), Metrics(service="c"), Tracer("c")

    @queue_handler
    def take(order: dict[str, Any]) -> None:
        logger.info("taken")
        metrics.add_metric(name="taken", unit="Count", value=1)

    handler: Any = logger.inject_lambda_context(
        metrics.log_metrics(tracer.capture_lambda_handler(lambda e, c: take(e, c)))
    )
    reply = handler(sqs_event({"id": 1}, "{broken"), lambda_context())
    assert len(reply["batchItemFailures"]) == 1
    (line,) = [json.loads(text) for text in out.getvalue().splitlines()]
    assert line["function_request_id"]
    (metric,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert metric["taken"] == [1.0]


def test_a_powertools_line_is_json_of_its_own_even_after_ours() -> None:
    from queue_runtime.observability.exporters.logs import log_as_json

    out = io.StringIO()
    logger = Logger(service="d", stream=out)
    log_as_json("INFO")
    logger.info("theirs")
    assert json.loads(out.getvalue())["service"] == "d"
