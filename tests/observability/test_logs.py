from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_log_utils import LogFormat

from queue_runtime import Batch, Message, Retry, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.observability.events import events
from queue_runtime.observability.exporters.logs import (
    InfoSampler,
    JsonFormatter,
    SdkLines,
    keep_sdks_quiet,
    log_as_json,
)
from queue_runtime.observability.log_lines import FIELDS
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage
from tests.lambda_rig import Clock, Rig, fifo, records

if TYPE_CHECKING:
    from pathlib import Path

own = logging.getLogger("shop")


class Lines(io.StringIO):
    """What was logged, as a program reads it."""

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def about(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in self.all() if line["logger"] == logger]


@pytest.fixture
def lines() -> Lines:
    root, found = logging.getLogger(), Lines()
    root.handlers[:] = [logging.StreamHandler(found)]
    root.setLevel(logging.WARNING)
    return found


def _our_handler(lines: Lines) -> logging.Handler:
    # pytest puts handlers of its own beside it.
    return next(h for h in logging.getLogger().handlers if getattr(h, "stream", None) is lines)


@queue_handler
def talks(message: Message[str]) -> None:
    own.info("booking")
    if message.body == "busy":
        raise Retry("ledger busy", after=3)


@queue_handler
async def talks_in_loop(body: str) -> None:
    own.info("before")
    await asyncio.sleep(0)
    own.info("after %s", body)


@queue_handler
def talks_of_all(batch: Batch[str]) -> None:
    own.info("loading")


def _of(line: dict[str, Any]) -> list[Any]:
    return [line[name] for name in FIELDS]


def test_a_line_inside_a_handler_says_which_message(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks)(*records("a", attributes={"correlation_id": "c1"}, deliveries=2))
    (line,) = lines.about("shop")
    assert _of(line) == ["orders", "m1", None, "c1", "process", 2]
    assert line["message"] == "booking"
    assert line["level"] == "INFO"
    assert line["timestamp"].endswith("Z")


def test_none_is_written_and_not_left_out(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks)(*records("busy"))
    assert lines.about("queue_runtime")
    for line in lines.about("shop") + lines.about("queue_runtime")[1:]:
        assert set(FIELDS) <= line.keys()
        assert line["session_id"] is None


def test_lines_of_async_handlers_that_overlap_are_not_mixed_up(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks_in_loop, concurrency=3)(*records("a", "b", "c"))
    found = [(line["message"], line["message_id"]) for line in lines.about("shop")]
    assert [found.count(("before", name)) for name in ("m1", "m2", "m3")] == [1, 1, 1]
    assert {pair for pair in found if pair[0] != "before"} == {
        ("after a", "m1"),
        ("after b", "m2"),
        ("after c", "m3"),
    }


def test_a_batch_handlers_lines_say_the_queue_and_how_many(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks_of_all)(*records("a", "b"))
    (line,) = lines.about("shop")
    assert _of(line) == ["orders", None, None, None, "process", None]
    assert line["message_count"] == 2


def test_a_group_is_the_session(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks)(*fifo(("g1", "a")))
    assert lines.about("shop")[0]["session_id"] == "g1"


def test_lines_from_a_pollers_threads_are_bound_too(lines: Lines) -> None:
    log_as_json("INFO")

    async def poll() -> None:
        transport = open_transport("local://logs?memory", settings=load_settings(environ={}))
        await transport.send([OutgoingMessage(body="a", attributes={"correlation_id": "c"})])
        await Poller(talks, transport, settings=load_settings(environ={})).run(Until.EMPTY)
        await transport.aclose()

    asyncio.run(poll())
    (line,) = lines.about("shop")
    assert (line["queue_name"], line["operation"], line["delivery_count"]) == ("logs", "process", 1)
    assert line["message_id"]


def test_what_was_bound_ends_with_the_call(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks)(*records("a"))
    own.info("later")
    assert not set(FIELDS) & lines.about("shop")[-1].keys()


def test_without_json_logs_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(talks)
    rig(*records("a"))
    assert rig.host.delivery.watch is None


def test_it_may_be_asked_for_after_the_handler_was_made(lines: Lines) -> None:
    rig = Rig(talks)
    rig(*records("a"))
    log_as_json("INFO")
    rig(*records("b"))
    assert lines.about("shop")[-1]["message_id"] == "m1"


