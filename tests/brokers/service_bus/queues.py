"""The state machine of one queue or subscription: no I/O, and time only from the given clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from .deadlines import Deadlines
from .duplicates import DuplicateWindow
from .entities import Lock, MessageState, QueueOptions, Session, Settlement, Stored
from .errors import BrokerError, Condition
from .journal import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .clock import Clock
    from .content import Content
    from .entities import Record, SessionHolder

_NO_LIMIT = 2**31


class Queue:
    """Holds messages until they are settled; refuses with BrokerError, never silently."""

    def __init__(
        self,
        name: str,
        options: QueueOptions,
        clock: Clock,
        record: Record,
        *,
        is_dead_letter: bool = False,
    ) -> None:
        self.name = name
        self.options = options
        self.changed: Callable[[], None] = lambda: None
        self.dead_letters: Queue | None = None
        self._clock = clock
        self._record = record
        self._numbers = itertools.count(1)
        self._messages: dict[int, Stored] = {}
        self._locked: dict[UUID, Stored] = {}
        self._sessions: dict[str | None, Session] = {}
        self._deadlines = Deadlines()
        window = options.duplicate_window
        self._duplicates = DuplicateWindow(window, clock, self._deadlines) if window else None
        if not is_dead_letter:
            beneath = QueueOptions(options.lock_duration, _NO_LIMIT)
            path = f"{name}/$DeadLetterQueue"
            self.dead_letters = Queue(path, beneath, clock, record, is_dead_letter=True)

    # --- arrival

    def send(self, content: Content, origin: int | None = None) -> int | None:
        """Takes a message in, or plans it; None where it is a duplicate and dropped."""
        self.check(content)
        if self._is_duplicate(content):
            return None
        due = content.scheduled_for
        if due is not None and due > self._clock.now():
            return self._plan(content, due)
        return self._enqueue(content, origin).sequence_number

    def cancel(self, sequence_numbers: Iterable[int]) -> None:
        """Takes scheduled messages back; all of them, or none and message-not-found."""
        found = [self._find(number, MessageState.SCHEDULED) for number in sequence_numbers]
        for stored in found:
            del self._messages[stored.sequence_number]
            self._record(Kind.SCHEDULE_CANCELLED, self.name, **stored.facts())

    def check(self, content: Content) -> None:
        """Refuses what `send` would refuse, so that a batch is stored whole or not at all."""
        if self.options.requires_session and content.session_id is None:
            raise BrokerError(Condition.NOT_ALLOWED, f"'{self.name}' takes only session messages.")

    def _is_duplicate(self, content: Content) -> bool:
        if self._duplicates is None or not self._duplicates.repeats(content.message_id):
            return False
        facts = {"message_id": content.message_id, "session_id": content.session_id}
        self._record(Kind.DUPLICATE, self.name, **facts)
        return True

    def _plan(self, content: Content, due: float) -> int:
        stored = Stored(content, next(self._numbers), self._clock.now(), MessageState.SCHEDULED)
        stored.enqueued_sequence_number = stored.sequence_number
        self._messages[stored.sequence_number] = stored
        self._deadlines.add(due, lambda: self._activate(stored))
        self._record(Kind.SCHEDULED, self.name, **stored.facts())
        return stored.sequence_number

    def _activate(self, stored: Stored) -> None:
        """A scheduled message is enqueued anew: it takes a new number, as the service does."""
        if self._messages.get(stored.sequence_number) is stored:
            del self._messages[stored.sequence_number]
            self._enqueue(stored.content, stored.sequence_number)

    def _enqueue(self, content: Content, origin: int | None) -> Stored:
        number, now = next(self._numbers), self._clock.now()
        stored = Stored(content, number, now, enqueued_sequence_number=origin or number)
        self._messages[number] = stored
        lives = [ttl for ttl in (content.ttl, self.options.default_ttl) if ttl is not None]
        if lives:
            stored.expires_at = now + min(lives)
            self._deadlines.add(stored.expires_at, lambda: self._expire(stored))
        self._record(Kind.ENQUEUED, self.name, **stored.facts())
        self._offer(stored)
        return stored

    def _offer(self, stored: Stored) -> None:
        self._session_of(stored).push(stored.sequence_number)
        self.changed()

    # --- delivery

    def take(self, session: Session | None = None, *, lock: bool = True) -> Stored | None:
        """The next message, locked or (receive-and-delete) gone from the queue."""
        source = session or self._sessions.get(None)
        while source and (number := source.pop()) is not None:
            stored = self._messages.get(number)
            if stored is not None:
                return self._claim(stored, lock)
        return None

    def has_message(self, session: Session | None = None) -> bool:
        """Whether `take` would find one."""
        source = session or self._sessions.get(None)
        return source is not None and self._head(source) is not None

    def take_deferred(self, numbers: Iterable[int], *, lock: bool = True) -> list[Stored]:
        """Deferred messages by number; one that is not deferred or is locked fails them all."""
        found = [self._find(number, MessageState.DEFERRED) for number in dict.fromkeys(numbers)]
        return [self._claim(stored, lock) for stored in found]

    def peek(self, start: int, count: int, session_id: str | None = None) -> list[Stored]:
        """Messages of any state by number, without locking them."""
        wanted = (
            stored
            for number, stored in sorted(self._messages.items())
            if number >= start and session_id in (None, stored.content.session_id)
        )
        return list(itertools.islice(wanted, count))

    def _find(self, number: int, state: MessageState) -> Stored:
        stored = self._messages.get(number)
        if stored is None or stored.state is not state or stored.lock:
            raise BrokerError(
                Condition.MESSAGE_NOT_FOUND,
                f"no {state.name.lower()} message {number} in '{self.name}'.",
            )
        return stored

    def _claim(self, stored: Stored, lock: bool) -> Stored:
        if lock:
            self._lock(stored)
        else:
            del self._messages[stored.sequence_number]
        self._record(Kind.DELIVERED, self.name, **stored.facts())
        if not lock:
            self._record(Kind.COMPLETED, self.name, **stored.facts())
        return stored

    def _lock(self, stored: Stored) -> None:
        session = self._session_of(stored)
        until = self._clock.now() + self.options.lock_duration
        stored.lock = lock = Lock(uuid4(), session.locked_until if session.holder else until)
        self._locked[lock.token] = stored
        if not session.holder:
            self._deadlines.add(lock.until, lambda: self._check_lock(lock))

    # --- settlement

    def settle(
        self, token: UUID, how: Settlement, *, reason: str | None = None, detail: str | None = None
    ) -> Stored:
        """Ends a lock the receiver's way; message-lock-lost where there is no such lock."""
        stored = self._held(token)
        if how is Settlement.COMPLETE:
            self._discard(stored, Kind.COMPLETED)
        elif how is Settlement.DEAD_LETTER:
            self._dead_letter(stored, reason, detail)
        elif how is Settlement.RELEASE:
            self._return(stored, Kind.RELEASED, failed=False)
        elif how is Settlement.ABANDON:
            self._return(stored, Kind.ABANDONED, failed=True)
        else:
            stored.state = MessageState.DEFERRED
            self._return(stored, Kind.DEFERRED, failed=True)
        return stored

    def renew(self, token: UUID) -> float:
        """Locks for another full duration from now, and says until when."""
        stored = self._held(token)
        assert stored.lock is not None
        lock = stored.lock
        lock.until = self._clock.now() + self.options.lock_duration
        self._deadlines.add(lock.until, lambda: self._check_lock(lock))
        self._record(Kind.LOCK_RENEWED, self.name, **stored.facts())
        return lock.until

    def expire_locks(self) -> int:
        """Takes every message lock away now, as a failing server does; says how many."""
        held = list(self._locked.values())
        for stored in held:
            self._return(stored, Kind.LOCK_EXPIRED, failed=True)
        return len(held)

    def _held(self, token: UUID) -> Stored:
        stored = self._locked.get(token)
        if stored is None:
            raise BrokerError(
                Condition.MESSAGE_LOCK_LOST,
                f"The lock supplied is invalid: it expired, or the message is gone"
                f" from '{self.name}'.",
            )
        return stored

    def _unlock(self, stored: Stored) -> None:
        if stored.lock:
            del self._locked[stored.lock.token]
            stored.lock = None

    def _discard(self, stored: Stored, kind: Kind) -> None:
        self._unlock(stored)
        del self._messages[stored.sequence_number]
        self._record(kind, self.name, **stored.facts())

    def _return(self, stored: Stored, kind: Kind, *, failed: bool) -> None:
        self._unlock(stored)
        stored.delivery_count += failed
        self._record(kind, self.name, **stored.facts())
        limit = self.options.max_delivery_count
        if failed and kind is not Kind.DEFERRED and stored.delivery_count >= limit:
            text = f"Message could not be consumed after {limit} delivery attempts."
            self._dead_letter(stored, "MaxDeliveryCountExceeded", text)
        elif stored.expired(self._clock.now()):
            self._expire(stored)
        elif stored.state is MessageState.ACTIVE:
            self._offer(stored)

    def _dead_letter(self, stored: Stored, reason: str | None, detail: str | None) -> None:
        if self.dead_letters is None:
            raise BrokerError(Condition.NOT_ALLOWED, f"'{self.name}' is a dead-letter queue.")
        self._unlock(stored)
        del self._messages[stored.sequence_number]
        self._record(Kind.DEAD_LETTERED, self.name, detail=reason or "", **stored.facts())
        texts = {"DeadLetterReason": reason, "DeadLetterErrorDescription": detail}
        given = {key: text for key, text in texts.items() if text is not None}
        self.dead_letters.adopt(stored, stored.content.with_application_properties(given))

    def adopt(self, original: Stored, content: Content) -> None:
        """Takes a dead letter over with its number and count; it never expires here."""
        copy = Stored(content, original.sequence_number, original.enqueued_at)
        copy.delivery_count = original.delivery_count
        copy.enqueued_sequence_number = original.enqueued_sequence_number
        self._messages[copy.sequence_number] = copy
        self._offer(copy)

    # --- sessions

    def accept_session(self, session_id: str | None, holder: SessionHolder) -> Session | None:
        """Locks a session; with no id the one with the oldest message, None where none is free."""
        if session_id is None:
            session = self._next_session()
        else:
            session = self._sessions.setdefault(session_id, Session(session_id))
            if session.holder:
                raise BrokerError(
                    Condition.SESSION_CANNOT_BE_LOCKED,
                    f"The requested session '{session_id}' cannot be accepted:"
                    " it is locked by another receiver.",
                )
        if session:
            session.holder = holder
            self._extend(session)
            self._record(Kind.SESSION_ACCEPTED, self.name, session_id=session.id)
        return session

    def renew_session(self, session_id: str) -> float:
        """Locks a held session for another full duration."""
        session = self.held_session(session_id)
        self._extend(session)
        self._record(Kind.SESSION_RENEWED, self.name, session_id=session_id)
        return session.locked_until

    def release_session(self, session: Session, holder: SessionHolder) -> None:
        """Gives a session back; its messages return uncounted. Nothing if `holder` lost it."""
        if session.holder is holder:
            session.holder = None
            self._unlock_session(session, Kind.RELEASED, failed=False)
            self._record(Kind.SESSION_RELEASED, self.name, session_id=session.id)
            self.changed()

    def lose_session(self, session_id: str) -> None:
        """Takes a session's lock away now, as a failing server does."""
        self._lose(self.held_session(session_id))

    def session_state(self, session_id: str) -> bytes | None:
        """What was last set for the held session."""
        return self.held_session(session_id).state

    def set_session_state(self, session_id: str, state: bytes | None) -> None:
        """Keeps `state` with the held session, beyond its lock; None clears it."""
        session = self.held_session(session_id)
        session.state, session.state_changed_at = state, self._clock.now()

    def session_ids(self, changed_after: float | None = None) -> list[str]:
        """Sessions with messages or state; given a time, those whose state was set later."""
        if changed_after is not None:
            return [
                name
                for name, session in self._sessions.items()
                if name is not None and (session.state_changed_at or 0.0) > changed_after
            ]
        with_messages = {stored.content.session_id for stored in self._messages.values()}
        with_state = {name for name, session in self._sessions.items() if session.state is not None}
        return sorted(name for name in with_messages | with_state if name is not None)

    def _session_of(self, stored: Stored) -> Session:
        key = stored.content.session_id if self.options.requires_session else None
        if key not in self._sessions:
            self._sessions[key] = Session(key)
        return self._sessions[key]

    def _next_session(self) -> Session | None:
        heads = (
            (number, session)
            for session in self._sessions.values()
            if not session.holder and (number := self._head(session)) is not None
        )
        return min(heads, key=lambda pair: pair[0], default=(0, None))[1]

    def _head(self, session: Session) -> int | None:
        while session.available and session.available[0] not in self._messages:
            session.pop()
        return session.available[0] if session.available else None

    def held_session(self, session_id: str) -> Session:
        """The session if somebody has it locked; session-lock-lost if not."""
        session = self._sessions.get(session_id)
        if session is None or session.holder is None:
            raise BrokerError(
                Condition.SESSION_LOCK_LOST,
                f"The session lock for '{session_id}' on '{self.name}' has expired."
                " Accept the session again.",
            )
        return session

    def _extend(self, session: Session) -> None:
        session.locked_until = self._clock.now() + self.options.lock_duration
        for stored in self._locked_in(session):
            assert stored.lock is not None
            stored.lock.until = session.locked_until
        self._deadlines.add(session.locked_until, lambda: self._check_session(session))

    def _locked_in(self, session: Session) -> list[Stored]:
        return [s for s in self._locked.values() if s.content.session_id == session.id]

    def _lose(self, session: Session) -> None:
        holder, session.holder = session.holder, None
        self._record(Kind.SESSION_LOST, self.name, session_id=session.id)
        self._unlock_session(session, Kind.LOCK_EXPIRED, failed=True)
        if holder:
            holder.session_lost()
        self.changed()

    def _unlock_session(self, session: Session, kind: Kind, *, failed: bool) -> None:
        for stored in self._locked_in(session):
            self._return(stored, kind, failed=failed)

    # --- time

    def run_due(self) -> int:
        """Expires locks and messages and enqueues what was scheduled; says how much it did."""
        beneath = self.dead_letters.run_due() if self.dead_letters else 0
        return self._deadlines.run(self._clock.now()) + beneath

    @property
    def next_due(self) -> float | None:
        """When `run_due` has something to do next."""
        beneath = self.dead_letters.next_due if self.dead_letters else None
        times = [time for time in (self._deadlines.earliest, beneath) if time is not None]
        return min(times, default=None)

    def _check_lock(self, lock: Lock) -> None:
        stored = self._locked.get(lock.token)
        if stored and lock.until <= self._clock.now():
            self._return(stored, Kind.LOCK_EXPIRED, failed=True)

    def _check_session(self, session: Session) -> None:
        if session.holder and session.locked_until <= self._clock.now():
            self._lose(session)

    def _expire(self, stored: Stored) -> None:
        if stored.lock or self._messages.get(stored.sequence_number) is not stored:
            return
        self._record(Kind.EXPIRED, self.name, **stored.facts())
        if self.options.dead_letter_on_expiry:
            text = "The message expired and was dead lettered."
            self._dead_letter(stored, "TTLExpiredException", text)
        else:
            del self._messages[stored.sequence_number]
