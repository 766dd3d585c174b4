from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import PartialCredentialsError

from queue_runtime.clouds.aws import parse_queue_arn
from queue_runtime.errors import MissingExtraError, QueueNotFoundError
from queue_runtime.message import Message
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, Disposition, Outcome, unrun
from queue_runtime.settlement.failures import outcomes_of
from queue_runtime.settlement.plan import Abilities, Rules, plan
from queue_runtime.transports.sqs.delays_and_dead_letters import LONGEST_DELAY, SqsSource
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD
from tests.lambda_rig import ENDPOINT, Sqs, records, refused

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE = parse_queue_arn("arn:aws:sqs:us-east-1:123456789012:orders")


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_said", set())


def _source(sqs: Any, dead_letter: str | None = "orders-dlq", **options: Any) -> SqsSource:
    return SqsSource(QUEUE, dead_letter=dead_letter, clients=sqs, **options)


def settle(
    source: SqsSource,
    messages: list[Message[bytes]],
    outcomes: list[Outcome],
    in_time: Callable[[], bool] = lambda: True,
    *,
    error_text: bool = True,
) -> list[Outcome]:
    """Settle as a Lambda host does, and give what became of each message."""
    can, rules = Abilities(), Rules(lambda deliveries: 5.0 * deliveries, "mod.handler", error_text)
    steps = plan(messages, outcomes, can, rules)
    failures = source.settle(steps, in_time)
    return outcomes_of(messages, outcomes, steps, failures, can, rules)


def _messages(*bodies: str, **options: Any) -> list[Message[bytes]]:
    return [Message(r, LAMBDA_RECORD, "orders") for r in records(*bodies, **options)]


def _retry(delay: float | None) -> Outcome:
    return Outcome(Disposition.RETRY, delay=delay)


def _dead(reason: str = "bad", error: Exception | None = None) -> Outcome:
    return Outcome(Disposition.DEAD_LETTER, reason=reason, error=error)


def test_nothing_to_do_makes_no_client() -> None:
    sqs = Sqs()
    outcomes = [ACK, _retry(None)]
    assert settle(_source(sqs), _messages("a", "b"), outcomes) == outcomes
    assert sqs.regions == []


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(0.0, 0), (0.1, 1), (30, 30), (30.5, 31), (43_200, LONGEST_DELAY), (1e300, LONGEST_DELAY)],
)
def test_a_delay_is_set_in_whole_seconds_never_too_early_and_never_beyond_12_hours(
    delay: float, seconds: int
) -> None:
    sqs = Sqs()
    settle(_source(sqs), _messages("a"), [_retry(delay)])
    assert sqs.visibility == {"r1": seconds}
    assert sqs.calls[0][1] == f"{ENDPOINT}/123456789012/orders"
    assert LONGEST_DELAY <= 43_200 - 900


def test_unrun_messages_come_back_at_once() -> None:
    sqs = Sqs()
    settle(_source(sqs), _messages("a", "b"), [unrun("x", delay=0.0), unrun("y")])
    assert sqs.visibility == {"r1": 0}


def test_a_delay_that_could_not_be_set_is_named_and_still_a_retry() -> None:
    sqs = Sqs(refuse={"r2": "AccessDenied"})
    outcomes = settle(_source(sqs), _messages("a", "b", "c"), [_retry(1)] * 3)
    assert [outcome.disposition for outcome in outcomes] == [Disposition.RETRY] * 3
    assert [outcome.delay for outcome in outcomes] == [1, None, 1]
    assert "its delay was not set: AccessDenied: allow sqs:Change" in outcomes[1].reason
    assert "r2" not in outcomes[1].reason


def test_delays_for_which_there_is_no_time_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sqs = Sqs()
    source = _source(sqs)
    for _ in range(2):
        settle(source, _messages("a", "b"), [_retry(1)] * 2, lambda: False)
    assert sqs.calls == []
    assert [record.operation for record in caplog.records] == ["settle_time"]  # type: ignore[attr-defined]


def test_dead_letters_go_in_one_request_and_are_then_acknowledged() -> None:
    sqs = Sqs()
    error = ValueError("no such account")
    outcomes = settle(_source(sqs), _messages("a", "b", "c"), [_dead("x", error), ACK, _dead("y")])
    assert [str(outcome.disposition) for outcome in outcomes] == [
        "dead-letter",
        "ack",
        "dead-letter",
    ]
    assert [(url, len(entries)) for _, url, entries in sqs.calls] == [
        (f"{ENDPOINT}/123456789012/orders-dlq", 2)
    ]
    assert [entry["MessageBody"] for entry in sqs.sent] == ["a", "c"]
    facts = json.loads(sqs.sent[0]["MessageAttributes"]["queue_runtime"]["StringValue"])
    assert (facts["id"], facts["reason"], facts["error"]) == ("m1", "x", "no such account")
    assert (facts["queue"], facts["handler"], facts["deliveries"]) == ("orders", "mod.handler", 1)


def test_the_error_text_can_be_left_out() -> None:
    sqs = Sqs()
    settle(_source(sqs), _messages("a"), [_dead("x", ValueError("SECRET"))], error_text=False)
    assert "SECRET" not in str(sqs.calls)


