"""Turns outcomes into steps, each of which the place is able to carry out.

Pure: nothing is requested, sent or logged here. Hosts and transports carry steps out, and name
those that failed; `failures` gives the outcomes of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.settlement.lineage import DeadLetterFacts

if TYPE_CHECKING:
    from queue_runtime.message import Message

# Seconds until a message is tried again, by its delivery count: the policy's backoff.
Delay: TypeAlias = Callable[[int], float]


class Abilities(NamedTuple):
    """Tells how a place can delay and dead-letter messages.

    - `delay`: how a retry comes back later: "native", the queue service holds it back; "copy", a
      scheduled copy stands in for it; "none", it comes back at once.
    - `every_delay`: whether the backoff's delays are worth a copy too; `Retry(after=…)` always is.
    - `no_delay`: the sentence to log where a delay was wanted and `delay` is "none".
    - `no_dead_letter`: why a dead-letter cannot be made here; empty where it can.
    """

    delay: Literal["native", "copy", "none"] = "native"
    every_delay: bool = False
    no_delay: str = ""
    no_dead_letter: str = ""


class Rules(NamedTuple):
    """Holds the choices of author and operator about a handler's settling.

    - `delay`: seconds until the next try of a message that could not be dead-lettered.
    - `handler`: the handler's name, for dead-letter entries.
    - `error_text`: whether an exception's own text may be in them.
    """

    delay: Delay
    handler: str = ""
    error_text: bool = True


class Action(Enum):
    """Names the action of a step."""

    ACKNOWLEDGE = "acknowledge"
    GIVE_BACK = "give back"
    COPY = "copy"
    DEAD_LETTER = "dead-letter"


class Step(NamedTuple):
    """One thing to do with one message.

    - `outcome`: the message's outcome once the step is done, with the delay that the place
      really gives.
    - `delay`: of GIVE_BACK, seconds until the next delivery, None for the queue's own time; of
      COPY, seconds until the copy is due.
    - `facts`: of DEAD_LETTER, what the entry says of the failure, in full and then ever shorter.
    - `note`: what the place could not do as it was asked, to be said once a queue.
    """

    action: Action
    message: Message[Any]
    outcome: Outcome
    delay: float | None = None
    facts: DeadLetterFacts | None = None
    note: str = ""


# A name of this module: this is looked up for every message that was acknowledged.
_ACKNOWLEDGE: Final = Action.ACKNOWLEDGE


def plan(
    messages: Sequence[Message[Any]], outcomes: Sequence[Outcome], can: Abilities, rules: Rules
) -> list[Step]:
    """Give the step of each message, in their order; none for an outcome that is settled already.

    A dead-letter that the place cannot make is a retry by the policy's backoff; a delay that it
    cannot give is none.
    """
    return [
        Step(_ACKNOWLEDGE, message, ACK) if outcome is ACK else _step(message, outcome, can, rules)
        for message, outcome in zip(messages, outcomes, strict=True)
        if not outcome.settled
    ]


def not_dead_lettered(
    message: Message[Any], outcome: Outcome, why: object, can: Abilities, rules: Rules
) -> Outcome:
    """Make the retry of a message whose dead-letter could not be made."""
    return Outcome(
        Disposition.RETRY,
        delay=rules.delay(message.delivery_count) if can.delay == "native" else None,
        reason=f"{outcome.reason} (not dead-lettered: {why})",
        error=outcome.error,
    )


def _step(message: Message[Any], outcome: Outcome, can: Abilities, rules: Rules) -> Step:
    if outcome.disposition is Disposition.ACK:
        return Step(Action.ACKNOWLEDGE, message, outcome)
    if outcome.disposition is Disposition.RETRY:
        return _retry(message, outcome, can)
    if can.no_dead_letter:
        retry = not_dead_lettered(message, outcome, can.no_dead_letter, can, rules)
        return _retry(message, retry, can)
    facts = DeadLetterFacts(message, outcome, handler=rules.handler, error_text=rules.error_text)
    return Step(Action.DEAD_LETTER, message, outcome, facts=facts)


def _retry(message: Message[Any], outcome: Outcome, can: Abilities) -> Step:
    if can.delay == "native" or not outcome.delay:
        return Step(Action.GIVE_BACK, message, outcome, outcome.delay)
    worth_a_copy = outcome.asked or can.every_delay
    if can.delay == "copy" and worth_a_copy:
        return Step(Action.COPY, message, outcome, outcome.delay)
    note = can.no_delay if worth_a_copy else ""
    return Step(Action.GIVE_BACK, message, outcome.replace(delay=None), note=note)
