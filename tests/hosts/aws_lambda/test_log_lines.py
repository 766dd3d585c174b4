"""What is logged on Lambda costs no message, whatever its handlers do and producers write."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_log_utils import LogFormat

from queue_runtime import Batch, Message, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda.host import LambdaHost
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.observability.exporters.logs import RUNNING, log_as_json
from queue_runtime.outcome import DeadLetter, Retry
from tests.lambda_rig import Rig, Sqs, fifo, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TEXT, JSON = LogFormat.TEXT, LogFormat.JSON
HALF = "\ud800"
HOSTILE = f"{HALF}\n\x1b[31m" + "x" * 250_000


@queue_handler
def one(message: Message[dict[str, Any]]) -> None:
    _do(message.body)


@queue_handler(concurrency=3)
async def one_in_loop(message: Message[dict[str, Any]]) -> None:
    _do(message.body)


@queue_handler(batch_order="accept_repeats")
def many(batch: Batch[dict[str, Any]]) -> None:
    for message in batch:
        try:
            _do(message.body)
        except Exception as error:
            batch.fail(message, error)


def _do(body: dict[str, Any]) -> None:
    if "dead" in body:
        raise DeadLetter(f"no customer named {body['dead']}")
    if "busy" in body:
        raise Retry(f"{body['busy']} is busy", after=3)
    if "bad" in body:
        raise ValueError(body["bad"])


HANDLERS = [one, one_in_loop, many]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = logger.level
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(events, "watching", False)
    monkeypatch.setattr(events, "binding", False)
    yield logger
    logger.setLevel(before)


def _forged(identity: str) -> dict[str, Any]:
    attributes = {"queue_runtime": json.dumps({"id": identity}), "correlation_id": HOSTILE}
    (record,) = records(json.dumps({"bad": HALF}), attributes=attributes)
    return {**record, "messageId": "forged", "receiptHandle": "forged"}


def _hostile_among_good() -> list[dict[str, Any]]:
    return [
        *records("{}", json.dumps({"dead": HOSTILE}), json.dumps({"busy": HOSTILE}), "{}"),
        _forged(HOSTILE),
    ]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize(
    ("form", "level"), [(TEXT, ""), (TEXT, "INFO"), (JSON, "INFO"), (JSON, "WARNING")]
)
@pytest.mark.parametrize("logs", [None, "json"])
def test_the_runtimes_own_log_handler_gets_what_it_can_write(
    handler: Any,
    form: LogFormat,
    level: str,
    logs: str | None,
    root: logging.Logger,
    tmp_path: Path,
) -> None:
    with (tmp_path / "frames").open("wb") as file:
        sink = bootstrap.FramedTelemetryLogSink(os.dup(file.fileno()))
        with sink:
            bootstrap._setup_logging(form, level, sink)
            root.setLevel(level or "INFO")
            before = metrics.ERRORS.values().get(("orders", "log:UnicodeEncodeError"), 0)
            result = Rig(handler, dead_letter="dlq", logs=logs)(*_hostile_among_good())
    assert result.failed == ["m3", "forged"]
    assert len(result.sqs.sent) == 1
    assert metrics.ERRORS.values().get(("orders", "log:UnicodeEncodeError"), 0) == before
    texts = _frames((tmp_path / "frames").read_bytes())
    assert len(texts) >= 3
    for text in texts:
        assert len(text) < 20_000
        assert text.count(b"\n") == 1
        if logs or form is JSON:
            assert isinstance(json.loads(text), dict)


def _frames(data: bytes) -> list[bytes]:
    texts = []
    while data:
        end = 16 + int.from_bytes(data[4:8], "big")
        texts.append(data[16:end])
        data = data[end:]
    return texts


class Breaks(logging.Handler):
    """Raises at each line, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        raise OSError("the log shipper is down")


class BreaksAsFilter(Breaks):
    def filter(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        raise AssertionError


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("kind", [Breaks, BreaksAsFilter])
@pytest.mark.parametrize("order", [records, lambda *bodies: fifo(*(("g", b) for b in bodies))])
def test_a_log_handler_that_raises_costs_lines_and_nothing_else(
    handler: Any, kind: type[Breaks], order: Callable[..., Any], root: logging.Logger
) -> None:
    breaks = kind()
    root.addHandler(breaks)
    root.setLevel("INFO")
    result = Rig(handler, dead_letter="dlq")(*order({}, {"dead": "x"}, {"bad": "x"}))
    assert len(result.failed) == 1
    assert len(result.sqs.sent) == 1
    assert breaks.lines >= 4


def test_an_observer_that_raises_costs_a_line(caplog: pytest.LogCaptureFixture) -> None:
    def observe(messages: Sequence[Message[Any]], outcomes: object) -> None:
        raise KeyError(messages[0].payload)

    host = LambdaHost(one, settings=load_settings(environ={}), clients=Sqs(), observe=observe)
    assert host({"Records": records({"name": "SECRET"})}, None) == {"batchItemFailures": []}
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert (vars(line)["queue_name"], vars(line)["message_id"]) == ("orders", "m1")
    assert "in test_an_observer_that_raises_costs_a_line.<locals>.observe" in line.getMessage()
    assert "SECRET" not in str(vars(line))


@pytest.mark.parametrize("seam", ["delivery_middleware", "call_middleware"])
def test_a_middleware_that_raises_is_named_with_its_message_and_place(
    seam: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(messages: object, call_next: object) -> Any:
        raise KeyError("SECRET")

    options: Any = {seam: [broken]}

    @queue_handler(**options)
    def handler(body: dict[str, Any]) -> None: ...

    assert Rig(handler)(*records({})).failed == ["m1"]
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert (vars(line)["queue_name"], vars(line)["message_id"]) == ("orders", "m1")
    assert vars(line)["stack"][0].endswith("<locals>.broken")
    assert f"a middleware raised KeyError (at {vars(line)['stack'][0]})" in line.getMessage()
    assert "SECRET" not in str(vars(line))


def test_poison_does_not_point_at_our_own_code(caplog: pytest.LogCaptureFixture) -> None:
    Rig(one, dead_letter="dlq")(*records("no json"))
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "queue_runtime/" not in line.getMessage()
    assert vars(line)["stack"] == []


def test_json_logs_leave_nothing_bound_behind(root: logging.Logger) -> None:
    log_as_json("INFO")
    root.addHandler(Breaks())
    Rig(one)(*records({}))
    assert RUNNING.get() is None
