"""Says what became of each message: a count and a log line, the same on every host."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING, getLogger
from typing import TYPE_CHECKING, Any

from queue_runtime import instruments
from queue_runtime.outcome import ACK, Disposition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome

logger = getLogger("queue_runtime")

_MOST_FRAMES = 12
_said: set[tuple[str, str]] = set()


def received(queue: str, count: int) -> None:
    """Count messages that arrived, before anything is done with them."""
    instruments.MESSAGES_RECEIVED.add(count, queue)


def settled(queue: str, messages: Sequence[Message[Any]], outcomes: Sequence[Outcome]) -> None:
    """Count and log the outcome of each message, after its host or transport carried it out."""
    completed = outcomes.count(ACK)
    say_completed = logger.isEnabledFor(INFO)
    if completed < len(outcomes) or say_completed:
        completed += _tell(queue, zip(messages, outcomes, strict=True), say_completed)
    if completed:
        instruments.MESSAGES_COMPLETED.add(completed, queue)


def _tell(queue: str, fates: Iterable[tuple[Message[Any], Outcome]], say_completed: bool) -> int:
    """Log and count whatever is not simply completed; gives how many were discarded."""
    discarded = 0
    for message, outcome in fates:
        if outcome is ACK:
            if say_completed:
                _log(INFO, message, "complete", "completed")
        elif outcome.disposition is Disposition.ACK:
            discarded += 1
            _log(INFO, message, "complete", f"discarded: {outcome.reason}")
        elif outcome.disposition is Disposition.DEAD_LETTER:
            _dead_lettered(queue, message, outcome)
        else:
            _given_back(queue, message, outcome)
    return discarded


def say_once(queue: str, what: str, sentence: str) -> None:
    """Warn of a thing that the host cannot do: logged once a process, always counted."""
    instruments.DEGRADED.add(1, queue, what)
    if (queue, what) not in _said:
        _said.add((queue, what))
        logger.warning("%s: %s", queue, sentence, extra={"queue_name": queue, "operation": what})


def fields(message: Message[Any], operation: str) -> dict[str, Any]:
    """Give the six fields that every log line about a message carries."""
    return {
        "queue_name": message.queue,
        "message_id": message.id,
        "session_id": message.group_id,
        "correlation_id": message.correlation_id,
        "operation": operation,
        "delivery_count": message.delivery_count,
    }


def stack(error: BaseException) -> list[str]:
    """Give where an error came from, innermost first, without its text, which may hold a body."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    return frames[: -_MOST_FRAMES - 1 : -1]


def _dead_lettered(queue: str, message: Message[Any], outcome: Outcome) -> None:
    instruments.MESSAGES_DEAD_LETTERED.add(1, queue)
    _count_error(queue, outcome)
    _log(ERROR, message, "dead_letter", f"dead-lettered: {outcome.reason}", outcome)


def _given_back(queue: str, message: Message[Any], outcome: Outcome) -> None:
    instruments.MESSAGES_ABANDONED.add(1, queue)
    when = "" if outcome.delay is None else f" for {outcome.delay:.1f} s"
    if outcome.unrun:
        _log(INFO, message, "abandon", f"given back unrun{when}: {outcome.reason}")
        return
    instruments.RETRY_ATTEMPTS.add(1, queue)
    _count_error(queue, outcome)
    _log(WARNING, message, "abandon", f"to be retried{when}: {outcome.reason}", outcome)


def _count_error(queue: str, outcome: Outcome) -> None:
    kind = type(outcome.error).__qualname__ if outcome.error else "Unknown"
    instruments.ERRORS.add(1, queue, kind)


def _log(
    level: int, message: Message[Any], operation: str, text: str, outcome: Outcome | None = None
) -> None:
    if not logger.isEnabledFor(level):
        return
    extra = fields(message, operation)
    where = ""
    if outcome is not None and outcome.error is not None:
        extra["error_type"] = type(outcome.error).__qualname__
        extra["stack"] = stack(outcome.error)
        where = f" (at {extra['stack'][0]})" if extra["stack"] else ""
    logger.log(level, "message %s of %s %s%s", message.id, message.queue, text, where, extra=extra)
