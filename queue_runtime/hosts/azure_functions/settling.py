"""Carries outcomes out through the Functions host, so that nothing unsettled is acknowledged.

What is left unsettled is the host's: it completes it when the function returns and auto-complete is
on, leaves it locked when that is off, and gives it back when the function raises.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from queue_runtime.clouds import azure_settlement as settlement
from queue_runtime.clouds.azure_settlement import SettlementMissingError
from queue_runtime.errors import LockLostError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.settlement.lineage import ERROR_TEXT_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queue_runtime.clouds.azure_settlement import Call, Settles
    from queue_runtime.errors import TransportError
    from queue_runtime.hosts.azure_functions.delayed_copies import DelayedCopies
    from queue_runtime.message import Message
    from queue_runtime.transports.service_bus.wire import ServiceBusWire

_NAMED_IN_A_FAILURE: Final = 3


class Settled(NamedTuple):
    """What became of messages in the end, and why the function has to raise, if it does."""

    outcomes: list[Outcome]
    failure: str = ""


class Settling:
    """Settles what one trigger delivered, by one of three rules.

    Args:
        queue: the queue's name, for logs and metrics.
        service: the host's Settlement service.
        copies: how messages are delayed.
        error_text: whether the exception's own text may be in a dead-letter entry.
    """

    def __init__(
        self, queue: str, service: Settles, copies: DelayedCopies, *, error_text: bool
    ) -> None:
        self._queue = queue
        self._service = service
        self._copies = copies
        self._error_text = error_text

    def dead_letter(self, message: Message[Any], outcome: Outcome) -> Outcome:
        """Dead-letter one message now; where that fails it is a retry."""
        error = self._call([self._to_dead_letter(message, outcome)])[0]
        if error is None:
            outcome.settled = True
            return outcome
        if isinstance(error, SettlementMissingError):
            events.say_once(
                self._queue,
                "settlement_service",
                f"messages to be dead-lettered are retried until the queue does it: {error}",
            )
        return _back(outcome, f"{outcome.reason} (not dead-lettered: {error})")

    def one(self, message: Message[Any], outcome: Outcome, wire: ServiceBusWire) -> Settled:
        """Return to acknowledge, raise to retry; the host does the rest."""
        if outcome.disposition is Disposition.DEAD_LETTER and not outcome.settled:
            outcome = self.dead_letter(message, outcome)
        if outcome.disposition is not Disposition.RETRY:
            return Settled([outcome])
        if self._copies.wanted(outcome) and self._copies.send([message], [outcome], wire)[0]:
            return Settled([outcome])
        failure = f"message {message.id} of {self._queue} is given back: {outcome.reason}"
        return Settled([_at_once(outcome)], failure)

    def batch(
        self, messages: Sequence[Message[Any]], outcomes: Sequence[Outcome], wire: ServiceBusWire
    ) -> Settled:
        """Settle each message by itself; the host's own settling would be for all alike."""
        final = list(outcomes)
        delayed = [
            at
            for at, outcome in enumerate(outcomes)
            if outcome is not ACK and self._copies.wanted(outcome)
        ]
        at_once = sorted(set(range(len(messages))).difference(delayed))
        errors = self._settle(at_once, messages, final)
        if delayed:
            errors |= self._delay(delayed, messages, final, wire, self._missing(errors))
        failed = {at: error for at, error in errors.items() if error is not None}
        if not failed:
            return Settled(final)
        if self._host_may_complete(failed.values(), final):
            return Settled(final)
        for at, error in failed.items():
            final[at] = _unsettled(final[at], error)
        return Settled(final, self._failure(messages, failed))

    def session(self, messages: Sequence[Message[Any]], outcomes: Sequence[Outcome]) -> Settled:
        """Settle up to the first message that is not done, in turn, and let the session go.

        What follows it is left as it is, and comes back in its order without having been counted.
        """
        final = list(outcomes)
        for at, (message, outcome) in enumerate(zip(messages, outcomes, strict=True)):
            stops = outcome.disposition is Disposition.RETRY
            if stops:
                self._copies.wanted(outcome)  # only so that the refusal is said
                final[at] = _at_once(outcome)
            error = None if outcome.settled or outcome.unrun else self._settle_one(message, outcome)
            if error is not None:
                return self._session_failed(at, messages, final, error)
            if stops:
                self._release(message)
                break
        return Settled(final)

    def _session_failed(
        self,
        at: int,
        messages: Sequence[Message[Any]],
        final: list[Outcome],
        error: TransportError,
    ) -> Settled:
        if isinstance(error, SettlementMissingError):
            events.say_once(
                self._queue,
                "settlement_service",
                f"batches of sessions cannot be settled without it, so they all come back: {error}",
            )
        for later in range(at, len(messages)):
            if not final[later].settled:
                final[later] = _unsettled(final[later], error)
        return Settled(final, self._failure(messages, {at: error}))

    def _settle(
        self, positions: Sequence[int], messages: Sequence[Message[Any]], outcomes: list[Outcome]
    ) -> dict[int, TransportError | None]:
        calls = []
        for at in positions:
            calls.append(self._call_for(messages[at], outcomes[at]))
            if outcomes[at].disposition is Disposition.RETRY:
                outcomes[at] = _at_once(outcomes[at])
        return dict(zip(positions, self._call(calls), strict=True))

    def _settle_one(self, message: Message[Any], outcome: Outcome) -> TransportError | None:
        return self._call([self._call_for(message, outcome)])[0]

    def _delay(
        self,
        positions: Sequence[int],
        messages: Sequence[Message[Any]],
        outcomes: list[Outcome],
        wire: ServiceBusWire,
        missing: TransportError | None,
    ) -> dict[int, TransportError | None]:
        if missing is not None:
            return dict.fromkeys(positions, missing)
        chosen = [messages[at] for at in positions]
        sent = self._copies.send(chosen, [outcomes[at] for at in positions], wire)
        calls = []
        for at, message, gone in zip(positions, chosen, sent, strict=True):
            if gone:
                calls.append(settlement.complete(message.receipt))
            else:
                calls.append(settlement.abandon(message.receipt))
                outcomes[at] = _at_once(outcomes[at])
        return dict(zip(positions, self._call(calls), strict=True))

    def _missing(self, errors: Mapping[int, TransportError | None]) -> TransportError | None:
        """Find out whether originals can be completed, or their copies would live beside them."""
        found = list(errors.values())
        if not found:  # nothing has been settled yet that would have shown it
            found = list(self._service.call([settlement.complete(settlement.NO_MESSAGE)]))
        return next((error for error in found if isinstance(error, SettlementMissingError)), None)

    def _release(self, message: Message[Any]) -> None:
        if message.group_id is None:
            return
        error = self._call([settlement.release_session(message.group_id)])[0]
        if error is not None:
            events.warning(
                self._queue,
                "abandon",
                "session %s of %s could not be released; it comes back when its lock ends: %s",
                message.group_id,
                self._queue,
                error,
            )

    def _call_for(self, message: Message[Any], outcome: Outcome) -> Call:
        if outcome.disposition is Disposition.ACK:
            return settlement.complete(message.receipt)
        if outcome.disposition is Disposition.RETRY:
            return settlement.abandon(message.receipt)
        return self._to_dead_letter(message, outcome)

    def _to_dead_letter(self, message: Message[Any], outcome: Outcome) -> Call:
        description = describe(outcome.error, with_text=self._error_text)
        return settlement.dead_letter(
            message.receipt, outcome.reason[:ERROR_TEXT_LENGTH], description
        )

    def _call(self, calls: Sequence[Call]) -> list[TransportError | None]:
        if not calls:
            return []
        started = perf_counter()
        errors = self._service.call(calls)
        metrics.COMPLETE_DURATION.record(perf_counter() - started, self._queue)
        lost = sum(isinstance(error, LockLostError) for error in errors)
        if lost:
            metrics.LOCKS_LOST.add(lost, self._queue)
        return errors

    def _host_may_complete(
        self, errors: Iterable[TransportError], outcomes: Sequence[Outcome]
    ) -> bool:
        missing = [error for error in errors if isinstance(error, SettlementMissingError)]
        if not missing or len(missing) != len(list(errors)):
            return False
        events.say_once(
            self._queue,
            "settlement_service",
            "one message that fails brings the whole batch back, and delivery counts go up for all "
            f"of it: {missing[0]}",
        )
        return all(outcome.disposition is Disposition.ACK for outcome in outcomes)

    def _failure(self, messages: Sequence[Message[Any]], errors: dict[int, TransportError]) -> str:
        named = [
            f"{messages[at].id} ({error})"
            for at, error in list(errors.items())[:_NAMED_IN_A_FAILURE]
        ]
        more = "" if len(errors) <= len(named) else f" and {len(errors) - len(named)} more"
        return (
            f"{len(errors)} of {len(messages)} messages of {self._queue} could not be settled and "
            f"come back: {', '.join(named)}{more}"
        )


def describe(error: BaseException | None, *, with_text: bool) -> str:
    """Say what a handler raised, for the dead-letter entry and nowhere else."""
    if error is None:
        return ""
    kind = type(error).__qualname__
    if not with_text:
        return kind
    try:
        return f"{kind}: {str(error)[:ERROR_TEXT_LENGTH]}"
    except Exception:  # an exception that cannot even be shown must not keep its message from going
        return kind


def _back(outcome: Outcome, reason: str) -> Outcome:
    return Outcome(Disposition.RETRY, reason=reason, error=outcome.error, unrun=outcome.unrun)


def _unsettled(outcome: Outcome, error: TransportError) -> Outcome:
    """Say of a message that its outcome stands and could not be carried out."""
    back = _back(outcome, f"{outcome.reason or 'done'} (not settled: {error})")
    back.error = outcome.error or error
    return back


def _at_once(outcome: Outcome) -> Outcome:
    """Take the delay off, which a message that is given back does not have here."""
    if outcome.delay is None:
        return outcome
    return _back(outcome, outcome.reason)
