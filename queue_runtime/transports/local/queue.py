"""Works on a local queue, blocking: each call one transaction, on the transport's own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.errors import LockLostError, TransportError
from queue_runtime.message import Message
from queue_runtime.outcome import Disposition, Outcome
from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.settlement.lineage import DeadLetterFacts
from queue_runtime.settlement.plan import Action
from queue_runtime.transports.base import SendResult
from queue_runtime.transports.local.database import open_store
from queue_runtime.transports.local.rows import Rows
from queue_runtime.transports.local.schema import DEAD_LETTERS, QUEUE
from queue_runtime.transports.local.wire import GROUP, RECEIVES, ROW, SEQ, TOKEN, entry_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import Depth, OutgoingMessage
    from queue_runtime.transports.local.address import LocalAddress
    from queue_runtime.transports.local.rows import Row
    from queue_runtime.transports.local.wire import Entry

MOST_AT_ONCE: Final = 100


class Clock(Protocol):
    """Both clocks of a queue; the module `time` is one."""

    def time(self) -> float:
        """Give the wall clock's time, which all processes of a queue share and its file holds."""

    def monotonic(self) -> float:
        """Give the time that `Message.locked_until` is in."""


class LocalQueue:
    """One queue, or its dead-letters, for one transport.

    Raises:
        TransportError: from every method; the file cannot be used, and nothing was changed.
    """

    def __init__(
        self,
        address: LocalAddress,
        *,
        lock_seconds: float,
        handler: str,
        error_text: bool,
        clock: Clock,
    ) -> None:
        self.name = address.queue
        self.lock_seconds = lock_seconds
        self._address = address
        self._handler, self._error_text = handler, error_text
        self._clock = clock
        self._store = open_store(address.name, address.path, ordered=address.ordered)
        self.ordered = self._store.ordered
        self.arrivals = self._store.arrivals
        self._rows = Rows(DEAD_LETTERS if address.dead_letters else QUEUE, ordered=self.ordered)

    def close(self) -> None:
        """Close the file; what is locked stays locked."""
        self._store.close()

    def take(self, limit: int) -> list[Message[Any]]:
        """Lock and give at most `limit` messages that are due, and at most 100."""
        if limit < 1:
            return []
        if self._address.retention is not None:
            self._dead_letter_expired(self._address.retention)
        if not self._has_due():
            return []
        while True:
            rows, spent, locked_until = self._lock(min(limit, MOST_AT_ONCE))
            if rows or not spent:
                return [self._message(row, locked_until) for row in rows]

    def give_back(self, messages: Sequence[Message[Any]]) -> None:
        """Unlock messages whose caller has gone, as if they had not been received."""
        with self._store.transaction() as db:
            held = self._rows.held(db, [each.receipt for each in messages], self._clock.time())
            self._rows.give_back(db, [seq for seq, _ in held], self._clock.time())
            self._refresh(db, messages)
        self.arrivals.announce()

    def settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        """Carry steps out where the lock still lives, and tell the others."""
        facts = {id(step.message): _fullest(step.facts) for step in steps if step.facts is not None}
        with self._store.transaction() as db:
            now = self._clock.time()
            held = self._rows.held(db, [step.message.receipt for step in steps], now)
            ours = [step for step in steps if step.message.receipt in held]
            self._acknowledge(db, ours)
            self._give_back_later(db, ours, now)
            dead = [step.message for step in ours if step.facts is not None]
            if dead:
                self._dead_letter(db, [(facts[id(each)], each.native) for each in dead])
            self._refresh(db, [step.message for step in ours])
        if self.ordered or any(step.action is not Action.ACKNOWLEDGE for step in ours):
            self.arrivals.announce()
        return [self._lost(step.message) for step in steps if step.message.receipt not in held]

    def renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        """Lock messages anew where their lock still lives, and tell the others."""
        with self._store.transaction() as db:
            # In this order, so that nobody believes in a lock after its end.
            locked_until = self._clock.monotonic() + self.lock_seconds
            now = self._clock.time()
            held = self._rows.held(db, [each.receipt for each in messages], now)
            self._rows.extend(db, [seq for seq, _ in held], now + self.lock_seconds)
            self._refresh(db, messages)
        for message in messages:
            if message.receipt in held:
                message.locked_until = locked_until
        return [self._lost(message) for message in messages if message.receipt not in held]

    def send(self, messages: Sequence[OutgoingMessage]) -> list[SendResult]:
        """Add what can be sent, and tell what cannot."""
        entries: dict[int, Entry] = {}
        results = [SendResult()] * len(messages)
        for position, message in enumerate(messages):
            try:
                entries[position] = entry_of(message, ordered=self.ordered)
            except TransportError as error:
                sentence = f"entry {position} was not sent to local queue {self.name}: {error}"
                results[position] = SendResult(error=TransportError(sentence))
        if entries:
            with self._store.transaction() as db:
                added = self._rows.insert(db, entries.values(), self._clock.time())
            self.arrivals.announce()
            for position, entry in entries.items():
                results[position] = SendResult(entry.id if entry.id in added else None)
        return results

    def depth(self) -> Depth:
        """Count what is in the queue now."""
        with self._store.reading() as db:
            return self._rows.depth(db, self._clock.time())

    def purge(self) -> int:
        """Remove everything, locked or not, and tell how much it was."""
        with self._store.transaction() as db:
            return self._rows.purge(db)

    def _has_due(self) -> bool:
        with self._store.reading() as db:
            return self._rows.has_due(db, self._clock.time())

    def _lock(self, limit: int) -> tuple[list[Row], list[Row], float]:
        with self._store.transaction() as db:
            locked_until = self._clock.monotonic() + self.lock_seconds
            now = self._clock.time()
            rows, spent = self._rows.take(
                db, limit, now, now + self.lock_seconds, self._address.max_deliveries
            )
            if spent:
                reason = (
                    f"received {self._address.max_deliveries} times and never settled: it may end "
                    "the process that runs it"
                )
                self._dispose(db, spent, reason)
        return rows, spent, locked_until

    def _dead_letter_expired(self, retention: float) -> None:
        reason = f"expired: it was not settled within {retention:g} s of its send"
        while self._expired(retention, limit=1):
            with self._store.transaction() as db:
                self._dispose(db, self._expired(retention, limit=MOST_AT_ONCE), reason)

    def _expired(self, retention: float, *, limit: int) -> list[Row]:
        now = self._clock.time()
        with self._store.reading() as db:
            return self._rows.expired(db, now - retention, now, limit)

    def _dispose(self, db: sqlite3.Connection, rows: Sequence[Row], reason: str) -> None:
        """Dead-letter messages that nobody may receive any more; remove dead letters."""
        if self._address.dead_letters:
            self._rows.delete(db, [row[SEQ] for row in rows])
        else:
            outcome = Outcome(Disposition.DEAD_LETTER, reason=reason)
            self._dead_letter(
                db, [(self._facts(self._unreceived(row), outcome), row) for row in rows]
            )
        if self.ordered:
            self._rows.refresh(db, {row[GROUP] for row in rows})

    def _refresh(self, db: sqlite3.Connection, messages: Sequence[Message[Any]]) -> None:
        if self.ordered:
            self._rows.refresh(db, {message.group_id for message in messages})

    def _acknowledge(self, db: sqlite3.Connection, ours: Sequence[Step]) -> None:
        done = [step.message.receipt[0] for step in ours if step.action is Action.ACKNOWLEDGE]
        self._rows.delete(db, done)

    def _give_back_later(self, db: sqlite3.Connection, ours: Sequence[Step], now: float) -> None:
        # One without a delay is left to the end of its lock.
        due = [
            (now + step.delay, step.message.receipt[0])
            for step in ours
            if step.action is Action.GIVE_BACK and step.delay is not None
        ]
        self._rows.retry(db, due)

    def _dead_letter(self, db: sqlite3.Connection, facts: Sequence[tuple[str, Row]]) -> None:
        self._rows.dead_letter(db, facts, self._clock.time())

    def _facts(self, message: Message[Any], outcome: Outcome) -> str:
        return _fullest(
            DeadLetterFacts(message, outcome, handler=self._handler, error_text=self._error_text)
        )

    def _message(self, row: Row, locked_until: float) -> Message[Any]:
        message: Message[Any] = Message(row, ROW, self.name)
        message.locked_until = locked_until
        message.receipt = row[SEQ], row[TOKEN]  # every message's is needed, so not lazily
        return message

    def _unreceived(self, row: Row) -> Message[Any]:
        before = (*row[:RECEIVES], row[RECEIVES] - 1, *row[RECEIVES + 1 :])
        return Message(before, ROW, self.name)

    def _lost(self, message: Message[Any]) -> SettleFailure:
        sentence = (
            f"the lock of message {message.id} of local queue {self.name} has ended: it was or "
            "will be delivered again; have longer locks (lock=) if this happens often"
        )
        return SettleFailure(message, LockLostError(sentence))


def _fullest(facts: DeadLetterFacts) -> str:
    """Give all that there is to say: here is always room for it."""
    return next(iter(facts))
