"""Writes and reads the facts that travel with a copy: identity, attempts, failure.

Delayed retries, dead-letters and redrives are new messages to a queue service. All that we have to
say about the original goes into one attribute, because a producer may use nine of SQS's ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from queue_runtime.message import DeadLetterRecord
from queue_runtime.untrusted import digits, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome

# Letters, digits, "_", "-" and "." are what both SQS and Service Bus allow in a name.
ATTRIBUTE: Final = "queue_runtime"

# The user's own exception text, in the dead-letter entry and nowhere else.
ERROR_TEXT_LENGTH: Final = 1024
_SHORT_REASON_LENGTH: Final = 200
# More than any queue delivers a message; a producer can write any number there.
_MOST_ATTEMPTS: Final = 1_000_000


class Carried:
    """Describes a copy's original: its id, and the deliveries of earlier copies."""

    __slots__ = ("attempts", "id")

    def __init__(self, id: str | None = None, attempts: int = 0) -> None:
        self.id, self.attempts = id, attempts


NOTHING_CARRIED: Final = Carried()


def read_carried(text: object) -> Carried:
    """Read our attribute; one that is damaged says nothing, so that no message is lost.

    Attempts beyond any queue's are cut to a million: the next failure is the last.
    """
    from json import loads

    try:
        facts = loads(text, parse_int=digits)  # type: ignore[arg-type]  # no text is caught below
        identity, attempts = facts.get("id"), facts.get("attempts", 0)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return NOTHING_CARRIED
    if not isinstance(identity, str) or not identity:
        return NOTHING_CARRIED
    if isinstance(attempts, str):
        attempts = 0  # ours are numbers
    return Carried(identity, whole_number(attempts, most=_MOST_ATTEMPTS) or 0)


class DeadLetterFacts:
    """Our attribute for a dead-letter entry: in full, then ever shorter, for want of room.

    Attempts are recorded (`deliveries`) but not carried: a redriven message starts anew.
    """

    __slots__ = ("_error_text", "_handler", "_message", "_outcome")

    def __init__(
        self, message: Message[Any], outcome: Outcome, *, handler: str, error_text: bool
    ) -> None:
        self._message, self._outcome = message, outcome
        self._handler, self._error_text = handler, error_text

    def __iter__(self) -> Iterator[str]:
        """Give the texts, each shorter than the one before."""
        message, outcome = self._message, self._outcome
        facts: dict[str, Any] = {
            "id": message.id,
            **_failure(outcome, error_text=self._error_text),
            "queue": message.queue,
            "handler": self._handler,
            "deliveries": message.delivery_count,
            "failed_at": _now(),
        }
        yield _json(facts)
        facts.pop("error", None)
        yield _json(facts)
        yield _json({"id": message.id, "reason": outcome.reason[:_SHORT_REASON_LENGTH]})
        yield _json({"id": message.id})

    def within(self, length: int) -> str:
        """Give the fullest text of at most so many characters; empty where none is that short."""
        return next((text for text in self if len(text) <= length), "")


def delayed_retry_facts(message: Message[Any]) -> str:
    """Give our attribute for a copy that stands in for its original until it is due."""
    return _json({"id": message.id, "attempts": message.delivery_count})


def read_dead_letter(text: object, reason: object = None) -> DeadLetterRecord | None:
    """Read the failure from a dead-letter entry.

    Args:
        text: our facts.
        reason: what the queue service itself says, where it does.

    Returns:
        None where neither says anything, as of a message that was not dead-lettered.
    """
    said = reason if isinstance(reason, str) else None
    facts = read_failure(text, said or "")
    why = facts.get("reason")
    why = why if isinstance(why, str) else said
    if why is None:
        return None
    told = {name: facts.get(name) for name in ("error_type", "error", "queue", "handler")}
    deliveries = facts.get("deliveries")
    failed_at = facts.get("failed_at")
    return DeadLetterRecord(
        why,
        **{name: value if isinstance(value, str) else None for name, value in told.items()},
        deliveries=deliveries if isinstance(deliveries, int) else None,
        failed_at=failed_at if isinstance(failed_at, str) else None,
    )


def read_facts(text: object) -> Mapping[str, Any]:
    """Read our attribute as it is; empty where it says nothing."""
    from json import loads

    try:
        facts = loads(text)  # type: ignore[arg-type]  # whatever is no text is caught below
    except (TypeError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def read_failure(text: object, reason: str = "") -> Mapping[str, Any]:
    """Read a dead-letter's facts, also where Functions wrote them in 0.1.0; empty where none are.

    There the description was the error's class, or `ValueError: -3`, and the reason a property of
    its own. A broker's descriptions are sentences, which have neither form.

    Args:
        text: our attribute, or Service Bus's DeadLetterErrorDescription.
        reason: Service Bus's DeadLetterReason, for entries that do not hold it themselves.
    """
    facts = read_facts(text)
    if facts or not isinstance(text, str):
        return facts
    kind, separator, error = text.partition(": ")
    if not all(part.isidentifier() for part in kind.replace(".<locals>.", ".").split(".")):
        return {}
    written = {"reason": reason, "error_type": kind}
    return {**written, "error": error} if separator else written


def _failure(outcome: Outcome, *, error_text: bool) -> dict[str, str]:
    facts = {"reason": outcome.reason}
    if outcome.error is not None:
        facts["error_type"] = type(outcome.error).__qualname__
        if error_text:
            facts["error"] = _text_of(outcome.error)[:ERROR_TEXT_LENGTH]
    return facts


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception that cannot even be shown must not keep its message from going
        return ""


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(facts: Mapping[str, Any]) -> str:
    from json import dumps

    return dumps(facts, separators=(",", ":"), ensure_ascii=True)
