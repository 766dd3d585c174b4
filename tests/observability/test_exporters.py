from __future__ import annotations

import io
import json
import threading
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from prometheus_client.parser import text_string_to_metric_families

from queue_runtime.errors import MissingExtraError, SettingsError
from queue_runtime.hosts.poller.health import Health, HealthServer
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.observability.exporters import choice
from queue_runtime.observability.exporters.emf import Emf
from queue_runtime.observability.exporters.otel_metrics import OtelMetrics
from queue_runtime.observability.exporters.periodic import Every, InTime
from queue_runtime.observability.exporters.prometheus import CONTENT_TYPE, exposition
from queue_runtime.observability.metrics import Counter, Gauge, Histogram
from tests.observability.otlp_receiver import OtlpReceiver, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator


# --- Prometheus ----------------------------------------------------------------------------------


def _families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_the_text_is_what_prometheus_reads() -> None:
    counter = Counter("things_total", ("queue", "kind"), "Things")
    gauge = Gauge("level", ("queue",), "A level")
    histogram = Histogram("took_seconds", ("queue",), "Time", (0.1, 1.0))
    counter.add(2, 'a"b\\c\nd', "x")
    gauge.set(1.5, "q")
    histogram.record_all([0.05, 0.5, 7.0], "q")
    families = _families(exposition([counter, gauge, histogram]))
    (thing,) = families["things"].samples
    assert (thing.labels, thing.value) == ({"queue": 'a"b\\c\nd', "kind": "x"}, 2)
    assert families["level"].type == "gauge"
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in families["took_seconds"].samples
    }
    assert samples == {
        ("took_seconds_bucket", "0.1"): 1,
        ("took_seconds_bucket", "1"): 2,
        ("took_seconds_bucket", "+Inf"): 3,
        ("took_seconds_sum", None): 7.55,
        ("took_seconds_count", None): 3,
    }


def test_every_instrument_is_there_even_before_it_is_used() -> None:
    types = [line.split()[2] for line in exposition().splitlines() if line.startswith("# TYPE")]
    assert types == [instrument.name for instrument in metrics.INSTRUMENTS]


def test_large_counts_are_exact() -> None:
    counter = Counter("c_total", (), "")
    counter.add(12_345_678_901)
    assert "c_total 12345678901\n" in exposition([counter])


def test_it_is_served_beside_the_health_of_a_poller() -> None:
    server = HealthServer(0, Health([]), host="127.0.0.1")
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{server.port}/metrics", timeout=10
        ) as answer:
            content_type, text = answer.headers["Content-Type"], answer.read().decode()
    finally:
        server.close()
    assert content_type == CONTENT_TYPE
    assert "queue_messages_received" in _families(text)


# --- OTLP ----------------------------------------------------------------------------------------


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    running = OtlpReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
    yield running
    running.close()


def _pusher(*, delta: bool = False) -> OtelMetrics:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OtelMetrics(OTLPMetricExporter(), delta=delta)


def _points(receiver: OtlpReceiver, name: str, queue: str) -> list[Any]:
    return [
        point
        for metric in receiver.metrics
        if metric.name == name
        for data in (metric.sum, metric.gauge, metric.histogram)
        for point in data.data_points
        if queue in attributes(point).values()
    ]


def test_our_names_and_the_conventions_are_sent_from_one_count(receiver: OtlpReceiver) -> None:
    events.systems["otlp-q"] = "aws_sqs"
    metrics.MESSAGES_SENT.add(2, "otlp-q", "success")
    metrics.MESSAGES_SENT.add(1, "otlp-q", "failure")
    metrics.HANDLER_DURATION.record(0.3, "otlp-q")
    metrics.IN_FLIGHT.set(4, "otlp-q")
    _pusher().push()
    ours = _points(receiver, "queue_messages_sent_total", "otlp-q")
    assert sorted(point.as_double or point.as_int for point in ours) == [1, 2]
    theirs = _points(receiver, "messaging.client.sent.messages", "otlp-q")
    assert sorted(attributes(point).get("error.type", "") for point in theirs) == ["", "_OTHER"]
    assert attributes(theirs[0])["messaging.system"] == "aws_sqs"
    (took,) = _points(receiver, "messaging.process.duration", "otlp-q")
    assert (took.count, took.sum) == (1, 0.3)
    assert list(took.explicit_bounds) == list(metrics.DURATION_BOUNDS)
    assert not took.HasField("min")
    (held,) = _points(receiver, "queue_messages_in_flight", "otlp-q")
    assert (held.as_double or held.as_int) == 4


