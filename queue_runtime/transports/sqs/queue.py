"""Works on an SQS queue, blocking: each call of one kind, on the transport's own threads."""

from __future__ import annotations

from collections import deque
from math import ceil, floor
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from queue_runtime.clouds.aws import error_code, queue_arn, queue_url
from queue_runtime.errors import QueueNotFoundError, TransportError
from queue_runtime.message import Message
from queue_runtime.observability.events import events
from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.transports.base import Depth, SendResult
from queue_runtime.transports.sqs import batch_calls as sqs_calls
from queue_runtime.transports.sqs.delays_and_dead_letters import SqsSource
from queue_runtime.transports.sqs.errors import (
    is_not_found,
    lock_lost,
    not_dead_lettered,
    of_entry,
    of_message,
)
from queue_runtime.transports.sqs.queue_attributes import (
    Asking,
    QueueFacts,
    misfits,
    read_facts,
)
from queue_runtime.transports.sqs.send_entry import send_entry
from queue_runtime.transports.sqs.wire import RECEIVED_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.clouds.aws_sqs import SqsClients
    from queue_runtime.config import Settings
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import OutgoingMessage
    from queue_runtime.transports.sqs.address import SqsAddress

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
_LONGEST_LOCK: Final = 43_200
_ATTEMPT_SECONDS: Final = 300.0
# All others cost bytes in every answer, and nobody here reads them.
_SYSTEM_ATTRIBUTES: Final = [
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "MessageGroupId",
    "SentTimestamp",
]
_DEPTH: Final = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]
_NO_VISIBILITY: Final = "sqs:ChangeMessageVisibility"
_DELETE: Final = "sqs:DeleteMessage"
_ATTRIBUTES: Final = "sqs:GetQueueAttributes"


class Clock(Protocol):
    """Tells the time; the module `time` is one."""

    def monotonic(self) -> float:
        """Give the time that `Message.locked_until` is in."""


class Receipt(NamedTuple):
    """Holds SQS's receipt handle, and the earliest time at which the lock began."""

    handle: str
    received_at: float


class Attempt(NamedTuple):
    """A receive of a FIFO queue, which can be repeated while its answer may have been lost."""

    id: str
    limit: int
    began: float


