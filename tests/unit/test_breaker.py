"""The breaker by itself: what opens it, what closes it, and what tells it nothing."""

from __future__ import annotations

import pytest

from queue_runtime import DeadLetter, Discard, Retry
from queue_runtime.breaker import Admission, Breaker
from queue_runtime.config import load_settings
from queue_runtime.errors import BodyDecodeError
from queue_runtime.observability import metrics
from queue_runtime.outcome import ACK, Disposition, Outcome, classify, unrun

FAILED = Outcome(Disposition.RETRY, delay=1.0, error=ConnectionError())
EXHAUSTED = Outcome(Disposition.DEAD_LETTER, error=ConnectionError())
POISON = Outcome(Disposition.DEAD_LETTER, error=BodyDecodeError("no JSON"))


class Bench:
    """A breaker on a clock that the test moves."""

    def __init__(self, failures: int = 3, seconds: float = 30.0, successes: int = 2) -> None:
        self.now = 1000.0
        self.breaker = Breaker(
            failures, seconds=seconds, successes=successes, clock=lambda: self.now
        )

    def record(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self.breaker.record(outcome)

    def state(self) -> tuple[float, bool]:
        admission = self.breaker.admit(10)
        return admission.wait, admission.allowed < 10


def opened() -> Bench:
    bench = Bench()
    bench.record(FAILED, FAILED, FAILED)
    return bench


def test_failures_in_a_row_open_it() -> None:
    bench = Bench()
    bench.record(FAILED, FAILED)
    assert bench.state() == (0.0, False)
    bench.record(FAILED)
    assert bench.state() == (30.0, True)


def test_it_says_when_it_opens_and_when_it_closes(caplog: pytest.LogCaptureFixture) -> None:
    bench = opened()
    bench.breaker.queue = "orders"
    bench.now += 30
    bench.record(FAILED)  # a trial, which opens it for longer and is no news
    bench.now += 30
    bench.record(ACK, ACK)
    assert caplog.messages == [
        "the circuit breaker of the handler has opened, since 3 messages in a row failed: the next "
        "one is tried in 30 s",
        "the circuit breaker of orders has closed again: messages are taken as before",
    ]


def test_a_success_in_between_starts_the_count_anew() -> None:
    bench = Bench()
    bench.record(FAILED, FAILED, ACK, FAILED, FAILED)
    assert bench.state() == (0.0, False)


def test_what_the_handler_asked_for_counts_as_it_means() -> None:
    bench = Bench()
    asked, discarded = classify(Retry("busy", after=5)), classify(Discard("old"))
    bench.record(asked, asked, discarded, asked, asked)
    assert bench.state() == (0.0, False)
    bench.record(asked)
    assert bench.state() == (30.0, True)


def test_a_last_delivery_that_fails_counts_too() -> None:
    bench = Bench()
    bench.record(EXHAUSTED, EXHAUSTED, EXHAUSTED)
    assert bench.state() == (30.0, True)


def test_what_says_nothing_about_health_changes_nothing() -> None:
    bench = Bench()
    silent = (POISON, classify(DeadLetter("no such customer")), unrun("no time left"))
    bench.record(FAILED, FAILED, *silent)
    assert bench.state() == (0.0, False)
    bench.record(FAILED)
    assert bench.state() == (30.0, True)
    bench.now += 30
    bench.record(*silent)
    assert bench.state() == (0.0, True)


def test_it_waits_then_tries_and_closes_after_enough_successes() -> None:
    bench = opened()
    bench.now += 29
    assert bench.state() == (1.0, True)
    bench.now += 1
    assert bench.state() == (0.0, True)
    bench.record(ACK)
    assert bench.state() == (0.0, True)
    bench.record(ACK)
    assert bench.state() == (0.0, False)
    bench.record(FAILED, FAILED)
    assert bench.state() == (0.0, False)


def test_a_trial_that_fails_opens_it_again_for_as_long() -> None:
    bench = opened()
    bench.now += 31
    bench.record(ACK, FAILED)
    assert bench.state() == (30.0, True)
    bench.now += 30
    bench.record(ACK)
    assert bench.state() == (0.0, True), "an earlier round's success must not count"


def test_messages_that_had_started_before_it_opened_are_no_trials() -> None:
    bench = opened()
    bench.now += 10
    bench.record(ACK, ACK, ACK)
    assert bench.state() == (20.0, True), "it closed without a trial"
    bench.record(FAILED)
    assert bench.state() == (20.0, True), "it was held open by what it had let through before"


def test_zero_failures_leave_it_off() -> None:
    bench = Bench(failures=0)
    bench.record(*[FAILED] * 50)
    assert bench.state() == (0.0, False)


def test_an_open_one_admits_nobody_and_a_closed_one_everybody() -> None:
    bench = opened()
    assert bench.breaker.admit(10) == Admission(0, 30.0, on_trial=False)
    assert Bench().breaker.admit(10) == Admission(10, 0.0, on_trial=False)


@pytest.mark.parametrize(("count", "allowed"), [(0, 0), (1, 1), (10, 1)])
def test_one_message_of_many_is_tried_and_said_to_be_on_trial(count: int, allowed: int) -> None:
    bench = opened()
    bench.now += 30
    assert bench.breaker.admit(count) == Admission(allowed, 0.0, on_trial=True)


def test_its_metric_tells_of_each_state() -> None:
    bench = Bench()
    bench.breaker.queue = queue = "orders-of-the-breaker"

    def told() -> float | None:
        return metrics.BREAKER_STATE.values().get((queue,))

    bench.record(FAILED, FAILED, FAILED)
    assert told() == 2
    bench.now += 30
    bench.breaker.admit(1)
    assert told() == 1
    bench.record(ACK, ACK)
    assert told() == 0


@pytest.mark.parametrize("queue", ["orders", ""])
def test_its_lines_have_the_queue_where_one_is_known(
    queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    assert bench.breaker.queue == ""
    bench.breaker.queue = queue
    bench.record(FAILED, FAILED, FAILED)
    (line,) = caplog.records
    fields = line.__dict__
    assert (fields["queue_name"], fields["operation"]) == (queue or None, "circuit_breaker")


def test_without_a_word_it_is_open_for_half_a_minute_and_wants_three_successes() -> None:
    now = 1000.0
    breaker = Breaker(1, clock=lambda: now)
    breaker.record(FAILED)
    assert breaker.admit(1).wait == 30.0
    now += 30
    breaker.record(ACK)
    breaker.record(ACK)
    assert breaker.admit(5).on_trial
    breaker.record(ACK)
    assert breaker.admit(5) == Admission(5)


def test_it_is_made_as_the_operator_says() -> None:
    now = 1000.0
    said = {"breaker_failures": 2, "breaker_seconds": 7.0, "breaker_successes": 2}
    breaker = Breaker.of(load_settings(arguments=said), lambda: now)
    breaker.record(FAILED)
    assert breaker.admit(5) == Admission(5)
    breaker.record(FAILED)
    assert breaker.admit(5) == Admission(0, 7.0)
    now += 7
    breaker.record(ACK)
    assert breaker.admit(5).on_trial
    breaker.record(ACK)
    assert breaker.admit(5) == Admission(5)
