"""A poller in a process of its own, scraped by a real Prometheus and sending to a collector."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.observability.otlp_receiver import OtlpReceiver, attributes
from tests.observability.rig import PRODUCER
from tests.programs import program

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SHOP = """
import logging
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from queue_runtime import DeadLetter, queue_handler

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

@queue_handler(tracing="otel")
def take(body: str) -> None:
    logging.getLogger("shop").warning("taking")
    if body == "bad":
        raise DeadLetter("bad")
"""


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _until(what: str, look: Callable[[], Any], seconds: float = 40.0) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if found := look():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass  # it is not up yet
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come about in {seconds} s")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        content: bytes = answer.read()
        return content


def _query(prometheus: str, query: str) -> dict[str, float]:
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    results = json.loads(_get(url))["data"]["result"]
    return {each["metric"]["queue"]: float(each["value"][1]) for each in results}


def test_a_running_poller_is_scraped_and_sends(tmp_path: Path) -> None:
    program("prometheus")
    (tmp_path / "shop.py").write_text(SHOP)
    receiver, health, web = OtlpReceiver(), _free_port(), _free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "QUEUE_HEALTH_PORT": str(health),
        "QUEUE_METRICS": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_SERVICE_NAME": "shop",
    }
    command = [sys.executable, "-m", "queue_runtime.cli"]
    for body in ("good", "bad"):
        subprocess.run(
            [*command, "send", body, "--queue", "local://orders", "--attribute",
             f"traceparent={PRODUCER}"],
            cwd=tmp_path, env=environment, check=True, timeout=30, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    poller = subprocess.Popen(
        [*command, "poll", "shop:take", "--queue", "local://orders"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    config = tmp_path / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
                "rule_files": [str(ROOT / "infra" / "observability" / "alerts.yaml")],
                "scrape_configs": [
                    {
                        "job_name": "pollers",
                        "static_configs": [{"targets": [f"127.0.0.1:{health}"]}],
                    }
                ],
            }
        )
    )
    prometheus = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{web}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{web}"
        for metric, count in (
            ("queue_messages_received_total", 2),
            ("queue_messages_completed_total", 1),
            ("queue_messages_dead_lettered_total", 1),
            ('queue_depth{state="dead_lettered"} or queue_messages_in_flight', None),
        ):
            _until(metric, partial(_shows, address, metric, count))
        rules = json.loads(_get(f"{address}/api/v1/rules"))["data"]["groups"][0]["rules"]
        assert all(rule["health"] == "ok" for rule in rules)
        poller.send_signal(signal.SIGTERM)
        _, errors = poller.communicate(timeout=30)
        assert poller.returncode == 0, errors
    finally:
        for process in (poller, prometheus):
            process.kill()
            process.wait()
        if poller.stderr:
            poller.stderr.close()
        receiver.close()
    _check_lines(errors.decode())
    _check_sent(receiver)


def _shows(prometheus: str, query: str, count: int | None) -> bool:
    found = _query(prometheus, query)
    return "orders" in found and count in (None, found["orders"])


def _check_lines(text: str) -> None:
    lines = [json.loads(line) for line in text.splitlines()]
    own = [line for line in lines if line["logger"] == "shop"]
    assert len(own) == 2
    assert all(line["message_id"] and line["trace_id"] for line in own)
    assert [line["level"] for line in lines if line.get("operation") == "dead_letter"] == ["ERROR"]


def _check_sent(receiver: OtlpReceiver) -> None:
    names = [span.name for span in receiver.spans]
    assert names.count("process orders") == 2
    assert {"receive orders", "complete orders", "dead_letter orders"} <= set(names)
    links = [
        link.trace_id.hex()
        for span in receiver.spans
        for link in span.links
        if span.name == "process orders"
    ]
    assert links == [PRODUCER.split("-")[1]] * 2
    points = {
        metric.name: metric.sum.data_points[0]
        for metric in receiver.metrics
        if metric.HasField("sum")
    }
    assert points["queue_messages_received_total"].as_int == 2
    assert attributes(points["messaging.client.consumed.messages"]) == {
        "messaging.system": "local",
        "messaging.destination.name": "orders",
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
    }
    assert receiver.resources[0]["service.name"] == "shop"
