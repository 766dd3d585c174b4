"""The rule of ordered queues, by itself."""

from __future__ import annotations

import pytest

from queue_runtime.outcome import ACK, Disposition, Outcome, unrun
from queue_runtime.settlement.groups import GroupRule, rest_after


@pytest.mark.parametrize("outcome", [ACK, Outcome(Disposition.DEAD_LETTER, reason="bad")])
def test_a_group_goes_on_after_what_is_off_its_queue(outcome: Outcome) -> None:
    rule = GroupRule()
    rule.learn("a", outcome)
    assert rule.held("a") is None


@pytest.mark.parametrize("delay", [None, 0.0, 30.0])
def test_a_retry_stops_its_group_alone_and_the_rest_gets_its_delay(delay: float | None) -> None:
    rule = GroupRule()
    rule.learn("a", Outcome(Disposition.RETRY, delay=delay))
    held = rule.held("a")
    assert held is not None
    assert (held.disposition, held.unrun, held.delay) == (Disposition.RETRY, True, delay)
    assert rule.held("b") is None


def test_the_rest_says_that_it_waits_for_an_earlier_message() -> None:
    rest = rest_after(unrun("no time", delay=0.0))
    assert rest.reason == "an earlier message of its group was not done"
