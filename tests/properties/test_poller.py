"""Poller runs with random handlers, failures and faults: one outcome each, in order, none lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queue_runtime import DeadLetter, LockLostError, Message, Retry, TransportError, queue_handler
from queue_runtime.outcome import Disposition
from tests.hosts.poller.rig import ScriptedQueue, polled

if TYPE_CHECKING:
    from queue_runtime import Outcome

FATES = st.sampled_from(["good", "good", "good", "retry", "raise", "dead", "slow", "cancelled"])
FAULTS = st.lists(st.sampled_from(["receive", "settle", "renew"]), max_size=4)
MESSAGES = st.lists(st.tuples(st.sampled_from("abc"), FATES), min_size=1, max_size=40)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_runtime.hosts.poller.settler._BETWEEN_TRIES.base", 0.001)
    monkeypatch.setattr("queue_runtime.hosts.poller.receiver._AFTER_ERROR.base", 0.001)


class Run:
    """One queue with its faults, and what the handler saw of it."""

    def __init__(
        self, plan: list[tuple[str, str]], faults: list[str], lost: set[int], *, ordered: bool
    ) -> None:
        self.plan = {f"m{n}": fate for n, (_, fate) in enumerate(plan)}
        self.calls: list[str] = []
        self.queue = ScriptedQueue(
            *(
                Message.of(b"{}", id=f"m{n}", group_id=group, queue="orders")
                for n, (group, _) in enumerate(plan)
            ),
            ordered=ordered,
        )
        for fault in faults:
            getattr(self.queue, f"{fault}_errors").append(TransportError("cut off"))
        self.lost = {f"m{n}" for n in lost} & set(self.plan)
        self.queue.refuse = self.refuse

    def refuse(self, message: Message[Any], _outcome: Outcome) -> TransportError | None:
        if message.id not in self.lost:
            return None
        self.queue.held.pop(id(message), None)
        return LockLostError("gone")

    def begin(self, message: Message[bytes]) -> str:
        self.calls.append(message.id)
        fate = self.plan[message.id]
        if fate == "retry":
            raise Retry("busy", after=5)
        if fate == "dead":
            raise DeadLetter("never")
        if fate == "raise":
            raise ValueError
        if fate == "cancelled":
            raise asyncio.CancelledError
        return fate

    def check(self, stats: Any) -> None:
        settled = Counter(name for name, _ in self.queue.settled)
        assert all(count == 1 for count in settled.values()), "an outcome was carried out twice"
        behind = {message.id for message in self.queue.behind}
        left = set(self.plan) - set(settled) - self.lost - behind
        assert not left, "a message was left without an outcome"
        assert not set(settled) & self.lost, "a lost message was settled"
        assert all(count == 1 for count in Counter(self.calls).values())
        for name, outcome in self.queue.settled:
            if outcome.disposition is Disposition.ACK:
                assert name in self.calls, "acknowledged without a call"
                assert self.plan[name] in {"good", "slow"}
        assert stats.held == 0

    def check_order(self, plan: list[tuple[str, str]]) -> None:
        groups: dict[str, list[str]] = {}
        for n, (group, _) in enumerate(plan):
            groups.setdefault(group, []).append(f"m{n}")
        for names in groups.values():
            called = [name for name in self.calls if name in names]
            assert called == names[: len(called)], "a group was not run in its order"
            stopped = [n for n in called if self.plan[n] in {"retry", "raise", "cancelled"}]
            assert stopped in ([], called[-1:]), "a group went on after a retry"


@given(MESSAGES, FAULTS, st.sets(st.integers(0, 39), max_size=3), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_run(
    plan: list[tuple[str, str]], faults: list[str], lost: set[int], ordered: bool, on_loop: bool
) -> None:
    run = Run(plan, faults, lost if not ordered else set(), ordered=ordered)

    @queue_handler(max_deliveries=9)
    async def asynchronous(message: Message[bytes]) -> None:
        if run.begin(message) == "slow":
            await asyncio.sleep(0.0005)

    @queue_handler(max_deliveries=9)
    def synchronous(message: Message[bytes]) -> None:
        run.begin(message)

    stats = polled(asynchronous if on_loop else synchronous, run.queue, concurrency=4)
    run.check(stats)
    if ordered:
        run.check_order(plan)