def test_a_setting_turns_it_on(lines: Lines) -> None:
    logging.getLogger().setLevel(logging.INFO)
    Rig(talks, logs="json")(*records("a"))
    assert lines.about("shop")[0]["message_id"] == "m1"


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (ACK, "INFO"),
        (Outcome(Disposition.RETRY, reason="busy"), "WARNING"),
        (Outcome(Disposition.DEAD_LETTER, reason="bad"), "ERROR"),
    ],
)
def test_levels_are_the_guides(outcome: Outcome, level: str, lines: Lines) -> None:
    log_as_json("INFO")
    events.settled("q", [Message.of("x")], [outcome])
    assert [line["level"] for line in lines.all()] == [level]


def test_extra_values_are_kept_and_what_is_not_json_is_text(lines: Lines) -> None:
    log_as_json("INFO")

    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError

    extra = {"amount": 3, "where": {1}, "it": Unshowable(), "about": Message.of("SECRET")}
    own.info("x %s", "y", extra=extra)
    (line,) = lines.all()
    assert (line["message"], line["amount"], line["where"]) == ("x y", 3, "{1}")
    assert line["it"] == "<Unshowable>"
    assert "SECRET" not in line["about"]


def test_an_exception_of_the_users_own_is_in_the_line(lines: Lines) -> None:
    log_as_json("INFO")
    try:
        raise KeyError("k")
    except KeyError:
        own.exception("broken", stack_info=True)
    (line,) = lines.all()
    assert "KeyError: 'k'" in line["exception"]
    assert "test_logs.py" in line["stack_info"]


def test_a_line_is_always_one_line(lines: Lines) -> None:
    log_as_json("INFO")
    own.info("a\nb")
    assert len(lines.getvalue().splitlines()) == 1


def test_a_process_without_handlers_gets_one_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger().handlers[:] = []
    log_as_json()
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
    assert logging.getLogger().level == logging.INFO


def test_a_hosts_own_level_and_handlers_are_kept(lines: Lines) -> None:
    root = logging.getLogger()
    root.setLevel(logging.ERROR)
    log_as_json()
    assert root.level == logging.ERROR
    assert isinstance(_our_handler(lines).formatter, JsonFormatter)


def test_asked_for_twice_it_samples_once(lines: Lines) -> None:
    log_as_json("INFO", info_lines=1)
    log_as_json("INFO", info_lines=2)
    assert len(_our_handler(lines).filters) == 1


def _passes(sampler: InfoSampler, level: int = logging.INFO, name: str = "queue_runtime") -> Any:
    record = logging.LogRecord(name, level, "", 0, "m", None, None)
    return getattr(record, "lines_left_out", 0) if not sampler.filter(record) else record


def test_under_load_info_lines_are_left_out_and_counted() -> None:
    clock = Clock()
    sampler = InfoSampler(2, clock)
    passed = [bool(_passes(sampler)) for _ in range(5)]
    assert passed == [True, True, False, False, False]
    clock.advance(1.0)
    assert _passes(sampler).lines_left_out == 3
    assert not hasattr(_passes(sampler), "lines_left_out")


def test_warnings_and_the_handlers_own_lines_always_pass() -> None:
    sampler = InfoSampler(1, Clock())
    assert _passes(sampler)
    assert not _passes(sampler)
    assert _passes(sampler, logging.WARNING)
    assert _passes(sampler, name="shop")


def test_a_line_within_a_span_names_it(lines: Lines, spans: Any) -> None:
    from opentelemetry.trace import get_tracer

    log_as_json("INFO")
    own.info("outside")
    with get_tracer("t").start_as_current_span("s") as span:
        own.info("inside")
    outside, inside = lines.all()
    assert "trace_id" not in outside
    assert inside["span_id"] == f"{span.get_span_context().span_id:016x}"


def test_a_thread_of_the_handlers_own_is_not_bound(lines: Lines) -> None:
    log_as_json("INFO")

    @queue_handler
    def starts(body: str) -> None:
        thread = threading.Thread(target=own.info, args=("elsewhere",))
        thread.start()
        thread.join()

    Rig(starts)(*records("a"))
    assert "message_id" not in lines.about("shop")[0]


LONG = "x" * 250_000


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        ({"ratio": float("nan")}, "nan"),
        ({"ratio": [float("inf")]}, "[inf]"),
        ({"by_pair": {(1, 2): 3}}, "{(1, 2): 3}"),
        ({"text": "half \ud800, \x85 and \u2028"}, "half \\ud800, \x85 and \u2028"),
    ],
)
def test_what_json_has_no_form_for_is_text(extra: dict[str, Any], shown: str, lines: Lines) -> None:
    log_as_json("INFO")
    own.info("x", extra={**extra, "amount": 3})
    (line,) = lines.all()
    (name,) = extra
    assert (line[name], line["amount"]) == (shown, 3)
    lines.getvalue().encode()


