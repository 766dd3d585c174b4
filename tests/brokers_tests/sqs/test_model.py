"""Random operations and clock jumps: the queues must do what a brute-force model does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.brokers.sqs.account import Account, arn
from tests.brokers.sqs.clock import stopped_clock
from tests.brokers.sqs.errors import SqsError
from tests.brokers.sqs.journal import Journal
from tests.brokers.sqs.messages import Draft

MAX_RECEIVES = 3
RETENTION = 1000
LIMIT = 43200
jumps = st.sampled_from([0, 1, 5, 29, 30, 31, 60, 299, 300, 301, 1000])
visibilities = st.sampled_from([0, 1, 30, 60, 299])


@dataclass(eq=False)
class Thing:
    """A message in the model; it is hidden while `hidden_until` lies ahead."""

    id: str
    group: str
    sent_at: float
    hidden_until: float
    was_received: bool = False
    receives: int = 0
    received_at: float = 0.0

    def flies(self, now: float) -> bool:
        return self.was_received and self.hidden_until > now


@dataclass
class Model:
    """Everything in plain lists, looked through from the start each time."""

    fifo: bool
    things: list[Thing] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    sends: dict[str, tuple[float, str]] = field(default_factory=dict)

    def expire(self, now: float) -> None:
        self.things = [thing for thing in self.things if now - thing.sent_at < RETENTION]

    def receive(self, count: int, visibility: float, now: float) -> list[Thing]:
        taken: list[Thing] = []
        for thing in self._candidates(now):
            if len(taken) == count:
                break
            if thing.receives >= MAX_RECEIVES:
                self.things.remove(thing)
                self.dead.append(thing.id)
                continue
            thing.receives += 1
            thing.was_received = True
            thing.received_at = now
            thing.hidden_until = now + visibility
            taken.append(thing)
        return taken

    def _candidates(self, now: float) -> list[Thing]:
        visible = [thing for thing in self.things if thing.hidden_until <= now]
        if not self.fifo:
            return visible
        locked = {thing.group for thing in self.things if thing.flies(now)}
        groups = list(dict.fromkeys(thing.group for thing in visible))
        return [
            thing
            for group in groups
            if group not in locked
            for thing in visible
            if thing.group == group
        ]


class QueueMachine(RuleBasedStateMachine):
    """Runs queue and model side by side."""

    fifo = False

    @initialize(delay=st.sampled_from([0, 0, 10]))
    def start(self, delay: int) -> None:
        self.clock = stopped_clock()
        account = Account(self.clock, Journal())
        suffix, kind = (".fifo", {"FifoQueue": "true"}) if self.fifo else ("", {})
        self.letters = account.create(f"letters{suffix}", kind)
        policy = {"deadLetterTargetArn": arn(f"letters{suffix}"), "maxReceiveCount": MAX_RECEIVES}
        self.queue = account.create(
            f"orders{suffix}",
            kind
            | {
                "DelaySeconds": str(delay),
                "MessageRetentionPeriod": str(RETENTION),
                "RedrivePolicy": json.dumps(policy),
            },
        )
        self.delay = delay
        self.model = Model(self.fifo)
        self.handles: list[tuple[str, Thing, int]] = []
        self.purged_at = float("-inf")

    @rule(
        group=st.sampled_from("abc"), token=st.integers(0, 30), delay=st.sampled_from([None, 0, 5])
    )
    def send(self, group: str, token: int, delay: int | None) -> None:
        now = self.clock()
        if not self.fifo:
            sent = self.queue.send(Draft("x", delay=delay))
            hidden = self.delay if delay is None else delay
            self.model.things.append(Thing(sent.message_id, "", now, now + hidden))
            return
        sent = self.queue.send(Draft("x", group=group, deduplication_id=str(token)))
        at, earlier = self.model.sends.get(str(token), (float("-inf"), ""))
        if now - at < 300:
            assert sent.message_id == earlier
            return
        self.model.sends[str(token)] = (now, sent.message_id)
        self.model.things.append(Thing(sent.message_id, group, now, now + self.delay))

    @rule(count=st.integers(1, 10), visibility=visibilities)
    def receive(self, count: int, visibility: int) -> None:
        now = self.clock()
        expected = self.model.receive(count, visibility, now)
        received = self.queue.receive(count, visibility)
        assert [message.id for message in received] == [thing.id for thing in expected]
        for message, thing in zip(received, expected, strict=True):
            assert message.receives == thing.receives
            self.handles.append((self.queue.receipt(message), thing, thing.receives))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if not self.handles:
            return
        handle, thing, receive = data.draw(st.sampled_from(self.handles))
        kept = thing in self.model.things
        current = kept and thing.receives == receive
        if self.fifo and kept and not (current and thing.flies(self.clock())):
            with pytest.raises(SqsError, match="expired"):
                self.queue.delete(handle)
            return
        self.queue.delete(handle)
        if current:
            self.model.things.remove(thing)

    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 60, LIMIT]))
    def change_visibility(self, data: st.DataObject, seconds: int) -> None:
        if not self.handles:
            return
        handle, thing, receive = data.draw(st.sampled_from(self.handles))
        now = self.clock()
        allowed = thing in self.model.things and thing.receives == receive
        if self.fifo:
            allowed = allowed and thing.flies(now)
        if not allowed or now - thing.received_at + seconds > LIMIT:
            with pytest.raises(SqsError, match=r"VisibilityTimeout|visibility timeout"):
                self.queue.change_visibility(handle, seconds)
            return
        self.queue.change_visibility(handle, seconds)
        thing.hidden_until = now + seconds

    @rule(seconds=jumps)
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.model.expire(self.clock())

    @rule()
    def purge(self) -> None:
        now = self.clock()
        if now - self.purged_at < 60:
            with pytest.raises(SqsError, match="Only one PurgeQueue"):
                self.queue.purge()
            return
        self.queue.purge()
        self.purged_at = now
        self.model.things.clear()

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        now = self.clock()
        hidden = [thing for thing in self.model.things if thing.hidden_until > now]
        flying = sum(thing.was_received for thing in hidden)
        visible = len(self.model.things) - len(hidden)
        assert self.queue.counts() == (visible, flying, len(hidden) - flying)

    @invariant()
    def the_next_change_is_known(self) -> None:
        if not hasattr(self, "queue"):
            return
        now = self.clock()
        due = [thing.hidden_until for thing in self.model.things if thing.hidden_until > now]
        assert self.queue.next_due() == min(due, default=float("inf"))

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        letters: list[str] = []
        while batch := self.letters.receive(10):
            letters += [letter.id for letter in batch]
            for letter in batch:
                self.letters.delete(self.letters.receipt(letter))
        assert sorted(letters) == sorted(self.model.dead)


class FifoMachine(QueueMachine):
    """The same with groups, deduplication and refused late settlements."""

    fifo = True


_settings = settings(
    max_examples=250,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # two cores are shared with other suites
)
TestStandardQueue = QueueMachine.TestCase
TestStandardQueue.settings = _settings
TestFifoQueue = FifoMachine.TestCase
TestFifoQueue.settings = _settings
