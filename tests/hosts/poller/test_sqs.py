"""The poller on SQS: order, faults of every request, and an end that strands nothing."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import DeadLetter, Message, Retry, queue_handler
from queue_runtime.errors import AccessDeniedError, QueueNotFoundError
from queue_runtime.hosts.poller import Poller, PollStats, Until
from queue_runtime.observability import metrics
from queue_runtime.transports.base import OutgoingMessage, refused
from tests.brokers.sqs import Cut, Fail, FailEntries, Kind, SqsBroker, Throttle
from tests.hosts.poller.rig import PATIENCE_SECONDS, settings_for, until_true
from tests.sqs_rig import aws_environment, open_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsBroker]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # the same after a restart
    with SqsBroker(port=port) as broker:
        aws_environment(monkeypatch, broker.endpoint_url)
        yield broker


@asynccontextmanager
async def polling(handler: Any, name: str = "orders", **values: Any) -> AsyncIterator[Poller]:
    """Poll meanwhile; then stop, and be sure of the end."""
    lock = values.pop("lock", 60)
    queue = open_queue(name, visibility_seconds=lock)
    poller = Poller(handler, queue, settings=settings_for(handler, **values))
    run = asyncio.create_task(poller.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS * 2):
            yield poller
            poller.stop()
            await run
    finally:
        run.cancel()
        await asyncio.wait([run])
        await queue.aclose()


async def until_settled(broker: SqsBroker, name: str = "orders") -> None:
    def empty() -> bool:
        counts = broker.counts(name)
        return counts.visible == counts.in_flight == counts.delayed == 0

    await until_true(empty)


def fill_meanwhile(broker: SqsBroker, count: int) -> None:
    broker.fill("orders", count, "x")
    broker.clock.advance(0)  # serves the long polls under way


def consumed(broker: SqsBroker, handler: Any, name: str = "orders", **values: Any) -> PollStats:
    """Poll until nothing is left in the queue."""

    async def run() -> PollStats:
        async with polling(handler, name, **values) as poller:
            await until_settled(broker, name)
        return poller.stats

    return asyncio.run(run())


def sent(broker: SqsBroker, name: str, *messages: OutgoingMessage) -> None:
    async def run() -> None:
        queue = open_queue(name)
        assert not refused(await queue.send(messages))
        await queue.aclose()

    asyncio.run(run())


def lines(groups: int, count: int) -> list[OutgoingMessage]:
    return [
        OutgoingMessage(body=f"{group}:{number}", group_id=str(group))
        for number in range(count)
        for group in range(groups)
    ]


class Log:
    """What a handler saw, by group, and how many calls there were at a time."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.running: Counter[str] = Counter()
        self.most = 0

    def begin(self, body: str) -> tuple[str, int]:
        group, _, number = body.partition(":")
        self.running[group] += 1
        assert self.running[group] == 1, f"two of group {group} run at once"
        self.most = max(self.most, self.running.total())
        return group, int(number)


def test_groups_run_in_parallel_and_each_in_order(broker: SqsBroker) -> None:
    broker.create_queue("orders.fifo")
    log = Log()

    @queue_handler
    async def handle(body: str) -> None:
        group, number = log.begin(body)
        await asyncio.sleep(random.random() * 0.01)
        log.seen[group].append(number)
        log.running[group] -= 1

    sent(broker, "orders.fifo", *lines(6, 12))
    consumed(broker, handle, "orders.fifo")
    assert log.seen == {str(group): list(range(12)) for group in range(6)}
    assert log.most > 1
    assert broker.journal.totals[Kind.RECEIVED] >= 72


def test_order_holds_when_handlers_fail(broker: SqsBroker) -> None:
    broker.create_queue("orders.fifo")
    log = Log()

    @queue_handler(max_deliveries=50)
    async def handle(body: str) -> None:
        group, number = log.begin(body)
        await asyncio.sleep(0)
        log.running[group] -= 1
        if random.random() < 0.2:
            raise Retry("again", after=0)
        log.seen[group].append(number)

    sent(broker, "orders.fifo", *lines(4, 8))
    consumed(broker, handle, "orders.fifo")
    assert log.seen == {str(group): list(range(8)) for group in range(4)}