def test_an_integer_without_a_text_and_a_circle_cost_themselves_only(lines: Lines) -> None:
    log_as_json("INFO")
    circle: list[Any] = []
    circle.append(circle)
    own.info("x", extra={"count": 10**5000, "circle": circle})
    (line,) = lines.all()
    assert (line["count"], line["circle"]) == ("<int>", "[[...]]")


def test_arguments_that_do_not_fit_are_shown_beside_their_format(lines: Lines) -> None:
    log_as_json("INFO")
    own.info("%d of %d", "one")
    assert lines.all()[0]["message"] == "%d of %d ('one',)"


def test_a_line_that_nobody_could_store_whole_is_cut_value_by_value(lines: Lines) -> None:
    log_as_json("INFO")
    own.info("%s", LONG, extra={"short": 1, "body": LONG, LONG: 2})
    (line,) = lines.all()
    assert len(lines.getvalue()) < 5_000
    assert line["message"].endswith("… (250000 characters)")
    assert (line["short"], line["level"]) == ("1", "INFO")


def test_a_producers_text_is_cut_in_the_fields_of_a_handlers_own_lines(lines: Lines) -> None:
    log_as_json("INFO")
    Rig(talks)(*records("a", attributes={"correlation_id": "\x1b" + LONG}))
    (line,) = lines.about("shop")
    assert line["correlation_id"].startswith("\\x1bxxx")
    assert len(line["correlation_id"]) == 1_000


@pytest.mark.parametrize("form", [LogFormat.TEXT, LogFormat.JSON])
@pytest.mark.parametrize("level", ["", "INFO"])
def test_on_lambda_a_line_is_an_object_of_its_own_without_a_framed_channel(
    form: LogFormat, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    root.handlers[:] = []
    bootstrap._setup_logging(form, level, bootstrap.StandardLogSink())
    for _ in range(2):  # a module may ask twice
        log_as_json("INFO")
    for number in range(3):
        own.info("line %d", number)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in found] == ["line 0", "line 1", "line 2"]
    assert all("_frame_type" not in line for line in found)


FRAMES = (logging.DEBUG, 25, logging.WARNING, logging.ERROR, 90)


@pytest.mark.parametrize("form", [LogFormat.TEXT, LogFormat.JSON])
def test_on_lambda_a_frame_has_the_kind_that_the_runtime_gives_it(
    form: LogFormat, tmp_path: Path
) -> None:
    root = logging.getLogger()

    def frames(name: str, *, ours: bool) -> list[bytes]:
        root.handlers[:] = []
        with (tmp_path / name).open("wb") as file:
            sink = bootstrap.FramedTelemetryLogSink(os.dup(file.fileno()))
            with sink:
                bootstrap._setup_logging(form, "DEBUG", sink)
                if ours:
                    log_as_json()
                for level in FRAMES:
                    own.log(level, "x")
        return _kinds((tmp_path / name).read_bytes())

    assert frames("ours", ours=True) == frames("theirs", ours=False)


def _kinds(data: bytes) -> list[bytes]:
    """Take the kind of each frame, which its length and the time follow."""
    kinds = []
    while data:
        kinds.append(data[:4])
        data = data[16 + int.from_bytes(data[4:8], "big") :]
    return kinds


def test_lines_of_sdks_are_kept_back_and_counted_in_one_of_ours(lines: Lines) -> None:
    now = 0.0
    handler = _our_handler(lines)
    handler.addFilter(SdkLines(lambda: now))
    sdk = logging.getLogger("azure.servicebus._pyamqp")
    for _ in range(225):
        sdk.error("Unexpected error occurred. Handler shutting down.")
    now = 61.0
    sdk.warning("once more")
    own.error("of the handler")
    said = [line.partition(" were kept back")[0] for line in lines.getvalue().splitlines()]
    # Links that other tests have left may say something of their own meanwhile.
    assert said[0] == "1 lines of the SDK's loggers azure.*"
    assert said[-1] == "of the handler"
    counts = [int(line.split()[0]) for line in said[:-1]]
    assert sum(counts) >= 226
    assert len(counts) < 10


def test_at_debug_the_sdks_lines_are_written(lines: Lines) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    keep_sdks_quiet()
    logging.getLogger("azure.servicebus").error("theirs")
    assert "theirs" in lines.getvalue()
    logging.getLogger().setLevel(logging.WARNING)
    keep_sdks_quiet()
    keep_sdks_quiet()
    assert [type(each) for each in _our_handler(lines).filters] == [SdkLines]