class SqsQueue:
    """One queue, for one transport. Safe from any thread.

    Raises:
        TransportError: from every method; the whole request failed.
    """

    def __init__(
        self,
        address: SqsAddress,
        clients: SqsClients,
        *,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.name, self.ordered = address.name, address.ordered
        # Whole seconds; and below two, whatever a long poll of one second gives would be stale.
        self.lock_seconds = max(2, ceil(settings.visibility_seconds))
        self._address, self._clients = address, clients
        self._settings, self._clock = settings, clock
        self._asking = Asking(self.name, clients)
        self._lock = Lock()
        self._facts: QueueFacts | None = None
        self._checked = False
        self._unanswered: deque[Attempt] = deque(maxlen=64)
        self._copied: dict[str, float] = {}

    @property
    def server(self) -> str | None:
        """The host of the queue's URL; None before the queue was found."""
        return None if self._facts is None else urlsplit(self._facts.url).hostname

    # --- receiving -------------------------------------------------------------------------------

    def find(self) -> None:
        """Find the queue and check it, where that was not done yet."""
        self._check(self._known())

    def receive(self, limit: int, seconds: int) -> list[Message[Any]]:
        """Lock and give at most `limit` messages, in one long poll of at most 20 s."""
        facts = self._known()
        self._check(facts)
        request: dict[str, Any] = {
            "QueueUrl": facts.url,
            "MaxNumberOfMessages": limit,
            "WaitTimeSeconds": seconds,
            "VisibilityTimeout": self.lock_seconds,
            "MessageAttributeNames": ["All"],
            "MessageSystemAttributeNames": _SYSTEM_ATTRIBUTES,
        }
        attempt = self._attempt(limit)
        if self.ordered:
            request["ReceiveRequestAttemptId"] = attempt.id
        try:
            answer = self._asking.ask(
                "sqs:ReceiveMessage", lambda: self._clients.receiving.receive_message(**request)
            )
        except TransportError:
            self._unanswered.append(attempt)
            raise
        return [self._message(raw, attempt.began) for raw in answer.get("Messages") or ()]

    def longest_poll(self) -> int:
        """Seconds that a receive may wait for its first message.

        A lock counts from before the request, since nothing tells when in its course SQS locked
        the message: with a short lock, what comes at the end of a long poll would be stale.
        """
        return max(1, min(20, self.lock_seconds // 3))

    def _attempt(self, limit: int) -> Attempt:
        now = self._clock.monotonic()
        # Beyond its lock or five minutes, SQS takes a repetition for a new receive.
        oldest = now - min(_ATTEMPT_SECONDS, self.lock_seconds / 2)
        while self.ordered and self._unanswered:
            attempt = self._unanswered.popleft()
            if attempt.limit == limit and attempt.began > oldest:
                return attempt
        return Attempt(uuid4().hex if self.ordered else "", limit, now)

    def _message(self, raw: Any, asked_at: float) -> Message[Any]:
        message: Message[Any] = Message(raw, RECEIVED_MESSAGE, self.name)
        message.locked_until = asked_at + self.lock_seconds
        message.receipt = Receipt(raw["ReceiptHandle"], asked_at)
        return message

    # --- settling --------------------------------------------------------------------------------

    def stale(self, message: Message[Any]) -> SettleFailure | None:
        """Give the failure of a message whose lock has ended by our clock.

        A standard queue accepts a stale receipt and deletes nothing, or what somebody else has.
        """
        if message.locked_until > self._clock.monotonic():
            return None
        return SettleFailure(message, lock_lost(message.id, self.name))

    def is_copied(self, message: Message[Any]) -> bool:
        """Tell whether its dead-letter has been sent already: then it only has to be deleted."""
        return bool(self._copied) and message.receipt.handle in self._copied

    def delete(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        """Delete for good."""
        handles = [message.receipt.handle for message in messages]
        failed = sqs_calls.delete(self._calling(), self._known().url, handles)
        if self._copied:
            for at, handle in enumerate(handles):
                if at not in failed:
                    self._copied.pop(handle, None)
        failures = self._failures(messages, failed, _DELETE)
        return [each._replace(is_made=self.is_copied(each.message)) for each in failures]

    def retry(self, delays: Sequence[tuple[Message[Any], float]]) -> list[SettleFailure]:
        """Have messages come back after so many seconds, or as late as SQS can."""
        return self._change(
            [(message, self._allowed(message, ceil(delay))) for message, delay in delays]
        )

    def dead_letter(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Send copies to the dead-letter queue, then delete those that were sent."""
        messages = [step.message for step in steps]
        source = self._source()
        whys = source.send_dead_letters(steps)
        sent = [message for message, why in zip(messages, whys, strict=True) if why is None]
        self._remember_copied(sent)
        failures = [
            SettleFailure(message, not_dead_lettered(why, str(source.dead_letter)))
            for message, why in zip(messages, whys, strict=True)
            if why is not None
        ]
        return failures + (self.delete(sent) if sent else [])

    def renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        """Lock messages anew, for 12 hours in all at most."""
        now = self._clock.monotonic()
        failures, changes = [], []
        for message in messages:
            stale = self.stale(message)
            seconds = self._allowed(message, self.lock_seconds)
            if stale is not None:
                failures.append(stale)
            elif now + seconds > message.locked_until:
                changes.append((message, seconds))
        refused = self._change(changes) if changes else []
        not_renewed = {id(failure.message) for failure in refused}
        for message, seconds in changes:
            if id(message) not in not_renewed:
                message.locked_until = now + seconds
        return failures + refused

    def _allowed(self, message: Message[Any], seconds: int) -> int:
        receipt: Receipt = message.receipt
        left = receipt.received_at + _LONGEST_LOCK - self._clock.monotonic()
        return max(0, min(seconds, floor(left)))

    def _change(self, changes: Sequence[tuple[Message[Any], int]]) -> list[SettleFailure]:
        messages = [message for message, _ in changes]
        failed = sqs_calls.change_visibility(
            self._calling(),
            self._known().url,
            [(message.receipt.handle, seconds) for message, seconds in changes],
        )
        return self._failures(messages, failed, _NO_VISIBILITY)

    def _failures(
        self, messages: Sequence[Message[Any]], failed: dict[int, str], action: str
    ) -> list[SettleFailure]:
        self._asking.note(failed.values())
        return [
            SettleFailure(messages[at], of_message(code, messages[at].id, self.name, action))
            for at, code in failed.items()
        ]

    def _source(self) -> SqsSource:
        facts = self._known()
        return SqsSource(
            facts.arn,
            dead_letter=self._dead_letter(facts),
            clients=self._clients.in_region,
            wire=RECEIVED_MESSAGE,
        )

    def _dead_letter(self, facts: QueueFacts) -> str | None:
        named = self._settings.dead_letter
        if named and queue_arn(named, facts.arn) == facts.arn:
            # It is looked into with the settings of the queue that it belongs to.
            named = None
        return named or facts.redrive_target

    def _remember_copied(self, messages: Sequence[Message[Any]]) -> None:
        now = self._clock.monotonic()
        over = [handle for handle, until in list(self._copied.items()) if until <= now]
        for handle in over:
            self._copied.pop(handle, None)
        # Not by their locks, which may be renewed: those that are deleted leave by themselves.
        self._copied.update(
            (each.receipt.handle, each.receipt.received_at + _LONGEST_LOCK) for each in messages
        )

    # --- sending and counting --------------------------------------------------------------------

    def send(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        """Send what SQS can take, and tell what it did not."""
        facts = self._known()
        entries: dict[int, dict[str, Any]] = {}
        results = [SendResult()] * len(messages)
        for position, message in enumerate(messages):
            try:
                entries[position] = send_entry(
                    message,
                    ordered=self.ordered,
                    largest=facts.largest,
                    by_content=facts.by_content,
                )
            except TransportError as error:
                text = f"entry {position} was not sent to SQS queue {self.name}: {error}"
                results[position] = SendResult(error=type(error)(text))
        sent = sqs_calls.send(self._calling(), facts.url, list(entries.values()))
        self._asking.note(sent.failed.values())
        for at, position in enumerate(entries):
            code = sent.failed.get(at)
            why = None if code is None else of_entry(code, position, self.name)
            results[position] = SendResult(sent.ids.get(at), why)
        return results

    def depth(self) -> Depth:
        """Count what is in the queue, and in its dead-letter queue where that may be asked."""
        facts = self._known()
        visible, in_flight, delayed = self._asking.ask(
            _ATTRIBUTES, lambda: self._counts(self._clients.calling, facts.url)
        )
        return Depth(visible, in_flight, delayed, self._dead_lettered(facts))

    def _counts(self, client: Any, url: str) -> list[int]:
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=_DEPTH)["Attributes"]
        return [int(answer[name]) for name in _DEPTH]

    def _dead_lettered(self, facts: QueueFacts) -> int | None:
        target = self._source().dead_letter
        if target is None:
            return None
        try:
            client = self._clients.in_region(target.region)
            return sum(self._counts(client, queue_url(client, target)))
        except Exception as error:
            if error_code(error) is None:
                raise
            return None

    # --- what is known ---------------------------------------------------------------------------

    def _calling(self) -> Any:
        return self._asking.ask("the SDK", lambda: self._clients.calling)

    def _known(self) -> QueueFacts:
        if self._facts is None:
            with self._lock:
                if self._facts is None:
                    self._facts = read_facts(self._address, self._clients, self._asking)
                    self._say_found(self._facts)
        return self._facts

    def _say_found(self, facts: QueueFacts) -> None:
        events.debug(
            self.name,
            "connect",
            "%s is %s at %s: visibility %s s, redriven to %s after %s receives, at most %d bytes",
            self.name,
            facts.arn,
            urlsplit(facts.url).hostname,
            facts.visibility,
            facts.redrive_target,
            facts.redrive_count,
            facts.largest,
        )

    def _check(self, facts: QueueFacts) -> None:
        """Before the first receive, since a sender needs neither locks nor a dead-letter queue."""
        if self._checked:
            return
        self._check_dead_letters(facts)
        for what, sentence in misfits(facts, self._settings, dead_letter=self._dead_letter(facts)):
            events.say_once(facts.arn.name, what, sentence)
        self._checked = True

    def _check_dead_letters(self, facts: QueueFacts) -> None:
        """Look for a dead-letter queue that was named, before the first message needs it."""
        target = self._source().dead_letter if self._settings.dead_letter else None
        if target is None:
            return
        try:
            client = self._clients.in_region(target.region)
            self._counts(client, queue_url(client, target))
        except Exception as error:
            code = error_code(error)
            if code is None:
                raise
            if is_not_found(code):
                raise QueueNotFoundError(
                    f"SQS queue {self.name}: its dead-letter queue {target} is not there; create "
                    "it, or correct QUEUE_DLQ_NAME or dead_letter="
                ) from error
