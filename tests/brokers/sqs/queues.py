"""One queue as a state machine: no I/O, and no time but that of the clock it is given."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256, shake_256
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from tests.brokers.sqs import errors, limits
from tests.brokers.sqs.journal import Event, Journal, Kind
from tests.brokers.sqs.md5 import body_md5
from tests.brokers.sqs.memory import Memory
from tests.brokers.sqs.messages import Draft, Message, Sent, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.sqs.settings import QueueSettings
    from tests.brokers.sqs.shelves import Shelf

_FIRST_SEQUENCE = 18_850_000_000_000_000_000
_HANDLE_MARK = 324  # with the 20 digits of number and receive, as long as real handles are
_NEVER = float("inf")

_Attempt = list[tuple[Message, int]]


class Counts(NamedTuple):
    """How many messages a queue holds, by what they wait for."""

    visible: int
    in_flight: int
    delayed: int


class Queue:
    """Messages, their visibility and their receipts, for both queue types."""

    def __init__(
        self,
        name: str,
        arn: str,
        settings: QueueSettings,
        shelf: Shelf,
        clock: Callable[[], float],
        journal: Journal,
        *,
        in_flight_limit: int = limits.IN_FLIGHT,
    ) -> None:
        self.name = name
        self.arn = arn
        self.settings = settings
        self.created_at = self.modified_at = clock()
        self.dead_letters: Queue | None = None
        self.on_redrive: Callable[[Queue], object] = lambda _: None
        self._shelf = shelf
        self._clock = clock
        self._journal = journal
        self._in_flight_limit = in_flight_limit
        self._messages: dict[int, Message] = {}
        self._last_number = 0
        self._hidden: list[tuple[float, int, Message]] = []
        self._in_flight = 0
        self._delayed = 0
        self._purged_at = -_NEVER
        self._first_expiry = _NEVER
        self._last_due = -_NEVER
        self._sends: Memory[Sent] = Memory(limits.DEDUPLICATION)
        self._attempts: Memory[_Attempt] = Memory(limits.RECEIVE_ATTEMPT)
        self._mark = b64encode(shake_256(arn.encode()).digest(_HANDLE_MARK * 3 // 4)).decode()

    # --- producing

    def send(self, draft: Draft) -> Sent:
        now = self._pass_time()
        if not self.settings.fifo:
            return self._add(draft, now)
        identity = draft.deduplication_id or sha256(draft.body.encode()).hexdigest()
        scope = draft.group if self.settings.deduplicate_by_group else ""
        if earlier := self._sends.get((scope, identity), now):
            self._log(Kind.DEDUPLICATED, earlier.message_id)
            return earlier
        sent = self._add(replace(draft, deduplication_id=identity), now)
        self._sends.put((scope, identity), sent, now)
        return sent

    def _add(self, draft: Draft, now: float) -> Sent:
        delay = self.settings.delay if draft.delay is None else draft.delay
        self._last_number += 1
        message = Message(
            id=str(uuid4()),
            sequence=self._last_number,
            body=draft.body,
            body_md5=body_md5(draft.body),
            attributes=draft.attributes,
            trace_header=draft.trace_header,
            group=draft.group,
            deduplication_id=draft.deduplication_id,
            sent_at=now,
        )
        self._keep(message)
        self._log(Kind.SENT, message.id)
        due = now + delay
        if self.settings.fifo:  # a delay that was shortened must not let later messages overtake
            due = self._last_due = max(due, self._last_due)
        if due > now:
            message.state = State.DELAYED
            self._delayed += 1
            self._hide_until(message, due)
        else:
            self._shelf.put(message)
        return Sent(message.id, public_sequence(message))

    def admit(self, message: Message, source: Queue) -> None:
        """Take over a dead letter: same id, this queue's place in the line."""
        self._pass_time()
        fifo = self.settings.fifo
        self._last_number += 1
        letter = replace(
            message,
            sequence=self._last_number,
            state=State.READY,
            receives_here=0,
            changed=False,
            source_arn=source.arn,
            sent_at=self._clock() if fifo else message.sent_at,
            deduplication_id=message.id if fifo else message.deduplication_id,
        )
        self._keep(letter)
        self._shelf.put(letter)
        self.on_redrive(self)

    def _keep(self, message: Message) -> None:
        self._messages[message.sequence] = message
        self._first_expiry = min(self._first_expiry, message.sent_at + self.settings.retention)

    # --- consuming

    def receive(
        self, count: int, visibility: float | None = None, attempt: str = ""
    ) -> list[Message]:
        """Put up to `count` messages in flight; a known `attempt` gives its messages again."""
        now = self._pass_time()
        until = now + (self.settings.visibility if visibility is None else visibility)
        if attempt and (earlier := self._repeat(attempt, now, until)):
            return earlier
        room = self._in_flight_limit - self._in_flight
        if room <= 0:
            if self.settings.fifo:
                return []
            raise errors.over_limit()
        taken = self._shelf.take(
            min(count, room), lambda message: self._deliver(message, now, until)
        )
        if attempt and taken:
            self._attempts.put((attempt,), [(m, m.receives_here) for m in taken], now)
        return taken

    def _deliver(self, message: Message, now: float, until: float) -> bool:
        redrive = self.settings.redrive
        if redrive and self.dead_letters and message.receives_here >= redrive.max_receives:
            self._dead_letter(message, self.dead_letters)
            return False
        message.receives += 1
        message.receives_here += 1
        message.changed = False
        message.received_at = now
        message.first_received_at = message.first_received_at or now
        message.state = State.IN_FLIGHT
        self._in_flight += 1
        self._hide_until(message, until)
        self._log(Kind.RECEIVED, message.id, str(message.receives))
        return True

    def _dead_letter(self, message: Message, target: Queue) -> None:
        self._log(Kind.DEAD_LETTERED, message.id, target.name)
        target.admit(message, self)
        self._drop(message)

    def _repeat(self, attempt: str, now: float, until: float) -> list[Message]:
        earlier = self._attempts.get((attempt,), now)
        if not earlier:
            return []
        if any(m.changed or m.receives_here != receive for m, receive in earlier):
            raise errors.invalid_parameter(
                attempt,
                "ReceiveRequestAttemptId",
                "The receiveRequestAttemptId is not valid anymore since the receive call is not "
                "retryable.",
            )
        if any(m.state is not State.IN_FLIGHT for m, _ in earlier):
            return []
        for message, _ in earlier:
            self._hide_until(message, until)
            self._log(Kind.RECEIVE_REPEATED, message.id, str(message.receives))
        return [message for message, _ in earlier]

    # --- settling

    def receipt(self, message: Message) -> str:
        """The handle of the message's latest receive; a later receive makes it stale."""
        return f"{self._mark}{message.sequence:014x}{message.receives_here:06x}"

    def delete(self, handle: str) -> None:
        self._pass_time()
        message, current = self._find(handle)
        if message is None:
            return  # deleting twice succeeds
        if self.settings.fifo and not (current and message.state is State.IN_FLIGHT):
            raise errors.ReceiptExpiredError(handle)
        if not current:
            self._log(Kind.STALE_DELETE, message.id)
            return
        self._log(Kind.DELETED, message.id)
        message.changed = True
        self._drop(message)

    def change_visibility(self, handle: str, seconds: float) -> None:
        """Hide until `seconds` from now; 12 hours since the receive is the most in all."""
        now = self._pass_time()
        message, current = self._find(handle)
        if message is None or not current:
            raise errors.not_changeable(handle)
        if self.settings.fifo and message.state is not State.IN_FLIGHT:
            raise errors.not_changeable(handle)
        if int(now - message.received_at) + seconds > limits.VISIBILITY:
            raise errors.invalid_parameter(
                seconds,
                "VisibilityTimeout",
                "Total VisibilityTimeout for the message is beyond the limit "
                f"[{limits.VISIBILITY} seconds]",
            )
        self._log(Kind.VISIBILITY_CHANGED, message.id, str(seconds))
        message.changed = True
        if message.state is State.READY:  # a standard queue hides a message again
            message.state = State.IN_FLIGHT
            self._in_flight += 1
        self._hide_until(message, now + seconds)
        self._pass_time()

    def _find(self, handle: str) -> tuple[Message | None, bool]:
        mark, digits = handle[:-20], handle[-20:]
        try:
            number, receive = int(digits[:14], 16), int(digits[14:], 16)
        except ValueError:
            raise errors.invalid_receipt(handle) from None
        if mark != self._mark or not 0 < number <= self._last_number:
            raise errors.invalid_receipt(handle)
        message = self._messages.get(number)
        if message and not 0 < receive <= message.receives_here:
            raise errors.invalid_receipt(handle)
        return message, message is not None and receive == message.receives_here

    # --- the queue itself

    def purge(self) -> None:
        now = self._pass_time()
        if now - self._purged_at < limits.PURGE_INTERVAL:
            raise errors.purge_in_progress(self.name)
        self._purged_at = now
        for message in tuple(self._messages.values()):
            self._drop(message)
        self._journal.record(Event(now, Kind.PURGED, self.name))

    def configure(self, settings: QueueSettings) -> None:
        self.settings = settings
        self.modified_at = self._clock()
        sent = (message.sent_at for message in self._messages.values())
        self._first_expiry = min(sent, default=_NEVER) + settings.retention
        self._journal.record(
            Event(self.modified_at, Kind.ATTRIBUTES_SET, self.name, "", json.dumps(settings.values))
        )

    def counts(self) -> Counts:
        self._pass_time()
        hidden = self._in_flight + self._delayed
        return Counts(len(self._messages) - hidden, self._in_flight, self._delayed)

    # --- time

    def next_due(self) -> float:
        """When the next hidden message becomes visible unless it is settled before."""
        while self._hidden and not _waits(self._hidden[0]):
            heappop(self._hidden)
        return self._hidden[0][0] if self._hidden else _NEVER

    def _pass_time(self) -> float:
        now = self._clock()
        while self._hidden and self._hidden[0][0] <= now:
            entry = heappop(self._hidden)
            if _waits(entry):
                self._show(entry[2])
        if now >= self._first_expiry:
            self._expire(now)
        return now

    def _show(self, message: Message) -> None:
        was_in_flight = message.state is State.IN_FLIGHT
        message.state = State.READY
        self._shelf.put(message)
        if was_in_flight:
            self._in_flight -= 1
            self._shelf.freed(message)
        else:
            self._delayed -= 1
        self._log(Kind.VISIBLE_AGAIN if was_in_flight else Kind.DELAY_ENDED, message.id)

    def _expire(self, now: float) -> None:
        oldest = now - self.settings.retention
        for message in tuple(self._messages.values()):
            if message.sent_at <= oldest:
                self._log(Kind.EXPIRED, message.id)
                self._drop(message)
        sent = (message.sent_at for message in self._messages.values())
        self._first_expiry = min(sent, default=_NEVER) + self.settings.retention

    def _hide_until(self, message: Message, due: float) -> None:
        message.hidden_until = due
        heappush(self._hidden, (due, message.sequence, message))
        # Settled messages stay in the heap until they are due: without this they would pile up.
        if len(self._hidden) > 2 * (self._in_flight + self._delayed) + 1000:
            self._hidden = [entry for entry in self._hidden if _waits(entry)]
            heapify(self._hidden)

    def _drop(self, message: Message) -> None:
        was, message.state = message.state, State.GONE
        del self._messages[message.sequence]
        if was is State.IN_FLIGHT:
            self._in_flight -= 1
            self._shelf.freed(message)
        elif was is State.DELAYED:
            self._delayed -= 1

    def _log(self, kind: Kind, message_id: str, detail: str = "") -> None:
        self._journal.record(Event(self._clock(), kind, self.name, message_id, detail))


def public_sequence(message: Message) -> int:
    """The 20-digit number that FIFO producers and consumers see; later is larger."""
    return _FIRST_SEQUENCE + message.sequence


def _waits(entry: tuple[float, int, Message]) -> bool:
    due, _, message = entry
    return message.hidden_until == due and message.state in (State.IN_FLIGHT, State.DELAYED)
