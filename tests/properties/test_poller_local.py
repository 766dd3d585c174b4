"""The poller on a real queue that redelivers: faults lose nothing and repeat little."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queue_runtime import DeadLetter, Message, Retry, TransportError, queue_handler
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.outcome import Disposition, Outcome
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport
from tests.hosts.poller.rig import settings_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.transports.base import SettleFailure, Step

LOCK = 60.0
# What a message's first deliveries come to; after that it is good.
PLANS = st.lists(st.sampled_from(["retry", "raise", "cancelled", "slow"]), max_size=2)
MESSAGES = st.lists(
    st.tuples(st.sampled_from("abc"), PLANS, st.booleans()), min_size=1, max_size=25
)
# Before its n-th settle request: cut off before the queue has it, or after, or all locks end.
FAULTS = st.dictionaries(st.integers(1, 8), st.sampled_from(["before", "after", "jump"]))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.base", 0.001)
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.maximum", 0.001)
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)
    monkeypatch.setattr("queue_runtime.hosts.poller.run._SHORT_WAIT", 0.01)


class RunningClock:
    """The real time, which a test can make jump: the poller looks at the real one itself."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class Faulty(LocalTransport):
    """A local queue in memory, whose settle requests go wrong as planned."""

    def __init__(self, clock: RunningClock, faults: dict[int, str], *, ordered: bool) -> None:
        url = f"local://q-{uuid4().hex}?memory&ordered={str(ordered).lower()}"
        super().__init__(read_address(url, "."), lock_seconds=LOCK, clock=clock)
        self.clock, self.faults = clock, faults
        self.batch_size = 5
        self.asked = self.jumps = 0

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        self.asked += 1
        fault = self.faults.get(self.asked)
        if fault == "before":
            raise TransportError("cut off")
        if fault == "jump":
            self.clock.ahead += LOCK + 1
            self.jumps += 1
        failures = await super().settle(steps)
        if fault == "after":
            raise TransportError("cut off")
        return failures


class Run:
    """What was planned for each message, and what the handler and the observer saw."""

    def __init__(self, plan: list[tuple[str, list[str], bool]]) -> None:
        self.plan = {str(n): (list(fates), dead) for n, (_, fates, dead) in enumerate(plan)}
        self.groups = {str(n): group for n, (group, _, _) in enumerate(plan)}
        self.calls: Counter[str] = Counter()
        self.ends: list[tuple[str, Outcome]] = []

    def next(self, name: str) -> str:
        fates, dead = self.plan[name]
        self.calls[name] += 1
        if self.calls[name] <= len(fates):
            return fates[self.calls[name] - 1]
        return "dead" if dead else "good"

    def act(self, fate: str) -> None:
        if fate == "retry":
            raise Retry("busy", after=0)
        if fate in {"raise", "slow"}:
            raise ConnectionError
        if fate == "cancelled":
            raise asyncio.CancelledError
        if fate == "dead":
            raise DeadLetter("never")

    def observe(self, message: Message[Any], outcome: Outcome) -> None:
        if outcome.disposition is not Disposition.RETRY:
            self.ends.append((message.payload, outcome))  # type: ignore[arg-type]  # str, as sent


async def _run(run: Run, handler: Any, queue: Faulty) -> tuple[int, int]:
    await queue.send([OutgoingMessage(body=name, group_id=run.groups[name]) for name in run.plan])
    values = {"backoff_seconds": 0, "concurrency": 3, "in_flight": 10, "max_deliveries": 90}
    poller = Poller(handler, queue, settings=settings_for(handler, **values), observe=run.observe)
    async with asyncio.timeout(30):
        await poller.run(Until.EMPTY)
    depth = await queue.depth()
    await queue.aclose()
    return depth.total, depth.dead_lettered or 0


@pytest.mark.soak
@given(MESSAGES, FAULTS, st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_faults_cost_repeats_and_nothing_else(
    plan: list[tuple[str, list[str], bool]], faults: dict[int, str], ordered: bool, on_loop: bool
) -> None:
    run = Run(plan)
    queue = Faulty(RunningClock(), faults, ordered=ordered)

    @queue_handler
    async def asynchronous(message: Message[str]) -> None:
        fate = run.next(message.body)
        if fate == "slow":
            await asyncio.sleep(0.001)
        run.act(fate)

    @queue_handler
    def synchronous(message: Message[str]) -> None:
        run.act(run.next(message.body))

    left, dead = asyncio.run(_run(run, asynchronous if on_loop else synchronous, queue))
    assert left == 0
    assert dead == sum(dead_at_last for _, dead_at_last in run.plan.values()), (
        "lost, or dead without reason"
    )
    for name, (fates, is_dead) in run.plan.items():
        assert run.calls[name] >= 1, "never run"
        # A dead-letter that could not be made for a fault is tried once more for it.
        repeats = queue.jumps + is_dead * sum(fault != "jump" for fault in faults.values())
        assert run.calls[name] <= 1 + len(fates) + repeats, "repeated without a fault"
    told = Counter(name for name, _ in run.ends)
    assert all(count == 1 for count in told.values()), "told twice"
    if ordered:
        in_group: dict[str, list[int]] = defaultdict(list)
        for name, _ in run.ends:
            in_group[run.groups[name]].append(int(name))
        assert all(names == sorted(names) for names in in_group.values()), "out of order"
