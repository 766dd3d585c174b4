"""The Lambda host under any mix of failures, delays, cancellations and deadlines.

Exactly one outcome a message, order in every group, and nothing lost: a message that is not in the
reply was handled, discarded or put into the dead-letter queue.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queue_runtime import Backoff, Batch, DeadLetter, Discard, Message, Retry, queue_handler
from queue_runtime.outcome import Disposition
from tests.lambda_rig import Clock, Rig, Sqs, fifo, loop_in_test_time, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from queue_runtime.handler import Handler
    from tests.lambda_rig import Invocation

EXAMPLES = settings(max_examples=150, deadline=None)

ERRORS: dict[str, Callable[[], BaseException]] = {
    "error": ValueError,
    "exit": SystemExit,
    "cancels itself": asyncio.CancelledError,
    "retry": Retry,
    "retry later": lambda: Retry(after=7),
    "dead": DeadLetter,
    "discard": Discard,
}
ACTS = ["ok", "ok", "poison", *ERRORS]
# What an async handler does once it is cancelled, while it still has seconds to go.
WHEN_CANCELLED = ["lets go", "finishes", "ignores", "fails"]


@pytest.fixture(scope="module", autouse=True)
def _no_log() -> Iterator[None]:
    """A line for each message of each example would bury a failure's report."""
    logger = logging.getLogger("queue_runtime")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@dataclass(frozen=True)
class Plan:
    """What one message's handler is going to do."""

    group: str
    act: str
    seconds: float
    deliveries: int
    when_cancelled: str


@dataclass
class World:
    """What a run is given, and what is seen of it."""

    plans: list[Plan]
    ordered: bool
    seconds: float
    concurrency: int
    dead_letter: bool
    refused_sends: frozenset[int]
    raises: bool
    clock: Clock = field(default_factory=Clock)
    starts: list[tuple[int, float]] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    running: list[str] = field(default_factory=list)
    most_running: int = 0
    overlaps: int = 0

    def body(self, at: int) -> Any:
        return f"poison {at}" if self.plans[at].act == "poison" else {"at": at}

    def start(self, at: int) -> Plan:
        plan = self.plans[at]
        self.starts.append((at, self.clock()))
        self.overlaps += plan.group in self.running
        self.running.append(plan.group)
        self.most_running = max(self.most_running, len(self.running))
        return plan

    def finish(self, at: int, plan: Plan) -> None:
        if plan.act in ERRORS:
            if plan.act == "discard":
                self.done.add(at)
            raise ERRORS[plan.act]()
        self.done.add(at)


plans = st.lists(
    st.builds(
        Plan,
        group=st.sampled_from("abc"),
        act=st.sampled_from(ACTS),
        seconds=st.sampled_from([0.0, 0.0, 0.5, 3.0, 40.0]),
        deliveries=st.integers(1, 4),
        when_cancelled=st.sampled_from(WHEN_CANCELLED),
    ),
    min_size=1,
    max_size=10,
)
worlds = st.builds(
    World,
    plans=plans,
    ordered=st.booleans(),
    seconds=st.sampled_from([0.0, 1.0, 4.0, 30.0, 900.0]),
    concurrency=st.integers(1, 4),
    dead_letter=st.booleans(),
    refused_sends=st.frozensets(st.integers(0, 9), max_size=3),
    raises=st.booleans(),
)


def _sync(world: World) -> Any:
    @queue_handler(backoff=Backoff(4, jitter=False))
    def handler(message: Message[dict[str, int]]) -> None:
        at = message.body["at"]
        plan = world.start(at)
        try:
            world.clock.advance(plan.seconds)
            world.finish(at, plan)
        finally:
            world.running.remove(plan.group)

    return handler


def _in_loop(world: World) -> Any:
    @queue_handler(backoff=Backoff(4, jitter=False))
    async def handler(message: Message[dict[str, int]]) -> None:
        at = message.body["at"]
        plan = world.start(at)
        try:
            await _work(plan.seconds, plan.when_cancelled)
            world.finish(at, plan)
        finally:
            world.running.remove(plan.group)

    return handler


async def _work(seconds: float, when_cancelled: str) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if when_cancelled == "lets go":
            raise
        if when_cancelled == "fails":
            raise ConnectionError from None
        if when_cancelled == "ignores":
            await asyncio.sleep(60)


def _mark(world: World, batch: Batch[dict[str, int]]) -> None:
    for message in batch:
        at = message.body["at"]
        make = ERRORS.get(world.plans[at].act)
        error = make() if make else None
        if isinstance(error, Exception):
            batch.fail(message, error)
            if isinstance(error, Discard):
                world.done.add(at)
        elif not world.raises:
            world.done.add(at)
    if world.raises:
        raise ValueError


def _batch(world: World) -> Any:
    @queue_handler(backoff=Backoff(4, jitter=False), batch_order="accept_repeats")
    def handler(batch: Batch[dict[str, int]]) -> None:
        world.starts.append((batch[0].body["at"], world.clock()))
        world.clock.advance(world.plans[batch[0].body["at"]].seconds)
        _mark(world, batch)

    return handler


def _batch_in_loop(world: World) -> Any:
    @queue_handler(backoff=Backoff(4, jitter=False), batch_order="accept_repeats")
    async def handler(batch: Batch[dict[str, int]]) -> None:
        plan = world.plans[batch[0].body["at"]]
        world.starts.append((batch[0].body["at"], world.clock()))
        await _work(plan.seconds, plan.when_cancelled)
        _mark(world, batch)

    return handler


