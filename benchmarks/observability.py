"""What observing costs a message: metrics, tracing without and with an SDK, and a cold start."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from functools import partial
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

from benchmarks import cold_start
from benchmarks.lambda_dispatch import ATTRIBUTES, BODY
from benchmarks.paired import Figure, figure
from queue_runtime import Message, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.observability.events import events
from queue_runtime.observability.exporters.emf import Emf
from queue_runtime.testing import sqs_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS = 100
ROUNDS = 61
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVENT = sqs_event(*[BODY] * RECORDS, attributes=ATTRIBUTES)
LINKED = sqs_event(*[BODY] * RECORDS, attributes={**ATTRIBUTES, "traceparent": TRACEPARENT})

WITH_EMF = (
    """
import os
os.environ["QUEUE_METRICS"] = "emf"
"""
    + cold_start.OURS
)


@queue_handler
def no_op(message: Message[bytes]) -> None:
    """Do nothing with a message."""


def figures() -> Iterator[Figure]:
    """Measure the lines that issue and design promise."""
    logging.disable(logging.CRITICAL)
    bare = partial(_host(), EVENT, None)
    yield _above("metrics on / off (difference promised)", _with_metrics(), bare, 1.0)
    yield _above("API-only tracing / off (difference promised)", _traced(), bare, 4.0)
    _install_sdk()
    yield _above("recorded spans / off (difference promised)", _traced(), bare, 25.0)
    linked = _above("recorded spans with links / off (difference)", _traced(LINKED), bare, 0)
    yield linked._replace(limit=None)
    yield from _against_powertools()
    yield _cold_start()


def _host(**settings: object) -> LambdaHost:
    events.watching = False  # what an earlier host turned on
    return LambdaHost(no_op, settings=load_settings({}, environ={}, arguments=settings))


def _with_metrics() -> Callable[[], object]:
    return _watched(_host(metrics="prometheus"))


def _traced(event: Any = EVENT) -> Callable[[], object]:
    return _watched(_host(tracing="otel", flush_seconds=1.0), event)


def _watched(host: LambdaHost, event: Any = EVENT) -> Callable[[], object]:
    """Run a host that is watched, in a process where the other one is not."""

    def run() -> None:
        events.watching = True
        try:
            host(event, None)
        finally:
            events.watching = False

    return run


def _above(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], limit: float
) -> Figure:
    pairs = _pairs(ours, theirs)
    above = sorted(a - b for a, b in pairs)[len(pairs) // 2]
    return figure(name, pairs, "us", None)._replace(ratio=above, limit=limit)


def _pairs(ours: Callable[[], object], theirs: Callable[[], object]) -> list[tuple[float, float]]:
    ours(), theirs()
    each = 1e6 / RECORDS
    return [(_cpu(ours) * each, _cpu(theirs) * each) for _ in range(ROUNDS)]


def _cpu(call: Callable[[], object]) -> float:
    """Give CPU seconds, threads included: differences this small drown in what else runs."""
    started = process_time()
    for _ in range(3):
        call()
    return (process_time() - started) / 3


def _install_sdk() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=100_000))
    trace.set_tracer_provider(provider)


def _against_powertools() -> Iterator[Figure]:
    """Compare spans and metrics with Powertools' of both, and of both and a log line."""
    logging.disable(logging.NOTSET)
    emf, traced = Emf(out=io.StringIO()), _traced()

    def ours() -> None:
        traced()
        emf()

    for what, logs in (("Tracer + Metrics + Logger", True), ("Tracer + Metrics", False)):
        pairs = _pairs(ours, _powertools(logs=logs))
        yield figure(f"spans and EMF / Powertools {what}", pairs, "us", 1 / 3)


def _powertools(*, logs: bool) -> Callable[[], object]:
    os.environ |= {
        "LAMBDA_TASK_ROOT": tempfile.gettempdir(),
        "_X_AMZN_TRACE_ID": f"Root=1-{'5' * 8}-{'b' * 24};Parent={'5' * 16};Sampled=1",
    }
    from aws_lambda_powertools import Logger, Metrics, Tracer
    from aws_lambda_powertools.utilities.batch import (
        BatchProcessor,
        EventType,
        process_partial_response,
    )

    logger = Logger(service="orders", stream=io.StringIO())
    tracer = Tracer(service="orders", auto_patch=False)
    metrics = Metrics(namespace="orders", service="orders")
    processor = BatchProcessor(event_type=EventType.SQS)

    @tracer.capture_method
    def record_handler(record: Any) -> None:
        if logs:
            logger.info("taken", extra={"message_id": record.message_id})
        metrics.add_metric(name="taken", unit="Count", value=1)

    def run() -> None:
        process_partial_response(event=EVENT, record_handler=record_handler, processor=processor)
        metrics.flush_metrics()

    def quietly() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run()

    return quietly


def _cold_start() -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        pairs = cold_start.first_answers(
            Path(folder),
            WITH_EMF,
            cold_start.OURS,
            packages=("aws_lambda_powertools", "jmespath", "typing_extensions"),
        )
    above = sorted(a - b for a, b in pairs)[len(pairs) // 2]
    name = "cold start with EMF / without (CPU difference promised)"
    return figure(name, pairs, "ms", None)._replace(ratio=above, limit=60.0)
