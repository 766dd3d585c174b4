"""What is sent before a reply: inside its time, and never at the price of an outcome."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Retry, queue_handler
from queue_runtime.observability import metrics
from queue_runtime.observability.exporters import choice, periodic
from queue_runtime.observability.exporters.periodic import InTime
from tests.lambda_rig import Clock, Rig, fifo, records

if TYPE_CHECKING:
    from collections.abc import Callable


@queue_handler
def take(body: str) -> None:
    if body == "busy":
        raise Retry("busy")


@pytest.fixture
def send_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has the exporter of metrics do something else."""

    def set_up(work: Callable[[], object]) -> None:
        monkeypatch.setattr(choice, "_started", {"otlp": InTime(work)})

    return set_up


def test_metrics_are_sent_before_the_reply(send_with: Any) -> None:
    counted: list[Any] = []
    send_with(lambda: counted.append(metrics.MESSAGES_COMPLETED.values().get(("flushed",), 0)))
    Rig(take, metrics="otlp", flush_seconds=30.0)(*records("a", queue="flushed"))
    assert counted == [1]


def test_a_collector_that_hangs_holds_the_reply_up_no_longer_than_its_reserve(
    send_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    send_with(lambda: release.wait(30))
    result = Rig(take, metrics="otlp", flush_seconds=0.01)(*records("a", "busy"))
    assert result.fates == ["ack", "retry"]
    assert "QUEUE_FLUSH_SECONDS" in caplog.text
    release.set()


def test_a_flush_that_fails_changes_no_outcome(
    send_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ConnectionError("SECRET")

    send_with(fail)
    assert Rig(take, metrics="otlp")(*records("a", "busy")).fates == ["ack", "retry"]
    assert "SECRET" not in caplog.text


def test_an_exporter_that_fails_at_once_changes_no_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_seconds: float) -> None:
        raise ConnectionError

    monkeypatch.setattr(choice, "_started", {"emf": fail})
    assert Rig(take, metrics="emf")(*records("a")).fates == ["ack"]


def test_with_no_time_left_nothing_is_sent(
    send_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clock, sent = Clock(), []
    send_with(lambda: sent.append(1))

    @queue_handler
    def overruns(body: str) -> None:
        clock.advance(60)

    Rig(overruns, clock=clock, metrics="otlp")(*records("a"), seconds=30)
    assert not sent
    assert "no time left to send" in caplog.text


def test_the_flush_has_its_own_part_of_the_reserve() -> None:
    clock = Clock()
    ends: list[float] = []

    def handler(body: str) -> None:
        ends.append(clock())
        clock.advance(1.0)

    def started(**settings: Any) -> int:
        ends.clear()
        rig = Rig(queue_handler(handler), clock=clock, reserve_seconds=0.5, **settings)
        rig(*records(*"abcdefghij"), seconds=8.0)
        return len(ends)

    assert started() > started(metrics="prometheus", flush_seconds=1.0)


def test_spans_are_flushed_when_an_sdk_is_there(
    spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace

    flushed: list[int] = []
    provider: Any = trace.get_tracer_provider()
    monkeypatch.setattr(
        provider, "force_flush", lambda *_: flushed.append(len(spans.get_finished_spans()))
    )
    Rig(take, tracing="otel", flush_seconds=30.0)(*records("a"))
    assert flushed == [2]


def test_without_an_sdk_there_is_nothing_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace

    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    monkeypatch.setattr(periodic, "_force_flush", None)
    periodic.flush_spans(1.0)


def test_sessions_and_times_are_counted() -> None:
    metrics.HANDLER_DURATION.values()
    Rig(take, metrics="prometheus")(*fifo(("g", "a"), ("h", "busy"), ("g", "b")))
    queue = ("orders.fifo",)
    counts = {
        each.name: each.values().get(queue)
        for each in (
            metrics.SESSIONS_ACCEPTED,
            metrics.SESSIONS_COMPLETED,
            metrics.SESSIONS_ABANDONED,
        )
    }
    assert all(counts.values())
    assert sum(metrics.HANDLER_DURATION.values()[queue][0]) >= 3
    assert sum(metrics.TIME_TO_DONE.values()[queue][0]) >= 2
    assert sum(metrics.SESSION_DURATION.values()[queue][0]) >= 2


def test_the_breaker_tells_its_state() -> None:
    clock = Clock()

    @queue_handler
    def fails(body: str) -> None:
        if body != "good":
            raise ValueError

    rig = Rig(fails, clock=clock, breaker_failures=1, breaker_seconds=10, breaker_successes=1)
    state = metrics.BREAKER_STATE.values
    rig(*records("x", queue="breaks"))
    assert state()[("breaks",)] == 2
    clock.advance(11)
    rig(*records("good", queue="breaks"))
    assert state()[("breaks",)] == 0
    rig(*records("x", queue="breaks"))
    clock.advance(11)
    rig(*records("x", queue="breaks"))
    assert state()[("breaks",)] == 2