def _invoke(world: World, handler: Handler[Any, Any]) -> Invocation:
    bodies = [world.body(at) for at in range(len(world.plans))]
    if world.ordered:
        batch = fifo(*((p.group, b) for p, b in zip(world.plans, bodies, strict=True)))
    else:
        batch = records(*bodies)
        for record, plan in zip(batch, world.plans, strict=True):
            record["attributes"]["MessageGroupId"] = plan.group  # a fair queue's
    for record, plan in zip(batch, world.plans, strict=True):
        record["attributes"]["ApproximateReceiveCount"] = str(plan.deliveries)
    refused = [batch[at]["body"] for at in world.refused_sends if at < len(batch)]
    rig = Rig(
        handler,
        sqs=Sqs(refuse=dict.fromkeys(refused, "InternalError")),
        clock=world.clock,
        concurrency=world.concurrency,
        dead_letter="dlq" if world.dead_letter else None,
        max_deliveries=4,
    )
    is_async = handler.definition.is_async
    with loop_in_test_time(world.clock) if is_async else nullcontext():
        started = world.clock()
        result = rig(*batch, seconds=world.seconds)
        if is_async and world.seconds:
            assert world.clock() <= started + world.seconds
    return result


def _accepted(world: World, result: Invocation) -> set[int]:
    sent = [entry["MessageBody"] for entry in result.sqs.sent]
    bodies = [message.payload for message in result.messages]
    positions = {bodies.index(body) for body in sent}
    assert len(positions) == len(sent), "a dead-letter was sent twice"
    return positions - world.refused_sends


def _check_one_outcome_each(world: World, result: Invocation) -> None:
    assert len(result.outcomes) == len(world.plans)
    ids = [message.broker_id for message in result.messages]
    given_back = [
        identity
        for identity, outcome in zip(ids, result.outcomes, strict=True)
        if outcome.disposition is Disposition.RETRY
    ]
    assert result.failed == given_back
    assert len(set(given_back)) == len(given_back)


def _check_nothing_lost(world: World, result: Invocation) -> None:
    accepted = _accepted(world, result)
    for at, outcome in enumerate(result.outcomes):
        if outcome.disposition is Disposition.ACK:
            assert at in world.done
        elif outcome.disposition is Disposition.DEAD_LETTER:
            assert at in accepted
    # What the queue refused, or what did not get to run, was not put aside.
    assert {at for at, o in enumerate(result.outcomes) if o.unrun} & accepted == set()


def _check_only_what_should_be_is_put_aside(world: World, result: Invocation) -> None:
    for at in _accepted(world, result):
        plan = world.plans[at]
        assert plan.act in ("poison", "dead") or plan.deliveries == 4


def _check_groups(world: World, result: Invocation) -> None:
    for _, members in groupby(
        sorted(range(len(world.plans)), key=lambda at: (world.plans[at].group, at)),
        key=lambda at: world.plans[at].group,
    ):
        fates = [result.outcomes[at] for at in members]
        stopped = next((f for f in fates if f.disposition is Disposition.RETRY), None)
        if stopped is None:
            continue
        tail = fates[fates.index(stopped) :]
        assert all(fate.disposition is Disposition.RETRY for fate in tail)
        assert {fate.delay for fate in tail} == {stopped.delay}


def _check_starts_in_order(world: World, result: Invocation) -> None:
    assert len({at for at, _ in world.starts}) == len(world.starts), "called twice"
    assert world.overlaps == 0
    for group in "abc":
        started = [at for at, _ in world.starts if world.plans[at].group == group]
        assert started == sorted(started)
        failed = [at for at in started if result.outcomes[at].disposition is Disposition.RETRY]
        assert failed in ([], started[-1:])


def _check(world: World, result: Invocation) -> None:
    _check_one_outcome_each(world, result)
    _check_nothing_lost(world, result)
    _check_only_what_should_be_is_put_aside(world, result)
    if world.ordered:
        _check_groups(world, result)


@EXAMPLES
@given(worlds)
def test_sync_handlers(world: World) -> None:
    ends = world.clock() + world.seconds
    result = _invoke(world, _sync(world))
    _check(world, result)
    if world.ordered:
        _check_starts_in_order(world, result)
    assert world.most_running <= 1
    longest = 0.0
    for at, started in world.starts:
        assert started + longest < ends
        longest = max(longest, world.plans[at].seconds)


@EXAMPLES
@given(worlds)
def test_async_handlers(world: World) -> None:
    ends = world.clock() + world.seconds
    result = _invoke(world, _in_loop(world))
    _check(world, result)
    if world.ordered:
        _check_starts_in_order(world, result)
    assert world.most_running <= world.concurrency
    assert all(started < ends for _, started in world.starts)


@EXAMPLES
@given(worlds)
def test_sync_batch_handlers(world: World) -> None:
    _check(world, _invoke(world, _batch(world)))
    assert len(world.starts) <= 1


@EXAMPLES
@given(worlds)
def test_async_batch_handlers(world: World) -> None:
    _check(world, _invoke(world, _batch_in_loop(world)))
    assert len(world.starts) <= 1


@EXAMPLES
@given(worlds, st.sampled_from([_sync, _in_loop]))
def test_every_message_ends_somewhere_when_it_is_delivered_again(world: World, kind: Any) -> None:
    """With time enough and a dead-letter queue that works, four deliveries settle everything."""
    world.dead_letter, world.refused_sends, world.seconds = True, frozenset(), 10_000.0
    left = list(world.plans)
    for delivery in range(1, 5):
        plans = [
            Plan(plan.group, plan.act, plan.seconds, delivery, plan.when_cancelled) for plan in left
        ]
        again = World(
            plans, False, world.seconds, world.concurrency, True, frozenset(), world.raises
        )
        result = _invoke(again, kind(again))
        _check(again, result)
        left = [
            plan
            for plan, outcome in zip(left, result.outcomes, strict=True)
            if outcome.disposition is Disposition.RETRY
        ]
        if not left:
            break
    assert left == []