def test_a_dead_letter_lets_its_group_go_on(broker: SqsBroker) -> None:
    broker.create_queue("dead.fifo")
    redrive = {"deadLetterTargetArn": broker.arn("dead.fifo"), "maxReceiveCount": 50}
    broker.create_queue("orders.fifo", RedrivePolicy=redrive)
    seen = []

    @queue_handler
    def handle(body: str) -> None:
        seen.append(body)
        if body.endswith(":1"):
            raise DeadLetter("odd")

    sent(broker, "orders.fifo", *lines(1, 4))
    stats = consumed(broker, handle, "orders.fifo")
    assert seen == [f"0:{number}" for number in range(4)]
    assert (stats.completed, stats.dead_lettered) == (3, 1)
    assert broker.counts("dead.fifo").visible == 1


def test_every_outcome_of_a_standard_queue(broker: SqsBroker) -> None:
    broker.create_queue("dead")
    redrive = {"deadLetterTargetArn": broker.arn("dead"), "maxReceiveCount": 50}
    broker.create_queue("orders", RedrivePolicy=redrive)
    runs: Counter[str] = Counter()

    @queue_handler(max_deliveries=3)
    def handle(body: dict) -> None:  # type: ignore[type-arg]  # any JSON object
        runs[body["name"]] += 1
        if body["name"] == "again" and runs["again"] == 1:
            raise Retry("busy", after=0)
        if body["name"] == "hopeless":
            raise Retry("never", after=0)

    bodies = ['{"name": "fine"}', '{"name": "again"}', '{"name": "hopeless"}', "poison"]
    sent(broker, "orders", *(OutgoingMessage(body=body) for body in bodies))
    stats = consumed(broker, handle)
    assert dict(runs) == {"fine": 1, "again": 2, "hopeless": 3}
    assert (stats.completed, stats.dead_lettered, stats.retried) == (2, 2, 3)
    assert broker.counts("dead").visible == 2


def counting(runs: Counter[str]) -> Any:
    @queue_handler(max_deliveries=50)
    async def handle(message: Message[bytes]) -> None:
        runs[message.id] += 1

    return handle


def test_a_delete_that_fails_in_part_is_repeated_and_nothing_runs_twice(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 100, "x")
    broker.faults.add(FailEntries(), calls=["DeleteMessageBatch"], rate=0.3)
    runs: Counter[str] = Counter()
    stats = consumed(broker, counting(runs))
    assert stats.completed == 100
    assert set(runs.values()) == {1}


@pytest.mark.parametrize("fault", [Throttle(), Fail(), Fail("AccessDenied", 403)])
def test_requests_that_fail_while_running_are_repeated(broker: SqsBroker, fault: Any) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 60, "x")
    runs: Counter[str] = Counter()

    async def run() -> None:
        async with polling(counting(runs)) as poller:
            await until_true(lambda: poller.stats.received > 0)
            broker.faults.add(fault, calls=["ReceiveMessage", "DeleteMessageBatch"], times=3)
            await until_settled(broker)

    asyncio.run(run())
    assert len(runs) == 60
    assert set(runs.values()) == {1}


def test_connections_that_break_lose_nothing(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 200, "x")
    broker.faults.add(Cut(), calls=["DeleteMessageBatch"], rate=0.2, times=5)
    broker.faults.add(Cut(after_effect=True), calls=["DeleteMessageBatch"], rate=0.2, times=5)
    broker.faults.add(Cut(after_effect=True), calls=["ReceiveMessage"], rate=0.2, times=2)
    runs: Counter[str] = Counter()
    consumed(broker, counting(runs), lock=2)
    assert len(runs) == 200
    # What a lost receive had locked is delivered a second time, but ran only once.
    assert set(runs.values()) == {1}


def test_a_lost_receive_of_a_fifo_queue_does_not_cost_a_delivery(broker: SqsBroker) -> None:
    broker.create_queue("orders.fifo")
    broker.fill("orders.fifo", 30, "x")
    broker.faults.add(Cut(after_effect=True), calls=["ReceiveMessage"], times=1)
    runs: Counter[str] = Counter()
    consumed(broker, counting(runs), "orders.fifo")
    assert set(runs.values()) == {1}
    assert broker.journal.totals[Kind.RECEIVE_REPEATED] == 10
    assert broker.journal.totals[Kind.VISIBLE_AGAIN] == 0