def test_deltas_are_what_came_since(receiver: OtlpReceiver) -> None:
    pusher = _pusher(delta=True)
    for amount in (5, 2):
        receiver.metrics.clear()
        metrics.MESSAGES_RECEIVED.add(amount, "delta-q")
        metrics.HANDLER_DURATION.record_all([0.5] * amount, "delta-q")
        pusher.push()
        (point,) = _points(receiver, "queue_messages_received_total", "delta-q")
        assert (point.as_double or point.as_int) == amount
        (took,) = _points(receiver, "queue_handler_duration_seconds", "delta-q")
        assert took.count == amount
    receiver.metrics.clear()
    pusher.push()
    assert not _points(receiver, "queue_messages_received_total", "delta-q")


@pytest.mark.parametrize("text", [None, "InstrumentationKey=SECRET"])
def test_azure_monitor_without_a_connection_string_is_an_operators_mistake(
    text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_runtime.observability.exporters.azure_monitor import azure_monitor_metrics

    monkeypatch.delenv("APPLICATIONINSIGHTS_CONNECTION_STRING", raising=False)
    if text:
        monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", text)
    with pytest.raises(SettingsError, match="APPLICATIONINSIGHTS_CONNECTION_STRING") as caught:
        azure_monitor_metrics()
    assert "SECRET" not in str(caught.value)


def test_azure_monitor_takes_what_we_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

    sent: list[Any] = []

    def transmit(_self: Any, envelopes: list[Any]) -> Any:
        sent.extend(envelopes)
        from azure.monitor.opentelemetry.exporter.export._base import ExportResult

        return ExportResult.SUCCESS

    monkeypatch.setenv(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "InstrumentationKey=00000000-0000-0000-0000-000000000000;"
        "IngestionEndpoint=http://127.0.0.1:9/",
    )
    monkeypatch.setenv("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    monkeypatch.setattr(AzureMonitorMetricExporter, "_transmit", transmit)
    from queue_runtime.observability.exporters.azure_monitor import azure_monitor_metrics

    metrics.MESSAGES_RECEIVED.add(3, "azure-q")
    metrics.HANDLER_DURATION.record_all([0.5, 1.5], "azure-q")
    azure_monitor_metrics().now(10)
    values = {
        (metric["name"], metric["value"])
        for envelope in sent
        for metric in [
            {"name": each.name, "value": each.value} for each in envelope.data.base_data.metrics
        ]
        if "azure-q" in str(envelope.data.base_data.properties)
    }
    assert ("queue_messages_received_total", 3) in values
    assert ("queue_handler_duration_seconds", 2.0) in values


# --- EMF -----------------------------------------------------------------------------------------


@pytest.fixture
def emf(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Emf, io.StringIO]]:
    monkeypatch.delenv("POWERTOOLS_SERVICE_NAME", raising=False)
    out = io.StringIO()
    made = Emf(out=out)
    made()  # what other tests counted
    out.seek(0)
    out.truncate()
    yield made, out
    for instrument in metrics.INSTRUMENTS:
        if isinstance(instrument, Histogram):
            instrument.recent = None


def test_emf_has_what_came_since_with_single_durations(emf: tuple[Emf, io.StringIO]) -> None:
    write, out = emf
    metrics.MESSAGES_RECEIVED.add(3, "emf-q")
    metrics.HANDLER_DURATION.record_all([0.25, 0.5], "emf-q")
    write()
    (line,) = [json.loads(text) for text in out.getvalue().splitlines()]
    assert line["queue"] == "emf-q"
    assert line["queue_messages_received_total"] == [3]
    assert line["queue_handler_duration_seconds"] == [0.25, 0.5]
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "queue_runtime"
    assert directive["Dimensions"] == [["queue"]]
    assert {each["Name"]: each["Unit"] for each in directive["Metrics"]} == {
        "queue_messages_received_total": "Count",
        "queue_handler_duration_seconds": "Seconds",
    }
    write()
    assert len(out.getvalue().splitlines()) == 1


def test_dimensions_of_their_own_are_a_line_of_their_own(emf: tuple[Emf, io.StringIO]) -> None:
    write, out = emf
    metrics.MESSAGES_RECEIVED.add(1, "emf-r")
    metrics.ERRORS.add(1, "emf-r", "KeyError")
    write()
    lines = [json.loads(text) for text in out.getvalue().splitlines()]
    assert [line.get("error_type") for line in lines] == [None, "KeyError"]


def test_the_service_is_powertools_own(
    emf: tuple[Emf, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "shop")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Orders")
    out = io.StringIO()
    write = Emf(out=out)
    write()
    out.truncate(0)
    out.seek(0)
    metrics.MESSAGES_RECEIVED.add(1, "emf-s")
    write()
    line = json.loads(out.getvalue())
    assert line["service"] == "shop"
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Orders"


# --- choosing and sending ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("otlp", "opentelemetry.exporter.otlp.proto.http.metric_exporter", "otel"),
        ("azure-monitor", "azure.monitor.opentelemetry.exporter", "azure-monitor"),
        (
            "emf",
            "aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch",
            "powertools",
        ),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    name: Any, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(choice, "_started", {})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"queue-runtime\[{extra}\]"):
        choice.start_metrics(name)


def test_prometheus_needs_nothing_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_started", {})
    assert choice.start_metrics("prometheus") is None


def test_an_exporter_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_started", {})
    assert choice.start_metrics("emf") is choice.start_metrics("emf")
    for instrument in metrics.INSTRUMENTS:
        if isinstance(instrument, Histogram):
            instrument.recent = None


def test_what_takes_too_long_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    release, runs = threading.Event(), []

    def work() -> None:
        runs.append(1)
        release.wait(30)

    send = InTime(work)
    send(0.01)
    assert "longer than QUEUE_FLUSH_SECONDS" in caplog.text
    send(0.01)
    assert runs == [1]  # it is still under way, and not begun a second time
    release.set()
    send(30)
    assert len(runs) <= 2


def test_what_fails_is_said_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise RuntimeError("SECRET")

    InTime(work)(5)
    assert "RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text


def test_the_background_ends_with_a_last_time() -> None:
    done: list[int] = []
    often = Every(0.001, lambda: done.append(1))
    often.start()
    while len(done) < 2:
        pass
    often.close(5)
    count = len(done)
    assert count >= 3


def test_what_a_delta_exporter_did_not_take_is_in_the_next_push() -> None:
    class Refusing(MetricExporter):
        def __init__(self) -> None:
            super().__init__()
            self.answers = [OSError("down"), MetricExportResult.FAILURE]
            self.taken: list[float] = []

        def export(self, metrics_data: Any, timeout_millis: float = 0, **_: Any) -> Any:
            if self.answers:
                answer = self.answers.pop(0)
                if isinstance(answer, OSError):
                    raise answer
                return answer
            for metric in metrics_data.resource_metrics[0].scope_metrics[0].metrics:
                if metric.name == "queue_messages_duplicate_total":
                    points = metric.data.data_points
                    self.taken += [
                        point.value for point in points if point.attributes["queue"] == "refused"
                    ]
            return MetricExportResult.SUCCESS

        def shutdown(self, timeout_millis: float = 0, **_: Any) -> None: ...

        def force_flush(self, timeout_millis: float = 0) -> bool:
            return True

    exporter = Refusing()
    pushed = OtelMetrics(exporter, delta=True)
    for _ in range(4):
        metrics.DUPLICATES.add(10, "refused")
        with suppress(OSError):
            pushed.push()
    assert exporter.taken == [30, 10]
