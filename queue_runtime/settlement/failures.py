"""Gives the outcome of a message whose step failed. Pure, as `plan` is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from queue_runtime.errors import LockLostError, TransportError
from queue_runtime.outcome import Disposition, Outcome
from queue_runtime.settlement.plan import Abilities, Action, Rules, Step, not_dead_lettered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.message import Message


class SettleFailure(NamedTuple):
    """A message whose step, or whose renewal, did not take place, or may not have.

    - `is_made`: its dead-letter or copy was made, and only the original is still there.
    """

    message: Message[Any]
    error: TransportError
    is_made: bool = False


def after(step: Step, failure: SettleFailure, can: Abilities, rules: Rules) -> Outcome:
    """Give the outcome of a message whose step failed, if the step is not repeated.

    - A dead-letter that was not made: a retry by the policy's backoff, where the place can delay.
    - A copy that was not made: a retry at once.
    - A message whose return failed: it comes back at the queue's own time.
    - Anything else: the work stands, and the message comes back, since it is not off the queue.
    """
    if step.action is Action.DEAD_LETTER and not failure.is_made:
        return not_dead_lettered(step.message, step.outcome, failure.error, can, rules)
    if step.action is Action.COPY and not failure.is_made:
        reason = f"{step.outcome.reason} (not delayed: {failure.error})"
        return step.outcome.replace(delay=None, reason=reason)
    if step.action is Action.GIVE_BACK:
        delayed = step.outcome.delay is not None
        reason = f"{step.outcome.reason} (its delay was not set: {failure.error})"
        return step.outcome.replace(delay=None, reason=reason) if delayed else step.outcome
    return step.outcome.replace(
        disposition=Disposition.RETRY,
        delay=None,
        reason=f"{step.outcome.reason or 'done'} (not settled: {failure.error})",
        error=step.outcome.error or failure.error,
    )


def may_repeat(step: Step, failure: SettleFailure) -> bool:
    """Tell whether the same step can still come about, while the message's lock lives.

    Not for a dead-letter or a copy that was refused: `after` names another step for these.
    """
    if isinstance(failure.error, LockLostError):
        return False
    return failure.is_made or step.action not in (Action.DEAD_LETTER, Action.COPY)


def outcomes_of(
    messages: Sequence[Message[Any]],
    outcomes: Sequence[Outcome],
    steps: Sequence[Step],
    failures: Sequence[SettleFailure],
    can: Abilities,
    rules: Rules,
) -> list[Outcome]:
    """Give the final outcome of each message, once its step was carried out or failed."""
    failed = {id(failure.message): failure for failure in failures}
    done = {id(step.message): step for step in steps}
    final: list[Outcome] = []
    for message, outcome in zip(messages, outcomes, strict=True):
        step, failure = done.get(id(message)), failed.get(id(message))
        if step is None:
            final.append(outcome)
        else:
            final.append(step.outcome if failure is None else after(step, failure, can, rules))
    return final
