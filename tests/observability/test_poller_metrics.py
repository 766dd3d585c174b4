from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import sys
from typing import Any

import pytest
from opentelemetry.trace import ProxyTracerProvider

from queue_runtime import DeadLetter, Retry, queue_handler
from queue_runtime.cli import poll as poll_command
from queue_runtime.config import load_settings
from queue_runtime.errors import AccessDeniedError
from queue_runtime.hosts.poller import Until, observation
from queue_runtime.hosts.poller.observation import Observation
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.observability.exporters.logs import JsonFormatter, ToStderr, log_as_json
from queue_runtime.observability.exporters.prometheus import exposition
from queue_runtime.transports.base import Depth, OutgoingMessage
from tests.hosts.aws_lambda.test_secrets import CASES, SECRET
from tests.observability.rig import poll


@queue_handler(max_deliveries=2)
def take(body: str) -> None:
    if body == "bad":
        raise DeadLetter("bad")
    if body == "busy":
        raise Retry("busy", after=0)


def _count(instrument: Any, queue: str) -> Any:
    value = instrument.values().get((queue,), 0)
    return sum(value[0]) if isinstance(value, tuple) else value


def test_everything_that_a_poller_does_is_counted() -> None:
    bodies = ("a", "b", "bad", "busy")
    poll(
        take, *(OutgoingMessage(body=body) for body in bodies), queue="polled", metrics="prometheus"
    )
    counted = {
        each.name: _count(each, "polled")
        for each in metrics.INSTRUMENTS
        if each.labels == ("queue",)
    }
    assert counted["queue_messages_received_total"] == 5
    assert counted["queue_messages_completed_total"] == 2
    assert counted["queue_messages_abandoned_total"] == 1
    assert counted["queue_retry_attempts_total"] == 1
    assert counted["queue_messages_dead_lettered_total"] == 2
    assert counted["queue_handler_duration_seconds"] == 5
    assert counted["queue_time_to_done_seconds"] == 2
    assert counted["queue_receive_duration_seconds"] > 0
    assert counted["queue_complete_duration_seconds"] > 0
    assert counted["queue_messages_in_flight"] == 0


def test_without_metrics_no_times_are_taken() -> None:
    poll(take, OutgoingMessage(body="a"), queue="untimed")
    assert _count(metrics.MESSAGES_COMPLETED, "untimed") == 1
    assert _count(metrics.HANDLER_DURATION, "untimed") == 0
    assert _count(metrics.TIME_TO_DONE, "untimed") == 0


def test_a_group_is_a_session_until_it_is_idle_or_has_a_retry() -> None:
    sent = [
        OutgoingMessage(body="a", group_id="good"),
        OutgoingMessage(body="b", group_id="good"),
        OutgoingMessage(body="busy", group_id="retried"),
    ]
    poll(take, *sent, queue="grouped", options="&ordered", metrics="prometheus")
    assert _count(metrics.SESSIONS_ACCEPTED, "grouped") == 3
    assert _count(metrics.SESSIONS_COMPLETED, "grouped") == 2  # the retried one, at the end
    assert _count(metrics.SESSIONS_ABANDONED, "grouped") == 1
    assert _count(metrics.SESSION_DURATION, "grouped") == 3


class Queue:
    """A queue of which only the depth is of interest."""

    queue, system, place = "deep", "local", None

    def __init__(self, *depths: Depth | Exception) -> None:
        self._depths = list(depths)
        self.asked = asyncio.Event()

    async def depth(self) -> Depth:
        depth = self._depths.pop(0)
        if not self._depths:
            self.asked.set()
        if isinstance(depth, Exception):
            raise depth
        return depth


def test_the_depth_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "_DEPTH_SECONDS", 0.001)

    async def run() -> None:
        queue: Any = Queue(
            Depth(9, 9, 9), AccessDeniedError("no"), KeyError("bug"), Depth(5, 2, 1, 7, 12.5)
        )
        settings = load_settings({}, environ={}, arguments={"metrics": "prometheus"})
        watched = Observation(queue, settings, take.definition)
        watched.start()
        async with asyncio.timeout(30):
            await queue.asked.wait()
        await asyncio.sleep(0)
        watched.close()
        await watched.flush()

    asyncio.run(run())
    states = {
        labels[1]: value for labels, value in metrics.DEPTH.values().items() if labels[0] == "deep"
    }
    assert states == {"visible": 5, "in_flight": 2, "delayed": 1, "dead_lettered": 7}
    assert _count(metrics.OLDEST_SECONDS, "deep") == 12.5
    assert metrics.ERRORS.values()[("deep", "depth:AccessDeniedError")] == 1


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)))
def test_no_error_path_of_a_poller_shows_a_body(
    number: int, case: tuple[Any, str], spans: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    handler, body = case
    out = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(out))
    log_as_json("DEBUG")
    message = OutgoingMessage(body=body, attributes={"traceparent": SECRET, "producer": SECRET})
    # A queue of its own, and once: what a middleware breaks is retried without end.
    queue = f"secret-{number}"
    poll(handler, message, queue=queue, until=Until.ONCE, max_deliveries=1, tracing="otel")
    lines = out.getvalue()
    assert all(json.loads(line) for line in lines.splitlines())
    everything = [
        lines,
        exposition(),
        *(span.to_json() for span in spans.get_finished_spans()),
        *capfd.readouterr(),
    ]
    assert [text for text in everything if SECRET in text] == []


def _options(**said: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"quiet": False, "json": False, "log_level": "warning", "with_parent": False, **said}
    )


@pytest.mark.parametrize(
    ("said", "terminal", "level", "as_json"),
    [
        ({}, False, logging.WARNING, True),
        ({}, True, logging.WARNING, False),
        ({"json": True}, True, logging.WARNING, True),
        ({"quiet": True}, False, logging.CRITICAL, True),
        ({"log_level": "info"}, True, logging.INFO, False),
    ],
)
def test_the_commands_lines_are_json_where_no_person_looks(
    said: dict[str, Any],
    terminal: bool,
    level: int,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.NOTSET)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    poll_command._set_up_logs(_options(**said), load_settings({}, environ={}))
    (handler,) = root.handlers
    assert root.level == level
    assert isinstance(handler.formatter, JsonFormatter) == as_json


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metrics": "prometheus"}, "QUEUE_HEALTH_PORT"),
        ({"metrics": "emf"}, "for functions"),
        ({"tracing": "xray"}, "records on Lambda only"),
        ({"tracing": "otel"}, "no OpenTelemetry SDK"),
    ],
)
def test_what_comes_to_nothing_is_said_at_the_start(
    settings: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(events, "_said", set())
    monkeypatch.setattr(
        "queue_runtime.observability.tracing.get_tracer_provider", ProxyTracerProvider
    )
    poll(take, queue="useless", **settings)
    assert [said in line for line in caplog.messages] == [True]


def test_log_lines_go_to_what_stderr_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = ToStderr()
    above_the_table = io.StringIO()
    monkeypatch.setattr(sys, "stderr", above_the_table)
    handler.emit(logging.makeLogRecord({"msg": "cut off"}))
    assert above_the_table.getvalue() == "cut off\n"
