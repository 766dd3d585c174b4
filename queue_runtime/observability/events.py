"""Counts and logs each event of a message, the same on every host."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.observability import metrics
from queue_runtime.observability.log_lines import (
    TRACE,
    LogLines,
    count_lost,
    guarded,
    is_logged,
    safe,
)
from queue_runtime.outcome import ACK, DeadLetter, Discard, Disposition, Retry, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.settlement.plan import Step

_SIGNALS: Final[tuple[type[Signal], ...]] = (Retry, DeadLetter, Discard)


class Watcher(Protocol):
    """Told of what has just been done, whose beginning is `seconds` back; sees no body."""

    def received(self, queue: str, messages: Sequence[Message[Any]], seconds: float) -> None:
        """Messages have arrived; `seconds` is 0 where the host received them for us."""

    def settled(
        self,
        queue: str,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        seconds: float,
    ) -> None:
        """Outcomes have been carried out."""

    def forgotten(self, message: Message[Any]) -> None:
        """A message will not be settled by us."""

    def session_accepted(self, queue: str, session: str) -> None:
        """A session or message group was taken up."""

    def session_ended(self, queue: str, session: str, *, completed: bool) -> None:
        """It was let go."""


@guarded
class Events(LogLines):
    """Counts and logs what is done to messages, and tells watchers of it; no method raises.

    - `watching`, `binding`: whether hosts surround calls with what takes times, and whether that
      binds log lines to messages. Both may be set at any time between two deliveries.
    - `systems`: what OpenTelemetry calls each queue's service, for the exporters.
    """

    def __init__(self) -> None:
        self.watching = self.binding = False
        self.systems: dict[str, str] = {}
        self._watchers: list[Watcher] = []
        self._said: set[tuple[str, str]] = set()

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher of everything from now on, once however often this is called."""
        if watcher not in self._watchers:
            self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell a watcher of nothing more."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def say_once(
        self, queue: str, what: str, sentence: str, *, raised: BaseException | None = None
    ) -> None:
        """Warn of a thing that the host cannot do: logged once a process, always counted."""
        metrics.DEGRADED.add(1, queue, what)
        if (queue, what) not in self._said:
            self._said.add((queue, what))
            self.warning(queue, what, "%s: %s", queue, sentence, raised=raised)

    # --- messages --------------------------------------------------------------------------------

    @safe
    def received(self, queue: str, messages: Sequence[Message[Any]], seconds: float = 0.0) -> None:
        """Count messages that arrived, before anything is done with them.

        `seconds` is how long the request for them took, where it was ours.
        """
        metrics.MESSAGES_RECEIVED.add(len(messages), queue)
        if is_logged(INFO):
            self._log_received(queue, messages)
        if self._watchers:
            self._tell_watchers(queue, "received", queue, messages, seconds)

    @safe
    def settled(
        self,
        queue: str,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        seconds: float = 0.0,
    ) -> None:
        """Count and log the outcome of each message, after its host or transport carried it out."""
        try:
            completed = outcomes.count(ACK)
            say_completed = is_logged(INFO)
            if completed < len(outcomes) or say_completed:
                completed += self._tell(queue, zip(messages, outcomes, strict=True), say_completed)
            if completed:
                metrics.MESSAGES_COMPLETED.add(completed, queue)
            if self._watchers:
                self._tell_watchers(queue, "settled", queue, messages, outcomes, seconds)
            if self.watching:
                metrics.TIME_TO_DONE.record_all(_ages(messages, outcomes), queue)
        except Exception as error:
            count_lost(queue, error)

    def lock_lost(self, message: Message[Any], outcome: Outcome) -> None:
        """Say that a message can no longer be settled by us: it will be delivered again, or was."""
        metrics.LOCKS_LOST.add(1, message.queue)
        self.warning(
            message,
            "settle",
            "is delivered again: its lock ended before it was settled (%s)",
            outcome.disposition,
        )
        self._tell_watchers(message.queue, "forgotten", message)

    def still_running(self, message: Message[Any], handler: str) -> None:
        """Log that a message is returned although its handler still runs."""
        self.warning(
            message,
            "abandon",
            "is given back, and may be done twice: %s still runs at the end of the drain",
            handler,
        )

    # --- requests and sessions -------------------------------------------------------------------

    def sent(self, queue: str, count: int, failed: int, seconds: float) -> None:
        """Count and time one send of `count` messages, `failed` of which were not accepted."""
        for number, status in ((count - failed, "success"), (failed, "failure")):
            if number:
                metrics.MESSAGES_SENT.add(number, queue, status)
        metrics.SEND_DURATION.record(seconds, queue)
        text = "sent %d message(s) to %s, %d of them refused"
        self.info(queue, "send", text, count, queue, failed, message_count=count)

    def noted(self, queue: str, steps: Sequence[Step]) -> None:
        """Log, once a queue, the requests that the queue cannot fulfil; at TRACE, all steps."""
        for step in steps:
            if step.note:
                self.say_once(queue, "delayed_retry", step.note)
            if is_logged(TRACE):
                self.trace(step.message, "settle", "is settled: %s", step.action.value)

    def settle_request(self, queue: str, seconds: float) -> None:
        """Take the time of one request, or round of requests, that carried outcomes out."""
        metrics.COMPLETE_DURATION.record(seconds, queue)

    def session_accepted(self, queue: str, session: str) -> None:
        """Count a session, or a message group, that was taken up."""
        metrics.SESSIONS_ACCEPTED.add(1, queue)
        self._tell_watchers(queue, "session_accepted", queue, session)

    def session_ended(self, queue: str, session: str, seconds: float, *, completed: bool) -> None:
        """Count a session that was released: completed, or abandoned before its end."""
        counter = metrics.SESSIONS_COMPLETED if completed else metrics.SESSIONS_ABANDONED
        counter.add(1, queue)
        metrics.SESSION_DURATION.record(seconds, queue)
        self._tell_watchers(queue, "session_ended", queue, session, completed=completed)

    # --- parts -----------------------------------------------------------------------------------

    def _tell_watchers(self, queue: str, what: str, *arguments: Any, **named: Any) -> None:
        for watcher in tuple(self._watchers):
            try:
                getattr(watcher, what)(*arguments, **named)
            except Exception as error:  # what only looks on must not change what happens
                sentence = f"{type(error).__qualname__} in {what} of telemetry"
                self.say_once(queue, "telemetry", sentence, raised=error)

    def _log_received(self, queue: str, messages: Sequence[Message[Any]]) -> None:
        # A line for each of many would double what is logged, and be followed by the one that says
        # what became of it.
        count = len(messages)
        if count == 1:
            self.info(messages[0], "receive", "received", message_count=1)
        else:
            text = "received %d messages of %s"
            self.info(queue, "receive", text, count, queue, message_count=count)

    def _tell(
        self, queue: str, pairs: Iterable[tuple[Message[Any], Outcome]], say_completed: bool
    ) -> int:
        """Log and count whatever is not simply completed; gives how many were discarded."""
        discarded = 0
        for message, outcome in pairs:
            if outcome is ACK:
                if say_completed:
                    self._write(INFO, message, "complete", "completed", ())
            elif outcome.disposition is Disposition.ACK:
                discarded += 1
                self._discarded(queue, message, outcome)
            elif outcome.disposition is Disposition.DEAD_LETTER:
                self._dead_lettered(queue, message, outcome)
            else:
                self._given_back(queue, message, outcome)
        return discarded

    def _discarded(self, queue: str, message: Message[Any], outcome: Outcome) -> None:
        if isinstance(outcome.error, Signal):
            _count_error(queue, outcome)
        self._write(INFO, message, "complete", "discarded: %s", (outcome.reason,))

    def _dead_lettered(self, queue: str, message: Message[Any], outcome: Outcome) -> None:
        metrics.MESSAGES_DEAD_LETTERED.add(1, queue)
        _count_error(queue, outcome)
        text = "dead-lettered: %s"
        self._write(ERROR, message, "dead_letter", text, (outcome.reason,), outcome.error)

    def _given_back(self, queue: str, message: Message[Any], outcome: Outcome) -> None:
        metrics.MESSAGES_ABANDONED.add(1, queue)
        when = f" in {outcome.delay:.1f} s" if outcome.delay else ""
        if outcome.unrun:
            text = "returned unrun%s: %s"
            self._write(INFO, message, "abandon", text, (when, outcome.reason))
            return
        metrics.RETRY_ATTEMPTS.add(1, queue)
        _count_error(queue, outcome)
        text = "to be retried%s: %s"
        self._write(WARNING, message, "abandon", text, (when, outcome.reason), outcome.error)


