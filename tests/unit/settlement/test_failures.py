"""What a step that failed becomes: every action, made or not made."""

from __future__ import annotations

from typing import Any

import pytest

from queue_runtime.errors import LockLostError, TransportError
from queue_runtime.message import Message
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.settlement.failures import SettleFailure, after, may_repeat, outcomes_of
from queue_runtime.settlement.plan import Abilities, Action, Rules, Step, plan

RULES = Rules(lambda deliveries: 10.0 * deliveries)
NATIVE, COPIES = Abilities(), Abilities("copy")
WHY = TransportError("AccessDenied")

DISCARDED = Outcome(Disposition.ACK, reason="old")
RETRY = Outcome(Disposition.RETRY, delay=7.0, reason="busy", error=KeyError(), asked=True)
OWN_TIME = Outcome(Disposition.RETRY, reason="busy")
DEAD = Outcome(Disposition.DEAD_LETTER, reason="bad", error=ValueError())


def step_of(outcome: Outcome, can: Abilities = NATIVE) -> Step:
    message: Message[Any] = Message.of("{}", id="m", delivery_count=2)
    (step,) = plan([message], [outcome], can, RULES)
    return step


def failed(step: Step, *, is_made: bool = False, error: TransportError = WHY) -> SettleFailure:
    return SettleFailure(step.message, error, is_made)


@pytest.mark.parametrize(
    ("outcome", "can", "is_made", "delay", "reason"),
    [
        (DEAD, NATIVE, False, 20.0, "bad (not dead-lettered: AccessDenied)"),
        (DEAD, COPIES, False, None, "bad (not dead-lettered: AccessDenied)"),
        (DEAD, NATIVE, True, None, "bad (not settled: AccessDenied)"),
        (RETRY, COPIES, False, None, "busy (not delayed: AccessDenied)"),
        (RETRY, COPIES, True, None, "busy (not settled: AccessDenied)"),
        (RETRY, NATIVE, False, None, "busy (its delay was not set: AccessDenied)"),
        (OWN_TIME, NATIVE, False, None, "busy"),
        (ACK, NATIVE, False, None, "done (not settled: AccessDenied)"),
        (DISCARDED, NATIVE, False, None, "old (not settled: AccessDenied)"),
    ],
)
def test_every_message_whose_step_failed_comes_back_and_says_why(
    outcome: Outcome, can: Abilities, is_made: bool, delay: float | None, reason: str
) -> None:
    step = step_of(outcome, can)
    back = after(step, failed(step, is_made=is_made), can, RULES)
    assert (back.disposition, back.delay, back.reason) == (Disposition.RETRY, delay, reason)
    assert back.error is (outcome.error or (None if step.action is Action.GIVE_BACK else WHY))


@pytest.mark.parametrize(
    ("outcome", "can", "is_made", "repeats"),
    [
        (ACK, NATIVE, False, True),
        (RETRY, NATIVE, False, True),
        (RETRY, COPIES, False, False),
        (RETRY, COPIES, True, True),
        (DEAD, NATIVE, False, False),
        (DEAD, NATIVE, True, True),
    ],
)
def test_a_step_is_repeated_unless_another_one_follows(
    outcome: Outcome, can: Abilities, is_made: bool, repeats: bool
) -> None:
    step = step_of(outcome, can)
    assert may_repeat(step, failed(step, is_made=is_made)) is repeats


def test_nothing_is_repeated_for_a_message_that_is_not_ours_any_more() -> None:
    step = step_of(ACK)
    assert not may_repeat(step, failed(step, error=LockLostError("gone")))


def test_outcomes_are_given_in_the_order_of_the_messages() -> None:
    messages: list[Message[Any]] = [Message.of("{}", id="m") for _ in range(4)]
    outcomes = [ACK, DEAD.replace(settled=True), ACK, RETRY]
    steps = plan(messages, outcomes, NATIVE, RULES)
    final = outcomes_of(messages, outcomes, steps, [SettleFailure(messages[2], WHY)], NATIVE, RULES)
    assert [final[0], final[1], final[3]] == [ACK, outcomes[1], RETRY]
    assert final[2].reason == "done (not settled: AccessDenied)"


def test_an_outcome_for_each_message_is_asked_for() -> None:
    one, other = Message.of("{}"), Message.of("{}")
    with pytest.raises(ValueError, match="zip"):
        outcomes_of([one, other], [ACK], [], [], NATIVE, RULES)


def test_a_dead_letter_that_failed_is_retried_as_place_and_policy_say() -> None:
    step = step_of(DEAD)
    messages = [step.message]
    (native,) = outcomes_of(messages, [DEAD], [step], [failed(step)], NATIVE, RULES)
    (copies,) = outcomes_of(messages, [DEAD], [step], [failed(step)], COPIES, RULES)
    assert (native.delay, copies.delay) == (20.0, None)
