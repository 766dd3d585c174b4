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


def test_an_outcome_says_only_what_it_was_given() -> None:
    plain = Outcome(Disposition.RETRY)
    assert (plain.delay, plain.reason, plain.error) == (None, "", None)
    assert [plain.unrun, plain.asked, plain.may_run, plain.settled] == [False] * 4


@pytest.mark.parametrize("flag", ["unrun", "asked", "may_run", "settled"])
def test_an_outcome_keeps_what_it_was_given(flag: str) -> None:
    marked = Outcome(Disposition.RETRY).replace(**{flag: True})
    assert getattr(marked, flag) is True


@pytest.mark.parametrize("may_run", [True, False])
def test_unrun_tells_whether_the_handler_may_be_at_work_still(may_run: bool) -> None:
    assert unrun("x", may_run=may_run).may_run is may_run
    assert unrun("x").may_run is False


@pytest.mark.parametrize(
    ("signal", "asked"),
    [(Retry(after=30), True), (Retry(after=0), True), (Retry(), False), (DeadLetter(), False)],
)
def test_only_a_delay_that_the_author_named_was_asked_for(signal: Signal, asked: bool) -> None:
    assert classify(signal).asked is asked


def test_a_signal_shows_its_reason_as_any_exception_shows_its_text() -> None:
    assert str(DeadLetter("negative")) == "negative"


def test_an_outcome_that_hosts_share_does_not_change() -> None:
    with pytest.raises(AttributeError, match="use replace\\(settled=\\.\\.\\.\\)"):
        ACK.settled = True
    with pytest.raises(AttributeError, match="reason stays"):
        del ACK.reason
    assert ACK.replace(reason="old").reason == "old"
    assert ACK.reason == ""
