"""Random operations on the state machine against a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.brokers.service_bus.clock import Clock
from tests.brokers.service_bus.entities import MessageState, QueueOptions, Session, Settlement
from tests.brokers.service_bus.errors import BrokerError
from tests.brokers.service_bus.journal import Journal
from tests.brokers.service_bus.namespace import Namespace

from .test_queues import START, Holder, content, token_of

if TYPE_CHECKING:
    from uuid import UUID

    from tests.brokers.service_bus.entities import Stored

LOCK, LIMIT = 30, 3
SECONDS = st.integers(1, 50)
ENDINGS = st.sampled_from(list(Settlement))


@dataclass
class Expected:
    """One message as the model has it; `place` orders the queue."""

    text: str
    place: int
    where: str = "ready"  # ready, locked, deferred, scheduled
    deferred: bool = False
    count: int = 0
    until: float = 0.0
    due: float = 0.0
    ttl: int | None = None
    expires: float | None = None


@dataclass
class Model:
    """What a queue is supposed to do, in a list."""

    now: float = START
    places: int = 0
    live: list[Expected] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    def send(self, text: str, ttl: int | None, delay: int | None) -> Expected:
        self.places += 1
        message = Expected(text, self.places, ttl=ttl)
        self.live.append(message)
        if delay is None:
            message.expires = None if ttl is None else self.now + ttl
        else:
            message.where, message.due = "scheduled", self.now + delay
        return message

    def ready(self) -> list[Expected]:
        found = [m for m in self.live if m.where == "ready"]
        return sorted(found, key=lambda m: m.place)

    def advance(self, seconds: int) -> None:
        self.now += seconds
        for message in sorted(self.live, key=lambda m: (m.due, m.place)):
            if message.where == "scheduled" and message.due <= self.now:
                self.places += 1
                message.place, message.where = self.places, "ready"
                message.expires = None if message.ttl is None else self.now + message.ttl
        for message in list(self.live):
            if message.where == "locked" and message.until <= self.now:
                self.give_back(message, failed=True)
        for message in list(self.live):
            self.expire(message)

    def give_back(self, message: Expected, *, failed: bool, may_die: bool = True) -> None:
        message.where = "deferred" if message.deferred else "ready"
        message.count += failed
        if failed and may_die and message.count >= LIMIT:
            self.kill(message)
        else:
            self.expire(message)

    def expire(self, message: Expected) -> None:
        over = message.expires is not None and message.expires <= self.now
        if over and message.where in ("ready", "deferred"):
            self.kill(message)

    def kill(self, message: Expected) -> None:
        self.live.remove(message)
        self.dead.append(message.text)

    def settle(self, message: Expected, how: Settlement) -> None:
        if how is Settlement.COMPLETE:
            self.live.remove(message)
        elif how is Settlement.DEAD_LETTER:
            self.kill(message)
        else:
            message.deferred = message.deferred or how is Settlement.DEFER
            failed = how is not Settlement.RELEASE
            self.give_back(message, failed=failed, may_die=how is not Settlement.DEFER)


class QueueMachine(RuleBasedStateMachine):
    """A queue without sessions: every way in, every way out, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(lambda: START)
        self.namespace = Namespace(self.clock, Journal(self.clock.now).record)
        options = QueueOptions(LOCK, LIMIT, dead_letter_on_expiry=True)
        self.queue = self.namespace.create_queue("q", options)
        self.model = Model()
        self.names = 0
        self.held: dict[UUID, Expected] = {}

    @rule(ttl=st.none() | SECONDS, delay=st.none() | SECONDS)
    def send(self, ttl: int | None, delay: int | None) -> None:
        self.names += 1
        text = str(self.names)
        due = None if delay is None else self.clock.now() + delay
        assert self.queue.send(content(text, ttl=ttl, due=due)) == self.model.places + 1
        self.model.send(text, ttl, delay)

    @rule(lock=st.booleans())
    def receive(self, lock: bool) -> None:
        ready = self.model.ready()
        stored = self.queue.take(lock=lock)
        if not ready:
            assert stored is None
            return
        assert stored is not None
        self.check_taken(stored, ready[0], lock)

    @rule(data=st.data(), lock=st.booleans())
    def receive_deferred(self, data: st.DataObject, lock: bool) -> None:
        number = data.draw(st.integers(1, self.model.places + 1))
        wanted = [m for m in self.model.live if m.place == number and m.where == "deferred"]
        try:
            [stored] = self.queue.take_deferred([number], lock=lock)
        except BrokerError:
            assert not wanted
            return
        self.check_taken(stored, wanted[0], lock)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=ENDINGS)
    def settle(self, data: st.DataObject, how: Settlement) -> None:
        token = data.draw(st.sampled_from(list(self.held)))
        message = self.held.pop(token)
        if message.where != "locked":
            self.expect_lost(token)
            return
        self.queue.settle(token, how, reason="r")
        self.model.settle(message, how)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(list(self.held)))
        message = self.held[token]
        if message.where != "locked":
            self.expect_lost(token)
            return
        message.until = self.clock.now() + LOCK
        assert self.queue.renew(token) == message.until

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.model.places + 1))
        wanted = [m for m in self.model.live if m.place == number and m.where == "scheduled"]
        try:
            self.queue.cancel([number])
        except BrokerError:
            assert not wanted
            return
        self.model.live.remove(wanted[0])

    @rule(seconds=SECONDS)
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.namespace.run_due()
        self.model.advance(seconds)
        self.forget_lost()

    @rule()
    def lose_all_locks(self) -> None:
        locked = [message for message in self.model.live if message.where == "locked"]
        assert self.queue.expire_locks() == len(locked)
        for message in locked:
            self.model.give_back(message, failed=True)
        self.forget_lost()

    @invariant()
    def the_queue_holds_what_the_model_holds(self) -> None:
        seen = [
            (s.sequence_number, s.content.data.decode(), s.delivery_count, place_of(s))
            for s in self.queue.peek(0, 1000)
        ]
        live = sorted(self.model.live, key=lambda m: m.place)
        assert seen == [(m.place, m.text, m.count, m.where) for m in live]

    @invariant()
    def dead_letters_are_those_the_model_killed(self) -> None:
        assert self.queue.dead_letters is not None
        dead = [s.content.data.decode() for s in self.queue.dead_letters.peek(0, 1000)]
        assert sorted(dead) == sorted(self.model.dead)

    def check_taken(self, stored: Stored, wanted: Expected, lock: bool) -> None:
        assert stored.content.data.decode() == wanted.text
        assert stored.delivery_count == wanted.count
        if not lock:
            self.model.live.remove(wanted)
            return
        wanted.where, wanted.until = "locked", self.clock.now() + LOCK
        self.held[token_of(stored)] = wanted

    def forget_lost(self) -> None:
        """A message whose lock is lost may be locked again under a token of its own."""
        for token, message in list(self.held.items()):
            if message.where != "locked":
                self.expect_lost(token)
                del self.held[token]

    def expect_lost(self, token: UUID) -> None:
        try:
            self.queue.renew(token)
        except BrokerError:
            return
        raise AssertionError("a lost lock was renewed")