# The process's own; counts are the process's too.
events: Final = Events()


@guarded
class GroupsOfDelivery:
    """The message groups, or the session, of one delivery of an ordered queue, as sessions."""

    def __init__(self, queue: str, messages: Sequence[Message[Any]]) -> None:
        self._queue = queue
        self._started = monotonic()
        self._groups: dict[str, None] = {}
        self._groups |= dict.fromkeys(m.group_id for m in messages if m.group_id is not None)
        for group in self._groups:
            events.session_accepted(queue, group)

    def ended(self, messages: Sequence[Message[Any]], outcomes: Sequence[Outcome]) -> None:
        """Count the end of each group; a group with a retry is abandoned."""
        seconds = monotonic() - self._started
        stopped = {
            message.group_id
            for message, outcome in zip(messages, outcomes, strict=True)
            if outcome.disposition is Disposition.RETRY
        }
        for group in self._groups:
            events.session_ended(self._queue, group, seconds, completed=group not in stopped)


def _count_error(queue: str, outcome: Outcome) -> None:
    error = outcome.error
    if isinstance(error, Signal):  # the handler's own decision
        kind = next((kind for kind in _SIGNALS if isinstance(error, kind)), Signal)
        metrics.SIGNALS.add(1, queue, kind.__name__)
    else:
        metrics.ERRORS.add(1, queue, type(error).__qualname__ if error else "Unknown")


def _ages(messages: Sequence[Message[Any]], outcomes: Sequence[Outcome]) -> list[float]:
    now = time()
    done = [m for m, outcome in zip(messages, outcomes, strict=True) if outcome is ACK]
    # A wire's own way is several times as fast as one through a datetime.
    read = getattr(done[0]._wire, "sent_at", None) if done else None
    sent = [_sent_at(m) for m in done] if read is None else [read(m.native) for m in done]
    return [now - each if each < now else 0.0 for each in sent if each is not None]


def _sent_at(message: Message[Any]) -> float | None:
    sent = message.enqueued_at
    return None if sent is None else sent.timestamp()
