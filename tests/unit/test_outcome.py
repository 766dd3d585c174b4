from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("signal", "disposition", "delay", "reason"),
    [
        (Retry("busy", after=30), Disposition.RETRY, 30, "busy"),
        (Retry(after=0), Disposition.RETRY, 0, "the handler raised Retry"),
        (Retry(), Disposition.RETRY, None, "the handler raised Retry"),
        (DeadLetter("negative"), Disposition.DEAD_LETTER, None, "negative"),
        (DeadLetter(), Disposition.DEAD_LETTER, None, "by the handler"),
        (Discard("old"), Disposition.ACK, None, "old"),
        (Discard(), Disposition.ACK, None, "discarded"),
    ],
)
def test_a_signal_says_what_becomes_of_the_message(
    signal: Signal, disposition: Disposition, delay: float | None, reason: str
) -> None:
    outcome = classify(signal)
    assert (outcome.disposition, outcome.delay, outcome.reason) == (disposition, delay, reason)
    assert outcome.error is signal
    assert not outcome.unrun


def test_a_signal_of_no_known_kind_is_never_an_acknowledgement() -> None:
    assert classify(Signal("what?")).disposition is Disposition.RETRY


def test_a_signal_whose_own_init_forgot_ours_still_works() -> None:
    class Busy(Retry):
        def __init__(self, who: str) -> None:
            self.who = who

    outcome = classify(Busy("ledger"))
    assert (outcome.disposition, outcome.delay, outcome.reason) == (
        "retry",
        None,
        "the handler raised Retry",
    )


def test_an_exception_given_as_the_reason_becomes_its_text() -> None:
    cause: Any = ValueError("no such account")
    assert DeadLetter(cause).reason == "no such account"


@pytest.mark.parametrize("after", [-1, -0.001, float("inf"), float("nan")])
def test_retry_refuses_a_delay_that_no_queue_can_keep(after: float) -> None:
    with pytest.raises(ValueError, match="takes seconds, 0 or more"):
        Retry(after=after)


def test_unrun_is_a_retry_that_did_not_fail() -> None:
    outcome = unrun("no time", delay=0.0)
    assert (outcome.disposition, outcome.delay, outcome.unrun) == (Disposition.RETRY, 0.0, True)
    assert outcome.error is None


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (ACK, "<Outcome ack>"),
        (unrun("x", delay=0.0), "<Outcome retry, in 0 s, unrun>"),
        (
            Outcome(Disposition.RETRY, delay=2.5, error=ValueError("SECRET")),
            "<Outcome retry, in 2.5 s, ValueError>",
        ),
    ],
)
def test_repr_shows_the_fate_and_no_text_of_an_error(outcome: Outcome, text: str) -> None:
    assert repr(outcome) == text