class SessionMachine(RuleBasedStateMachine):
    """Sessions: one holder each, oldest first, and all or nothing when a lock ends."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(lambda: START)
        self.namespace = Namespace(self.clock, Journal(self.clock.now).record)
        options = QueueOptions(LOCK, max_delivery_count=1000, requires_session=True)
        self.queue = self.namespace.create_queue("q", options)
        self.sent = 0
        self.waiting: dict[str, list[int]] = {name: [] for name in "abc"}
        self.taken: dict[str, dict[int, UUID]] = {name: {} for name in "abc"}
        self.held: dict[str, tuple[Session, Holder, float]] = {}

    @rule(name=st.sampled_from("abc"))
    def send(self, name: str) -> None:
        self.sent += 1
        self.queue.send(content(str(self.sent), session_id=name))
        self.waiting[name].append(self.sent)

    @rule(name=st.sampled_from("abc"))
    def accept(self, name: str) -> None:
        holder = Holder()
        try:
            session = self.queue.accept_session(name, holder)
        except BrokerError:
            assert name in self.held
            return
        assert session is not None
        assert name not in self.held
        self.held[name] = (session, holder, self.clock.now() + LOCK)

    @rule()
    def accept_any(self) -> None:
        free = {n: min(ids) for n, ids in self.waiting.items() if ids and n not in self.held}
        holder = Holder()
        session = self.queue.accept_session(None, holder)
        if not free:
            assert session is None
            return
        name = min(free, key=lambda one: free[one])
        assert session is not None
        assert session.id == name
        self.held[name] = (session, holder, self.clock.now() + LOCK)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        stored = self.queue.take(self.held[name][0])
        if not self.waiting[name]:
            assert stored is None
            return
        assert stored is not None
        first = min(self.waiting[name])
        assert stored.content.data.decode() == str(first)
        self.waiting[name].remove(first)
        self.taken[name][first] = token_of(stored)

    @precondition(lambda self: any(self.taken.values()))
    @rule(data=st.data(), complete=st.booleans())
    def settle(self, data: st.DataObject, complete: bool) -> None:
        name = data.draw(st.sampled_from([n for n, taken in self.taken.items() if taken]))
        number = data.draw(st.sampled_from(sorted(self.taken[name])))
        token = self.taken[name].pop(number)
        self.queue.settle(token, Settlement.COMPLETE if complete else Settlement.ABANDON)
        if not complete:
            self.waiting[name].append(number)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        session, holder, _ = self.held[name]
        self.held[name] = (session, holder, self.queue.renew_session(name))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        session, holder, _ = self.held.pop(name)
        self.queue.release_session(session, holder)
        self.give_back(name)
        assert holder.lost == 0

    @rule(seconds=SECONDS)
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.namespace.run_due()
        for name, (_, holder, until) in list(self.held.items()):
            assert holder.lost == (until <= self.clock.now())
            if holder.lost:
                del self.held[name]
                self.give_back(name)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        seen = [(s.content.data.decode(), s.lock is not None) for s in self.queue.peek(0, 1000)]
        waiting = [(str(n), False) for ids in self.waiting.values() for n in ids]
        taken = [(str(n), True) for ids in self.taken.values() for n in ids]
        assert sorted(seen) == sorted(waiting + taken)

    def give_back(self, name: str) -> None:
        self.waiting[name] += self.taken[name]
        self.taken[name] = {}


def place_of(stored: Stored) -> str:
    if stored.lock:
        return "locked"
    names = {MessageState.ACTIVE: "ready", MessageState.DEFERRED: "deferred"}
    return names.get(stored.state, "scheduled")


TestQueueMachine = QueueMachine.TestCase
TestSessionMachine = SessionMachine.TestCase
for machine in (TestQueueMachine, TestSessionMachine):
    machine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