def test_a_settled_dead_letter_is_not_sent_again() -> None:
    sqs = Sqs()
    outcome = _dead().replace(settled=True)
    assert settle(_source(sqs), _messages("a"), [outcome]) == [outcome]
    assert sqs.sent == []


def test_each_failed_send_is_a_retry_of_its_message_alone() -> None:
    sqs = Sqs(refuse={"b": "InternalError"}, forget=["c"])
    outcomes = settle(_source(sqs), _messages("a", "b", "c"), [_dead("bad")] * 3)
    assert [str(outcome.disposition) for outcome in outcomes] == ["dead-letter", "retry", "retry"]
    assert outcomes[1].reason == "bad (not dead-lettered: InternalError)"
    assert outcomes[2].reason == "bad (not dead-lettered: NoAnswer)"
    assert outcomes[1].delay == 5.0
    assert not outcomes[1].unrun


def test_a_request_that_fails_as_a_whole_makes_retries_of_all() -> None:
    outcomes = settle(_source(Sqs(broken=refused())), _messages("a", "b"), [_dead()] * 2)
    assert [str(outcome.disposition) for outcome in outcomes] == ["retry", "retry"]


def test_one_that_cannot_be_copied_holds_no_other_up() -> None:
    sqs = Sqs()
    messages = _messages("a", "b", "c")
    messages[1].native["messageAttributes"] = {
        f"a{n}": {"stringValue": "x", "dataType": "String"} for n in range(10)
    }
    outcomes = settle(_source(sqs), messages, [_dead("bad")] * 3)
    assert [str(outcome.disposition) for outcome in outcomes] == [
        "dead-letter",
        "retry",
        "dead-letter",
    ]
    assert "no copy of it" in outcomes[1].reason
    assert [entry["MessageBody"] for entry in sqs.sent] == ["a", "c"]


def test_nothing_that_can_be_copied_makes_no_request() -> None:
    sqs = Sqs()
    messages = _messages("a")
    messages[0].native["messageAttributes"] = {
        f"a{n}": {"stringValue": "x", "dataType": "String"} for n in range(10)
    }
    assert settle(_source(sqs), messages, [_dead()])[0].disposition is Disposition.RETRY
    assert sqs.regions == []


def test_dead_letters_without_time_are_retries() -> None:
    sqs = Sqs()
    outcomes = settle(_source(sqs), _messages("a"), [_dead()], lambda: False)
    assert outcomes[0].disposition is Disposition.RETRY
    assert sqs.calls == []


def test_without_a_dead_letter_queue_dead_letters_are_retries_said_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = metrics.DEGRADED.values().get(("orders", "dead_letter_target"), 0)
    source = _source(Sqs(), dead_letter=None)
    for _ in range(3):
        outcomes = settle(source, _messages("a"), [_dead("bad")])
    assert outcomes[0].disposition is Disposition.RETRY
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "QUEUE_DLQ_NAME" in caplog.text
    assert metrics.DEGRADED.values()[("orders", "dead_letter_target")] == before + 3


@pytest.mark.parametrize(
    ("reference", "url", "region"),
    [
        ("dlq", f"{ENDPOINT}/123456789012/dlq", "us-east-1"),
        ("arn:aws:sqs:eu-west-1:999:dlq", f"{ENDPOINT}/999/dlq", "eu-west-1"),
        ("https://sqs.eu-west-1.amazonaws.com/999/dlq", f"{ENDPOINT}/999/dlq", "eu-west-1"),
        ("http://localhost:9324/999/dlq", f"{ENDPOINT}/999/dlq", "us-east-1"),
    ],
)
def test_the_target_is_a_name_an_arn_or_a_url(reference: str, url: str, region: str) -> None:
    sqs = Sqs()
    settle(_source(sqs, dead_letter=reference), _messages("a"), [_dead()])
    assert (sqs.calls[0][1], sqs.regions) == (url, [region])


def test_a_client_is_made_once_a_region() -> None:
    sqs = Sqs()
    source = _source(sqs, dead_letter="arn:aws:sqs:eu-west-1:999:dlq")
    for _ in range(2):
        settle(source, _messages("a", "b"), [_dead(), _retry(1)])
    assert sqs.regions == ["eu-west-1", "us-east-1"]


@pytest.mark.parametrize("reference", ["orders", str(QUEUE), f"{ENDPOINT}/123456789012/orders"])
def test_the_queue_cannot_be_its_own_dead_letter_queue(reference: str) -> None:
    with pytest.raises(QueueNotFoundError, match="is the queue itself"):
        _source(Sqs(), dead_letter=reference)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MissingExtraError("SQS", "aws"), "pip install 'queue-runtime[aws]'"),
        (PartialCredentialsError(provider="env", cred_var="x"), "PartialCredentialsError"),
    ],
)
def test_without_a_client_everything_is_left_to_the_queue_and_said_once(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    def no_client(region: str) -> Any:
        raise error

    source = _source(no_client)
    for _ in range(2):
        outcomes = settle(source, _messages("a", "b"), [_dead(), _retry(3)])
        assert [str(outcome.disposition) for outcome in outcomes] == ["retry", "retry"]
    assert len(caplog.records) == 1
    assert said in caplog.text


def test_a_defect_in_making_a_client_is_not_hidden() -> None:
    def broken(region: str) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        settle(_source(broken), _messages("a"), [_retry(1)])
