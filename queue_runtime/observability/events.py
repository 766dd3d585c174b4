"""Says what became of each message: a count and a log line, the same on every host."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING, getLogger
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.observability import metrics
from queue_runtime.outcome import ACK, Disposition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.outcome import Outcome
    from queue_runtime.settlement.plan import Step

logger = getLogger("queue_runtime")

FIELDS: Final = (
    "queue_name",
    "message_id",
    "session_id",
    "correlation_id",
    "operation",
    "delivery_count",
)
_MOST_FRAMES: Final = 12
_said: set[tuple[str, str]] = set()

# Whether hosts surround calls with what takes times, and whether that binds log lines to messages.
# Both may be set at any time between two deliveries.
watching = binding = False
# What OpenTelemetry calls each queue's service, for the exporters.
systems: dict[str, str] = {}


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


_watchers: list[Watcher] = []


def watch(watcher: Watcher) -> None:
    """Tell a watcher of everything from now on, once however often this is called."""
    if watcher not in _watchers:
        _watchers.append(watcher)


def unwatch(watcher: Watcher) -> None:
    """Tell a watcher of nothing more."""
    if watcher in _watchers:
        _watchers.remove(watcher)


def _tell_watchers(queue: str, what: str, *arguments: Any, **named: Any) -> None:
    for watcher in tuple(_watchers):
        try:
            getattr(watcher, what)(*arguments, **named)
        except Exception as error:  # what only looks on must not change what happens
            say_once(queue, "telemetry", f"{type(error).__qualname__} in {what} of telemetry")


def received(queue: str, messages: Sequence[Message[Any]], seconds: float = 0.0) -> None:
    """Count messages that arrived, before anything is done with them.

    `seconds` is how long the request for them took, where it was ours.
    """
    metrics.MESSAGES_RECEIVED.add(len(messages), queue)
    if logger.isEnabledFor(INFO):
        _log_received(queue, messages)
    if _watchers:
        _tell_watchers(queue, "received", queue, messages, seconds)


def _log_received(queue: str, messages: Sequence[Message[Any]]) -> None:
    # A line for each would double what is logged, and be followed by the one that says its fate.
    count = len(messages)
    about = fields(messages[0], "receive") if count == 1 else dict.fromkeys(FIELDS)
    extra = {**about, "queue_name": queue, "operation": "receive", "message_count": count}
    logger.info("received %d message(s) of %s", count, queue, extra=extra)


def sent(queue: str, count: int, failed: int, seconds: float) -> None:
    """Count and time one send of `count` messages, `failed` of which were not accepted."""
    for number, status in ((count - failed, "success"), (failed, "failure")):
        if number:
            metrics.MESSAGES_SENT.add(number, queue, status)
    metrics.SEND_DURATION.record(seconds, queue)
    if logger.isEnabledFor(INFO):
        extra = {**dict.fromkeys(FIELDS), "queue_name": queue, "operation": "send"}
        logger.info(
            "sent %d message(s) to %s, %d of them refused",
            count,
            queue,
            failed,
            extra={**extra, "message_count": count},
        )


def noted(queue: str, steps: Sequence[Step]) -> None:
    """Say what a queue cannot do as it was asked to."""
    for step in steps:
        if step.note:
            say_once(queue, "delayed_retry", step.note)


def settle_request(queue: str, seconds: float) -> None:
    """Take the time of one request, or round of requests, that carried outcomes out."""
    metrics.COMPLETE_DURATION.record(seconds, queue)


def settled(
    queue: str,
    messages: Sequence[Message[Any]],
    outcomes: Sequence[Outcome],
    seconds: float = 0.0,
) -> None:
    """Count and log the outcome of each message, after its host or transport carried it out."""
    completed = outcomes.count(ACK)
    say_completed = logger.isEnabledFor(INFO)
    if completed < len(outcomes) or say_completed:
        completed += _tell(queue, zip(messages, outcomes, strict=True), say_completed)
    if completed:
        metrics.MESSAGES_COMPLETED.add(completed, queue)
    if watching:
        metrics.TIME_TO_DONE.record_all(_ages(messages, outcomes), queue)
    if _watchers:
        _tell_watchers(queue, "settled", queue, messages, outcomes, seconds)


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


def lock_lost(message: Message[Any], outcome: Outcome) -> None:
    """Say that a message can no longer be settled by us: it will be delivered again, or was."""
    metrics.LOCKS_LOST.add(1, message.queue)
    logger.warning(
        "message %s of %s: its lock ended before it was settled (%s), so it is delivered again",
        message.id,
        message.queue,
        outcome.disposition,
        extra=fields(message, "settle"),
    )
    if _watchers:
        _tell_watchers(message.queue, "forgotten", message)


def still_running(message: Message[Any], handler: str) -> None:
    """Say that a message is given back although its handler has not let go of it."""
    logger.warning(
        "message %s of %s: %s still runs at the end of the drain; it is given back, and may be "
        "done twice",
        message.id,
        message.queue,
        handler,
        extra=fields(message, "abandon"),
    )


def session_accepted(queue: str, session: str) -> None:
    """Count a session, or a message group, that was taken up."""
    metrics.SESSIONS_ACCEPTED.add(1, queue)
    if _watchers:
        _tell_watchers(queue, "session_accepted", queue, session)


def session_ended(queue: str, session: str, seconds: float, *, completed: bool) -> None:
    """Count a session that was let go: with all that came of it done, or before."""
    counter = metrics.SESSIONS_COMPLETED if completed else metrics.SESSIONS_ABANDONED
    counter.add(1, queue)
    metrics.SESSION_DURATION.record(seconds, queue)
    if _watchers:
        _tell_watchers(queue, "session_ended", queue, session, completed=completed)


class GroupsOfDelivery:
    """The message groups, or the session, of one delivery of an ordered queue, as sessions."""

    def __init__(self, queue: str, messages: Sequence[Message[Any]]) -> None:
        self._queue = queue
        self._started = monotonic()
        self._groups = dict.fromkeys(m.group_id for m in messages if m.group_id is not None)
        for group in self._groups:
            session_accepted(queue, group)

    def ended(self, messages: Sequence[Message[Any]], outcomes: Sequence[Outcome]) -> None:
        """Say that it is over: with a retry in it, a group was abandoned."""
        seconds = monotonic() - self._started
        stopped = {
            message.group_id
            for message, outcome in zip(messages, outcomes, strict=True)
            if outcome.disposition is Disposition.RETRY
        }
        for group in self._groups:
            session_ended(self._queue, group, seconds, completed=group not in stopped)


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


def carefully(queue: str, tell: Callable[..., object], *arguments: Any, **named: Any) -> None:
    """Tell of something; a log handler or filter that raises is counted, and costs nothing else."""
    try:
        tell(*arguments, **named)
    except Exception as error:
        metrics.ERRORS.add(1, queue, f"log:{type(error).__name__}")


def say_once(queue: str, what: str, sentence: str) -> None:
    """Warn of a thing that the host cannot do: logged once a process, always counted."""
    metrics.DEGRADED.add(1, queue, what)
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
    metrics.MESSAGES_DEAD_LETTERED.add(1, queue)
    _count_error(queue, outcome)
    _log(ERROR, message, "dead_letter", f"dead-lettered: {outcome.reason}", outcome)


def _given_back(queue: str, message: Message[Any], outcome: Outcome) -> None:
    metrics.MESSAGES_ABANDONED.add(1, queue)
    when = f" in {outcome.delay:.1f} s" if outcome.delay else ""
    if outcome.unrun:
        _log(INFO, message, "abandon", f"given back unrun{when}: {outcome.reason}")
        return
    metrics.RETRY_ATTEMPTS.add(1, queue)
    _count_error(queue, outcome)
    _log(WARNING, message, "abandon", f"to be retried{when}: {outcome.reason}", outcome)


def _count_error(queue: str, outcome: Outcome) -> None:
    kind = type(outcome.error).__qualname__ if outcome.error else "Unknown"
    metrics.ERRORS.add(1, queue, kind)


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
