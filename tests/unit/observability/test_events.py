import logging
from typing import Any

import pytest

from queue_runtime.message import Message
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.observability.log_lines import stack
from queue_runtime.outcome import (
    ACK,
    DeadLetter,
    Discard,
    Disposition,
    Outcome,
    Retry,
    Signal,
    classify,
    unrun,
)

FIELDS = (
    "queue_name",
    "message_id",
    "session_id",
    "correlation_id",
    "operation",
    "delivery_count",
)


def _message(queue: str = "q") -> Message[str]:
    return Message.of(
        "SECRET", id="m1", queue=queue, group_id="g", correlation_id="c", delivery_count=2
    )


def _error() -> Exception:
    try:
        raise ValueError("SECRET")
    except ValueError as error:
        return error


def _settle(outcome: Outcome, queue: str = "q") -> None:
    events.settled(queue, [_message(queue)], [outcome])


@pytest.mark.parametrize(
    ("outcome", "level", "operation", "text"),
    [
        (ACK, logging.INFO, "complete", "message m1 of q completed"),
        (
            classify(Discard("old")),
            logging.INFO,
            "complete",
            "message m1 of q discarded: old",
        ),
        (
            unrun("no time", delay=0.0),
            logging.INFO,
            "abandon",
            "message m1 of q returned unrun: no time",
        ),
        (
            Outcome(Disposition.RETRY, reason="busy"),
            logging.WARNING,
            "abandon",
            "message m1 of q to be retried: busy",
        ),
        (
            Outcome(Disposition.RETRY, reason="busy", delay=30),
            logging.WARNING,
            "abandon",
            "message m1 of q to be retried in 30.0 s: busy",
        ),
        (
            Outcome(Disposition.DEAD_LETTER, reason="bad"),
            logging.ERROR,
            "dead_letter",
            "message m1 of q dead-lettered: bad",
        ),
    ],
)
def test_each_fate_is_one_line_with_the_six_fields(
    outcome: Outcome, level: int, operation: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _settle(outcome)
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (level, text)
    assert [getattr(line, name) for name in FIELDS] == ["q", "m1", "g", "c", operation, 2]


def test_a_failure_says_where_it_came_from_and_never_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _settle(Outcome(Disposition.RETRY, reason="ValueError", error=_error()))
    (line,) = caplog.records
    assert line.error_type == "ValueError"  # type: ignore[attr-defined]
    assert "test_events.py:" in line.stack[0]  # type: ignore[attr-defined]
    assert line.stack[0].endswith("in _error")  # type: ignore[attr-defined]
    assert f"(at {line.stack[0]})" in caplog.text  # type: ignore[attr-defined]
    assert "SECRET" not in str(vars(line))


def test_an_error_that_was_never_raised_has_no_stack(caplog: pytest.LogCaptureFixture) -> None:
    _settle(Outcome(Disposition.RETRY, reason="x", error=ValueError()))
    assert caplog.records[0].stack == []  # type: ignore[attr-defined]
    assert "(at " not in caplog.text


def test_a_deep_stack_is_cut_to_its_innermost_frames() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError
        dive(depth - 1)

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - only its stack is of interest
        dive(40)
    frames = stack(caught.value)
    assert len(frames) == 12
    assert len(set(frames)) == 2


def test_nothing_is_formatted_for_a_level_that_nobody_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="queue_runtime")
    for outcome in (ACK, unrun("x"), Outcome(Disposition.DEAD_LETTER)):
        _settle(outcome)
    assert caplog.records == []


def _counts(queue: str) -> dict[str, Any]:
    return {
        instrument.name: value
        for instrument in metrics.INSTRUMENTS
        if isinstance(instrument, metrics.Counter)
        for labels, value in instrument.values().items()
        if labels[0] == queue
    }


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (ACK, {"queue_messages_completed_total": 1}),
        (
            classify(Discard()),
            {"queue_messages_completed_total": 1, "queue_signals_total": 1},
        ),
        (unrun("x"), {"queue_messages_abandoned_total": 1}),
        (
            Outcome(Disposition.RETRY, error=ValueError()),
            {
                "queue_messages_abandoned_total": 1,
                "queue_retry_attempts_total": 1,
                "queue_errors_total": 1,
            },
        ),
        (
            Outcome(Disposition.DEAD_LETTER),
            {"queue_messages_dead_lettered_total": 1, "queue_errors_total": 1},
        ),
    ],
)
def test_each_fate_is_counted(
    outcome: Outcome, counted: dict[str, int], request: pytest.FixtureRequest
) -> None:
    queue = request.node.name
    _settle(outcome, queue)
    assert _counts(queue) == counted


def test_errors_are_counted_by_type() -> None:
    _settle(Outcome(Disposition.RETRY, error=KeyError("SECRET")), "by-type")
    _settle(Outcome(Disposition.DEAD_LETTER), "by-type")
    labels = [labels for labels in metrics.ERRORS.values() if labels[0] == "by-type"]
    assert labels == [("by-type", "KeyError"), ("by-type", "Unknown")]


class Busy(Retry):
    """A user's own kind of a signal."""


@pytest.mark.parametrize(
    ("raised", "signal"),
    [(Busy(), "Retry"), (DeadLetter(), "DeadLetter"), (Discard(), "Discard"), (Signal(), "Signal")],
)
def test_signals_are_counted_apart_from_errors(raised: Signal, signal: str) -> None:
    queue = f"signal-{signal}"
    _settle(classify(raised), queue)
    assert metrics.SIGNALS.values()[queue, signal] == 1
    assert [labels for labels in metrics.ERRORS.values() if labels[0] == queue] == []


def test_received_messages_are_counted() -> None:
    events.received("arrivals", [_message()] * 7)
    assert metrics.MESSAGES_RECEIVED.values()[("arrivals",)] == 7


def test_what_a_host_cannot_do_is_said_once_a_queue_and_always_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_said", set())
    for queue in ("said-a", "said-a", "said-b"):
        events.say_once(queue, "thing", "cannot do it")
    assert [line.getMessage() for line in caplog.records] == [
        "said-a: cannot do it",
        "said-b: cannot do it",
    ]
    assert metrics.DEGRADED.values()[("said-a", "thing")] == 2
