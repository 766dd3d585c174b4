"""Carries steps out through the Functions host, so that nothing unsettled is acknowledged.

What is left unsettled is the host's: it completes it when the function returns and auto-complete is
on, leaves it locked when that is off, and gives it back when the function raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from queue_runtime.clouds import azure_settlement as settlement
from queue_runtime.clouds.azure_settlement import SettlementMissingError
from queue_runtime.errors import LockLostError, QueueRuntimeError, TransportError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.settlement.plan import Action
from queue_runtime.transports.service_bus.wire import LONGEST_TEXT, delayed_copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.clouds.azure_settlement import Call
    from queue_runtime.clouds.azure_settlement import Settles as Calls
    from queue_runtime.message import Message
    from queue_runtime.settlement.plan import Abilities, Step
    from queue_runtime.transports.base import OutgoingMessage, SendResult
    from queue_runtime.transports.service_bus.wire import ServiceBusWire

# Calls what waits for the host or the queue, where it holds nobody else up.
OffLoop: TypeAlias = Callable[..., Awaitable[Any]]

_NAMED_IN_A_FAILURE: Final = 3


class Sends(Protocol):
    """Sends messages to the queue that they came from, and waits for it."""

    def send_now(self, messages: Sequence[OutgoingMessage], /) -> Sequence[SendResult]:
        """Send, and give one result for each message, in their order."""


class Service:
    """The host's Settlement service and the sender of copies, for one trigger.

    Args:
        queue: the queue's name, for logs and metrics.
        calls: the host's Settlement service.
        make_sender: makes what sends delayed copies, when the first is needed.
    """

    def __init__(self, queue: str, calls: Calls, make_sender: Callable[[], Sends]) -> None:
        self.queue = queue
        self._calls = calls
        self._make_sender = make_sender
        self.sender: Sends | None = None

    def call(self, calls: Sequence[Call]) -> list[TransportError | None]:
        """Make all calls together, and give for each the error, or None where it was done."""
        if not calls:
            return []
        errors = self._calls.call(calls)
        lost = sum(isinstance(error, LockLostError) for error in errors)
        if lost:
            metrics.LOCKS_LOST.add(lost, self.queue)
        return errors

    def settle(self, steps: Sequence[Step]) -> dict[int, TransportError]:
        """Make each step's call, a copied message's too; gives errors by position."""
        answers = self.call([_call_for(step) for step in steps])
        return {at: error for at, error in enumerate(answers) if error is not None}

    def send_copies(self, steps: Sequence[Step], wire: ServiceBusWire) -> dict[int, TransportError]:
        """Send the copies that stand in for delayed messages; gives errors by position."""
        from queue_runtime.transports.base import refused

        try:
            if self.sender is None:
                self.sender = self._make_sender()
            copies = [delayed_copy(step.message, wire, step.delay or 0.0) for step in steps]
            return refused(self.sender.send_now(copies))
        except Exception as error:  # without a copy the original is given back: nothing is lost
            # The text of our own errors is ours; another's may hold anything.
            ours = isinstance(error, QueueRuntimeError)
            why = TransportError(str(error) if ours else type(error).__qualname__)
            return dict.fromkeys(range(len(steps)), why)

    def missing(self) -> SettlementMissingError | None:
        """Ask whether the service is there, by a call that it refuses if it is."""
        error = self._calls.call([settlement.complete(settlement.NO_MESSAGE)])[0]
        return error if isinstance(error, SettlementMissingError) else None

    def say_missing(self, consequence: str, error: TransportError) -> None:
        """Warn that the Settlement service is missing, and name the consequences."""
        events.say_once(self.queue, "settlement_service", f"{consequence}: {error}")


class SingleMessage:
    """Settles a trigger's only message: returning acknowledges it, raising gives it back."""

    acknowledges = False

    def __init__(
        self, service: Service, abilities: Abilities, wire: ServiceBusWire, off_loop: OffLoop
    ) -> None:
        self._service, self.abilities = service, abilities
        self._wire, self._off_loop = wire, off_loop
        self.failure = ""

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Dead-letter or copy; where the message has to come back, `failure` says why to raise."""
        (step,) = steps
        error: TransportError | None = None
        if step.action is Action.DEAD_LETTER:
            (error,) = await self._off_loop(self._service.call, [_call_for(step)])
            if isinstance(error, SettlementMissingError):
                self._service.say_missing(
                    "messages to be dead-lettered are retried until the queue does it", error
                )
        elif step.action is Action.COPY:
            failed = await self._off_loop(self._service.send_copies, steps, self._wire)
            error = failed.get(0)
        if error is not None or step.action is Action.GIVE_BACK:
            self.failure = (
                f"message {step.message.id} of {self._service.queue} is given back: "
                f"{step.outcome.reason}"
            )
        return [] if error is None else [SettleFailure(step.message, error)]


class BatchOfMessages:
    """Settles each message of a batch by itself; the host's own settling is for all alike."""

    acknowledges = True

    def __init__(
        self, service: Service, abilities: Abilities, wire: ServiceBusWire, off_loop: OffLoop
    ) -> None:
        self._service, self.abilities = service, abilities
        self._wire, self._off_loop = wire, off_loop
        self.failure = ""

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Settle together; where some could not be, `failure` says why to raise."""
        failures: list[SettleFailure] = await self._off_loop(self._settle, steps)
        return failures

    def _settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        copies = [step for step in steps if step.action is Action.COPY]
        rest = [step for step in steps if step.action is not Action.COPY]
        unsettled = _failed(rest, self._service.settle(rest))
        refused: list[SettleFailure] = []
        if copies:
            missing = _missing(unsettled) if rest else self._service.missing()
            if missing is not None:  # originals could not be completed, so copies would double them
                unsettled += [SettleFailure(step.message, missing) for step in copies]
            else:
                refused = self._copy(copies, unsettled)
        if unsettled and self._host_may_complete(steps, unsettled):
            return []
        self.failure = _failure(self._service.queue, unsettled, len(steps))
        return unsettled + refused

    def _copy(self, copies: Sequence[Step], unsettled: list[SettleFailure]) -> list[SettleFailure]:
        """Send copies and complete their originals; gives those refused, which are abandoned."""
        refused = self._service.send_copies(copies, self._wire)
        calls = [
            step._replace(action=Action.GIVE_BACK if at in refused else Action.ACKNOWLEDGE)
            for at, step in enumerate(copies)
        ]
        unsettled += _failed(copies, self._service.settle(calls))
        return _failed(copies, refused)

    def _host_may_complete(self, steps: Sequence[Step], unsettled: Sequence[SettleFailure]) -> bool:
        """Tell whether nothing could be settled, and all of it is the host's to complete."""
        missing = _missing(unsettled)
        if missing is None or not _all_missing(unsettled):
            return False
        self._service.say_missing(
            "one message that fails brings the whole batch back, and delivery counts go up for all "
            "of it",
            missing,
        )
        return all(step.action is Action.ACKNOWLEDGE for step in steps)