def test_hanging_up_on_everybody_is_survived(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    runs: Counter[str] = Counter()

    async def run() -> None:
        async with polling(counting(runs), lock=2):
            for _ in range(3):
                fill_meanwhile(broker, 30)
                broker.drop_connections()
                await until_settled(broker)

    asyncio.run(run())
    assert len(runs) == 90


def test_a_server_that_restarts_is_found_again(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 30, "x")
    runs: Counter[str] = Counter()

    async def run() -> None:
        async with polling(counting(runs), lock=2) as poller:
            await until_true(lambda: poller.stats.completed == 30)
            errors = metrics.ERRORS.values()
            broker.stop()
            await until_true(lambda: metrics.ERRORS.values() != errors)
            broker.start()
            fill_meanwhile(broker, 30)
            await until_settled(broker)

    asyncio.run(run())
    assert len(runs) == 60


def test_credentials_that_expire_are_renewed_while_running(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 20, "x")
    runs: Counter[str] = Counter()

    async def run() -> None:
        async with polling(counting(runs)) as poller:
            await until_true(lambda: poller.stats.completed == 20)
            broker.faults.add(Fail("ExpiredToken", 403), times=2)
            fill_meanwhile(broker, 20)
            await until_settled(broker)

    asyncio.run(run())
    assert set(runs.values()) == {1}


@pytest.mark.parametrize(
    ("fault", "kind", "fix"),
    [
        (None, QueueNotFoundError, "create it"),
        (Fail("AccessDenied", 403), AccessDeniedError, "allow sqs:"),
        (Fail("InvalidClientTokenId", 403), AccessDeniedError, "no valid credentials"),
    ],
)
def test_a_start_that_cannot_succeed_is_an_error_with_the_fix(
    broker: SqsBroker, fault: Any, kind: type[Exception], fix: str
) -> None:
    if fault is not None:
        broker.create_queue("orders")
        broker.faults.add(fault)

    async def run() -> None:
        queue = open_queue("orders")
        handler = counting(Counter())
        try:
            with pytest.raises(kind, match=fix):
                await Poller(handler, queue, settings=settings_for(handler)).run()
        finally:
            await queue.aclose()

    asyncio.run(run())


def test_throttled_renewals_are_repeated_until_they_succeed(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 3, "x")
    renewed = ["ChangeMessageVisibilityBatch"]
    broker.faults.add(Throttle(), calls=renewed, times=1)
    ends = asyncio.Event()
    runs: Counter[str] = Counter()

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        runs[message.id] += 1
        await ends.wait()

    async def run() -> None:
        async with polling(handle, lock=3):
            await until_true(lambda: len(broker.journal.events(Kind.VISIBILITY_CHANGED)) >= 6)
            ends.set()
            await until_settled(broker)

    asyncio.run(run())
    assert set(runs.values()) == {1}
    assert broker.journal.totals[Kind.VISIBLE_AGAIN] == 0


def test_stopping_gives_the_waiting_back_at_once(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 30, "x")
    started = asyncio.Event()
    ends = asyncio.Event()

    @queue_handler
    async def handle(body: bytes) -> None:
        started.set()
        await ends.wait()

    async def run() -> PollStats:
        async with polling(handle, concurrency=2, in_flight=20) as poller:
            await started.wait()
            await until_true(lambda: poller.stats.received >= 20)
            poller.stop()
            await until_true(lambda: poller.stats.returned >= 18)
            ends.set()
        return poller.stats

    stats = asyncio.run(run())
    assert (stats.completed, stats.returned, stats.held) == (2, 18, 0)
    counts = broker.counts("orders")
    assert (counts.visible, counts.in_flight) == (28, 0)


def test_stopping_in_a_long_poll_takes_no_message_along(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def run() -> None:
        async with polling(counting(Counter())):
            await until_true(lambda: broker.journal.calls["ReceiveMessage"] == 1)

    asyncio.run(run())
    broker.fill("orders", 1, "x")
    assert broker.counts("orders").visible == 1


def test_until_empty_ends(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 40, "x")

    async def run() -> PollStats:
        queue = open_queue("orders")
        handler = counting(Counter())
        try:
            poller = Poller(handler, queue, settings=settings_for(handler))
            return await poller.run(Until.EMPTY)
        finally:
            await queue.aclose()

    assert asyncio.run(run()).completed == 40


@pytest.mark.parametrize("is_async", [True, False])
def test_a_full_queue_is_consumed_in_tens(broker: SqsBroker, is_async: bool) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 500, "x")

    @queue_handler
    async def on_loop(body: bytes) -> None:
        """Do nothing."""

    @queue_handler
    def on_threads(body: bytes) -> None:
        """Do nothing."""

    consumed(broker, on_loop if is_async else on_threads)
    # A receive that comes when all is locked or done finds nothing, so some are beyond the 50.
    assert broker.journal.calls["ReceiveMessage"] <= 50 + 20
