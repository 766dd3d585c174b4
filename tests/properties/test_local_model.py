"""The local queue against a model of it: random calls, clock jumps, and transports that crash."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from queue_runtime.errors import LockLostError
from queue_runtime.outcome import ACK, Outcome
from queue_runtime.testing.conformance.rig import acknowledged, dead_letter, retry, steps
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport
from tests.movable_clock import MovableClock

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from queue_runtime.message import Message

LOCK = 30.0
DEDUPLICATION = 300.0


@dataclass
class Entry:
    """What the model knows of a message that has not ended."""

    number: int
    group: str | None
    due: float
    receives: int = 0
    locked: bool = False

    def is_locked(self, now: float) -> bool:
        return self.locked and self.due > now


@dataclass
class Model:
    """One shelf; `waiting` is in the order of the sends."""

    ordered: bool
    waiting: dict[int, Entry] = field(default_factory=dict)

    def groups(self) -> dict[str | None, list[Entry]]:
        found: dict[str | None, list[Entry]] = {}
        for entry in sorted(self.waiting.values(), key=lambda each: each.number):
            found.setdefault(entry.group, []).append(entry)
        return found

    def receivable(self, now: float) -> list[list[Entry]]:
        """Give lists of which any prefix may be received."""
        if not self.ordered:
            return [[entry] for entry in self.waiting.values() if entry.due <= now]
        found = []
        for group in self.groups().values():
            if not any(entry.is_locked(now) for entry in group):
                due = [at for at, entry in enumerate(group) if entry.due > now]
                found.append(group[: due[0]] if due else group)
        return [each for each in found if each]


class LocalQueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory()
        self.clock = MovableClock()
        self.transports: list[LocalTransport] = []
        self.sent = 0
        self.recent: dict[str, float] = {}
        # Every delivery that was ever made, with the number of its lock: the last one may be valid.
        self.deliveries: list[tuple[Message[Any], Entry, int]] = []
        self.ended: set[int] = set()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def open(self, name: str) -> LocalTransport:
        address = read_address(f"local://{name}{self.options}", self.folder.name)
        return self.run(_opened(address, self.clock))  # type: ignore[no-any-return]

    @initialize(ordered=st.booleans())
    def start(self, ordered: bool) -> None:
        self.options = f"?ordered={str(ordered).lower()}"
        self.queue, self.aside = Model(ordered), Model(ordered)
        self.transports = [self.open("q"), self.open("q")]

    @rule(
        lot=st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from([0, 0, 0, 20, 90]),
                st.sampled_from([None, None, "d1", "d2"]),
            ),
            min_size=1,
            max_size=6,
        ),
        by=st.integers(0, 1),
    )
    def send(self, lot: list[tuple[str, float, str | None]], by: int) -> None:
        messages = []
        now = self.clock.wall
        for group, delay, deduplication in lot:
            self.sent += 1
            messages.append(
                OutgoingMessage(
                    body=str(self.sent), group_id=group, deduplication_id=deduplication, delay=delay
                )
            )
            if deduplication is not None:
                if self.recent.get(deduplication, 0) > now:
                    continue
                self.recent[deduplication] = now + DEDUPLICATION
            self.queue.waiting[self.sent] = Entry(self.sent, group, now + delay)
        assert not refused(self.run(self.transports[by].send(messages)))

    @rule(limit=st.integers(1, 8), by=st.integers(0, 1))
    def receive(self, limit: int, by: int) -> None:
        self.check_received(self.queue, self.run(self.transports[by].receive(limit, 0)), limit)

    @rule(data=st.data(), by=st.integers(0, 1))
    def settle(self, data: st.DataObject, by: int) -> None:
        chosen = self.choose(data)
        outcomes = [
            data.draw(st.sampled_from([ACK, retry(None), retry(0), retry(45), dead_letter("bad")]))
            for _ in chosen
        ]
        valid = [self.is_valid(entry, lock) for _, entry, lock in chosen]
        settlements = [
            (message, outcome) for (message, _, _), outcome in zip(chosen, outcomes, strict=True)
        ]
        failures = self.run(self.transports[by].settle(steps(self.transports[by], settlements)))
        self.check_failures(failures, chosen, valid)
        for (_, entry, _), outcome, ours in zip(chosen, outcomes, valid, strict=True):
            if ours:
                self.carry_out(entry, outcome)

    @rule(data=st.data(), by=st.integers(0, 1))
    def renew(self, data: st.DataObject, by: int) -> None:
        chosen = self.choose(data)
        valid = [self.is_valid(entry, lock) for _, entry, lock in chosen]
        failures = self.run(self.transports[by].renew([message for message, _, _ in chosen]))
        self.check_failures(failures, chosen, valid)
        for (message, entry, _), ours in zip(chosen, valid, strict=True):
            if ours:
                entry.due = self.clock.wall + LOCK
                assert message.locked_until == self.clock.since_start + LOCK

    @rule(seconds=st.sampled_from([0.5, 10.0, 29.0, 31.0, 100.0, 301.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.move(seconds)

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        self.run(self.transports[which].aclose())
        self.transports[which] = self.open("q")

    @rule(limit=st.integers(1, 8))
    def look_at_dead_letters(self, limit: int) -> None:
        transport = self.open("q/dead-letter")
        messages = self.run(transport.receive(limit, 0))
        before = len(self.deliveries)
        self.check_received(self.aside, messages, limit)
        taken = self.deliveries[before:]
        assert (
            self.run(transport.settle(acknowledged(transport, [each[0] for each in taken]))) == []
        )
        del self.deliveries[before:]
        for _, entry, _ in taken:
            del self.aside.waiting[entry.number]
            self.ended.add(entry.number)
        self.run(transport.aclose())

    @invariant()
    def depth_is_as_modelled(self) -> None:
        if not self.transports:
            return
        now = self.clock.wall
        entries = self.queue.waiting.values()
        depth = self.run(self.transports[0].depth())
        assert depth[:4] == (
            sum(entry.due <= now for entry in entries),
            sum(entry.is_locked(now) for entry in entries),
            sum(entry.due > now and not entry.locked for entry in entries),
            len(self.aside.waiting),
        )

    def teardown(self) -> None:
        if self.transports:
            self.drain()
            for transport in self.transports:
                self.run(transport.aclose())
        self.runner.close()
        self.folder.cleanup()

    def drain(self) -> None:
        """Nothing is lost: what has not ended comes, in its order, once its locks have ended."""
        self.clock.move(1_000)
        expected = {key: [e.number for e in group] for key, group in self.queue.groups().items()}
        found: dict[str | None, list[int]] = {}
        while messages := self.run(self.transports[0].receive(100, 0)):
            for message in messages:
                found.setdefault(message.group_id, []).append(int(message.body))
            done = acknowledged(self.transports[0], messages)
            assert self.run(self.transports[0].settle(done)) == []
        if not self.queue.ordered:
            found = {key: sorted(numbers) for key, numbers in found.items()}
        assert found == expected

    def choose(self, data: st.DataObject) -> list[tuple[Message[Any], Entry, int]]:
        """Choose among the latest deliveries, stale ones too; never two of one message."""
        latest = self.deliveries[-12:]
        chosen = [each for each in latest if data.draw(st.booleans())]
        return list({entry.number: (m, entry, lock) for m, entry, lock in chosen}.values())

    def is_valid(self, entry: Entry, lock: int) -> bool:
        return (
            self.queue.waiting.get(entry.number) is entry
            and entry.receives == lock
            and entry.is_locked(self.clock.wall)
        )

    def check_received(self, model: Model, messages: Sequence[Message[Any]], limit: int) -> None:
        now = self.clock.wall
        lists = model.receivable(now)
        numbers = [int(message.body) for message in messages]
        assert len(set(numbers)) == len(numbers) <= limit
        assert bool(numbers) == bool(lists)
        for entries in lists:
            allowed = [entry.number for entry in entries]
            got = [number for number in numbers if number in allowed]
            assert got == allowed[: len(got)]
            assert got or limit < len(lists)
        assert set(numbers) <= {entry.number for entries in lists for entry in entries}
        if not model.ordered:
            assert len(numbers) == min(limit, len(lists))
        for message in messages:
            entry = model.waiting[int(message.body)]
            entry.receives += 1
            entry.locked, entry.due = True, now + LOCK
            assert message.delivery_count == entry.receives
            self.deliveries.append((message, entry, entry.receives))

    def check_failures(
        self,
        failures: Sequence[Any],
        chosen: list[tuple[Message[Any], Entry, int]],
        valid: list[bool],
    ) -> None:
        lost = [message for (message, _, _), ours in zip(chosen, valid, strict=True) if not ours]
        assert [failure.message for failure in failures] == lost
        assert all(isinstance(failure.error, LockLostError) for failure in failures)

    def carry_out(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.disposition == "retry":
            if outcome.delay is not None:
                entry.locked, entry.due = False, self.clock.wall + outcome.delay
            return
        del self.queue.waiting[entry.number]
        if outcome.disposition == "ack":
            self.ended.add(entry.number)
        else:
            self.aside.waiting[entry.number] = Entry(entry.number, entry.group, self.clock.wall)


async def _opened(address: Any, clock: MovableClock) -> LocalTransport:
    return LocalTransport(address, lock_seconds=LOCK, clock=clock)


TestLocalQueue = LocalQueueMachine.TestCase
TestLocalQueue.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