class SessionOfMessages:
    """Settles a session in turn, up to the first message that is not done, and lets it go.

    The messages that follow are left alone, and come back in their order without being counted.
    """

    acknowledges = True

    def __init__(self, service: Service, abilities: Abilities, off_loop: OffLoop) -> None:
        self._service, self.abilities, self._off_loop = service, abilities, off_loop
        self.failure = ""

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Settle in turn; where that had to stop, `failure` says why to raise."""
        self.failure = ""
        failures: list[SettleFailure] = await self._off_loop(self._settle, steps)
        return failures

    def _settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        for at, step in enumerate(steps):
            # A message that did not run is not abandoned, which would count it.
            error = None if step.outcome.unrun else self._service.settle([step]).get(0)
            if error is not None:
                return self._stopped(steps[at:], error)
            if step.action is Action.GIVE_BACK:
                self._release(step.message)
                break
        return []

    def _stopped(self, rest: Sequence[Step], error: TransportError) -> list[SettleFailure]:
        if isinstance(error, SettlementMissingError):
            self._service.say_missing(
                "batches of sessions cannot be settled without it, so they all come back", error
            )
        failures = [SettleFailure(step.message, error) for step in rest]
        self.failure = _failure(self._service.queue, failures[:1], len(rest))
        return failures

    def _release(self, message: Message[Any]) -> None:
        if message.group_id is None:
            return
        (error,) = self._service.call([settlement.release_session(message.group_id)])
        if error is not None:
            events.warning(
                self._service.queue,
                "abandon",
                "session %s of %s could not be released; it comes back when its lock ends: %s",
                message.group_id,
                self._service.queue,
                error,
            )


def _call_for(step: Step) -> Call:
    if step.action is Action.ACKNOWLEDGE:
        return settlement.complete(step.message.receipt)
    if step.facts is None:
        return settlement.abandon(step.message.receipt)
    return settlement.dead_letter(
        step.message.receipt,
        step.outcome.reason[:LONGEST_TEXT],
        step.facts.within(LONGEST_TEXT),
    )


def _failed(steps: Sequence[Step], errors: dict[int, TransportError]) -> list[SettleFailure]:
    return [SettleFailure(steps[at].message, error) for at, error in errors.items()]


def _missing(failures: Sequence[SettleFailure]) -> SettlementMissingError | None:
    return next((f.error for f in failures if isinstance(f.error, SettlementMissingError)), None)


def _all_missing(failures: Sequence[SettleFailure]) -> bool:
    return all(isinstance(failure.error, SettlementMissingError) for failure in failures)


def _failure(queue: str, failures: Sequence[SettleFailure], count: int) -> str:
    if not failures:
        return ""
    named = [f"{each.message.id} ({each.error})" for each in failures[:_NAMED_IN_A_FAILURE]]
    more = "" if len(failures) <= len(named) else f" and {len(failures) - len(named)} more"
    return (
        f"{len(failures)} of {count} messages of {queue} could not be settled and come back: "
        f"{', '.join(named)}{more}"
    )
