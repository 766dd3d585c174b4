"""What is to be done with a message: every outcome, by everything that a place can do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queue_runtime.message import Message
from queue_runtime.outcome import ACK, Disposition, Outcome, unrun
from queue_runtime.settlement.plan import Abilities, Action, Rules, Step, plan

RULES = Rules(lambda deliveries: 10.0 * deliveries, "shop.take")
NATIVE = Abilities()
COPIES = Abilities("copy")
ALL_COPIES = Abilities("copy", every_delay=True)
NONE = Abilities("none", no_delay="retries are not delayed here")
NONE_OF_ALL = NONE._replace(every_delay=True)
NO_DEAD_LETTERS = Abilities(no_dead_letter="there is no queue for them")

DISCARDED = Outcome(Disposition.ACK, reason="old")
BACKOFF = Outcome(Disposition.RETRY, delay=7.0, reason="ValueError")
ASKED = Outcome(Disposition.RETRY, delay=7.0, reason="busy", asked=True)
AT_ONCE = Outcome(Disposition.RETRY, delay=0.0, reason="busy", asked=True)
OWN_TIME = Outcome(Disposition.RETRY, reason="busy")
UNRUN = unrun("no time left", delay=0.0)
DEAD = Outcome(Disposition.DEAD_LETTER, reason="bad", error=ValueError("-3"))

GIVE_BACK, COPY = Action.GIVE_BACK, Action.COPY


def message(**fields: Any) -> Message[Any]:
    return Message.of("{}", queue="orders", **{"id": "m1", "delivery_count": 3, **fields})


def step_of(outcome: Outcome, can: Abilities) -> Step:
    (step,) = plan([message()], [outcome], can, RULES)
    return step


@pytest.mark.parametrize("can", [NATIVE, COPIES, ALL_COPIES, NONE, NONE_OF_ALL, NO_DEAD_LETTERS])
@pytest.mark.parametrize("outcome", [ACK, DISCARDED])
def test_done_is_acknowledged_wherever_it_is(outcome: Outcome, can: Abilities) -> None:
    step = step_of(outcome, can)
    assert (step.action, step.outcome, step.note) == (Action.ACKNOWLEDGE, outcome, "")


@pytest.mark.parametrize(
    ("outcome", "can", "action", "delay"),
    [
        (BACKOFF, NATIVE, GIVE_BACK, 7.0),
        (ASKED, NATIVE, GIVE_BACK, 7.0),
        (AT_ONCE, NATIVE, GIVE_BACK, 0.0),
        (OWN_TIME, NATIVE, GIVE_BACK, None),
        (UNRUN, NATIVE, GIVE_BACK, 0.0),
        (BACKOFF, COPIES, GIVE_BACK, None),
        (ASKED, COPIES, COPY, 7.0),
        (AT_ONCE, COPIES, GIVE_BACK, 0.0),
        (OWN_TIME, COPIES, GIVE_BACK, None),
        (BACKOFF, ALL_COPIES, COPY, 7.0),
        (ASKED, ALL_COPIES, COPY, 7.0),
        (BACKOFF, NONE, GIVE_BACK, None),
        (ASKED, NONE, GIVE_BACK, None),
        (BACKOFF, NONE_OF_ALL, GIVE_BACK, None),
    ],
)
def test_a_retry_is_delayed_as_its_place_can(
    outcome: Outcome, can: Abilities, action: Action, delay: float | None
) -> None:
    step = step_of(outcome, can)
    assert (step.action, step.delay) == (action, delay)
    assert step.outcome.delay == delay  # the log line claims what the place does, and no more
    assert (step.outcome.reason, step.outcome.unrun) == (outcome.reason, outcome.unrun)


@pytest.mark.parametrize(
    ("outcome", "can", "note"),
    [
        (ASKED, NONE, NONE.no_delay),
        (BACKOFF, NONE, ""),
        (BACKOFF, NONE_OF_ALL, NONE.no_delay),
        (OWN_TIME, NONE_OF_ALL, ""),
        (BACKOFF, COPIES, ""),
    ],
)
def test_a_delay_that_somebody_wanted_and_does_not_get_is_noted(
    outcome: Outcome, can: Abilities, note: str
) -> None:
    assert step_of(outcome, can).note == note


@pytest.mark.parametrize("can", [NATIVE, COPIES, ALL_COPIES, NONE, NONE_OF_ALL])
def test_a_dead_letter_has_its_facts_on_every_place(can: Abilities) -> None:
    step = step_of(DEAD, can)
    assert (step.action, step.outcome) == (Action.DEAD_LETTER, DEAD)
    facts = json.loads(next(iter(step.facts or ())))
    assert (facts["id"], facts["reason"], facts["error"]) == ("m1", "bad", "-3")
    assert (facts["queue"], facts["handler"], facts["deliveries"]) == ("orders", "shop.take", 3)


def test_the_errors_text_can_be_left_out_of_the_facts() -> None:
    (step,) = plan([message()], [DEAD], NATIVE, RULES._replace(error_text=False))
    assert "error" not in json.loads(next(iter(step.facts or ())))


def test_a_dead_letter_that_cannot_be_made_is_a_retry_by_the_backoff() -> None:
    step = step_of(DEAD, NO_DEAD_LETTERS)
    assert (step.action, step.delay) == (GIVE_BACK, 30.0)
    assert step.outcome.reason == "bad (not dead-lettered: there is no queue for them)"
    assert (step.outcome.error, step.outcome.unrun) == (DEAD.error, False)


def test_a_dead_letter_that_cannot_be_made_comes_at_once_where_nothing_is_delayed() -> None:
    step = step_of(DEAD, NONE_OF_ALL._replace(no_dead_letter="none"))
    assert (step.action, step.delay, step.note) == (GIVE_BACK, None, "")


def test_an_outcome_that_was_carried_out_before_has_no_step() -> None:
    outcomes = [ACK, DEAD.replace(settled=True), OWN_TIME]
    messages = [message(id=str(at)) for at in range(3)]
    assert [step.message.id for step in plan(messages, outcomes, NATIVE, RULES)] == ["0", "2"]


@pytest.mark.parametrize("outcome", [ACK, DISCARDED, BACKOFF, ASKED, OWN_TIME, UNRUN, DEAD])
@pytest.mark.parametrize("can", [NATIVE, COPIES, ALL_COPIES, NONE_OF_ALL, NO_DEAD_LETTERS])
def test_a_step_is_that_of_its_message(outcome: Outcome, can: Abilities) -> None:
    mine = message()
    (step,) = plan([mine], [outcome], can, RULES)
    assert step.message is mine


def test_an_outcome_for_each_message_is_asked_for() -> None:
    with pytest.raises(ValueError, match="zip"):
        plan([message(), message()], [ACK], NATIVE, RULES)
