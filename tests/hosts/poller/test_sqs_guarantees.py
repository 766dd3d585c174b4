"""The guarantees of the poller on SQS, each by what the broker saw of it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Backoff, Batch, DeadLetter, Message, Retry, queue_handler
from queue_runtime.observability.events import events
from queue_runtime.transports.base import OutgoingMessage
from tests.brokers.sqs import Fail, FailEntries, Kind, SqsBroker, Throttle
from tests.hosts.poller.rig import run_of, until_true
from tests.hosts.poller.sqs_rig import (
    PATIENCE_SECONDS,
    MovedClock,
    facts_of,
    happened,
    polled,
    received,
    with_dead_letters,
)
from tests.sqs_rig import aws_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.hosts.poller import Poller
    from tests.hosts.poller.sqs_rig import Meanwhile

LOCK = 60
EACH = ["ChangeMessageVisibilityBatch"]
FIFO = pytest.mark.parametrize("suffix", ["", ".fifo"])


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsBroker]:
    monkeypatch.setattr(events, "_said", set())
    with SqsBroker() as broker:
        aws_environment(monkeypatch, broker.endpoint_url)
        yield broker


@pytest.fixture
def often_renewed(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """Have every lock renewed again and again: each looks two thirds over when it comes."""
    monkeypatch.setattr("queue_runtime.hosts.poller.lock_renewal._LONGEST_PAUSE", 0.02)
    return MovedClock(ahead=-LOCK * 2 / 3)


@queue_handler
async def take(message: Message[bytes]) -> None:
    """Acknowledge."""


def texts(*bodies: str, group: str | None = None) -> list[OutgoingMessage]:
    return [OutgoingMessage(body=body, group_id=group) for body in bodies]


def ids(broker: SqsBroker, queue: str = "orders") -> list[str]:
    """Give what SQS called the messages that were sent, in their order."""
    return [event.message_id for event in broker.journal.events(Kind.SENT, queue=queue)]


def deleted(broker: SqsBroker, queue: str = "orders") -> list[str]:
    return [event.message_id for event in broker.journal.events(Kind.DELETED, queue=queue)]


def delays(broker: SqsBroker, queue: str = "orders") -> list[tuple[str, str]]:
    """Give every change of visibility: which message, and the seconds."""
    changes = broker.journal.events(Kind.VISIBILITY_CHANGED, queue=queue)
    return [(event.message_id, event.detail) for event in changes]


def until(broker: SqsBroker, kind: Kind, count: int = 1, queue: str = "orders") -> Meanwhile:
    async def wait(_poller: Poller) -> None:
        await happened(broker, kind, count, queue=queue)

    return wait


# --- acknowledged, and retried -------------------------------------------------------------------


def test_what_is_done_is_deleted_ten_in_a_request(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    sent = texts(*map(str, range(30)))
    stats = polled(take, until(broker, Kind.DELETED, 30), send=sent)
    assert stats.completed == 30
    assert sorted(deleted(broker)) == sorted(ids(broker))
    assert broker.journal.calls["DeleteMessageBatch"] <= 10
    assert broker.journal.totals[Kind.STALE_DELETE] == 0
    assert (delays(broker), ids(broker, "dead")) == ([], [])


def test_a_failure_hides_the_message_for_its_backoff(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    counts: list[int] = []

    @queue_handler(backoff=Backoff(40, jitter=False))
    def handle(message: Message[bytes]) -> None:
        counts.append(message.delivery_count)
        if message.delivery_count < 3:
            raise ValueError

    async def let_time_pass(_poller: Poller) -> None:
        for number, seconds in enumerate((40, 80), start=1):
            await happened(broker, Kind.VISIBILITY_CHANGED, number)
            broker.clock.advance(seconds)
        await happened(broker, Kind.DELETED)

    polled(handle, let_time_pass, send=texts("m"))
    (name,) = ids(broker)
    assert counts == [1, 2, 3]
    assert delays(broker) == [(name, "40"), (name, "80")]


def test_a_retry_is_hidden_for_as_long_as_was_asked(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        if message.delivery_count == 1:
            raise Retry("busy", after=12.2)

    async def let_time_pass(_poller: Poller) -> None:
        await happened(broker, Kind.VISIBILITY_CHANGED)
        broker.clock.advance(13)
        await happened(broker, Kind.DELETED)

    polled(handle, let_time_pass, send=texts("m"))
    assert delays(broker) == [(ids(broker)[0], "13")]


def test_a_retry_is_cut_to_twelve_hours_since_the_receive(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    clock = MovedClock()

    @queue_handler
    async def handle(body: bytes) -> None:
        clock.ahead = 3600  # the handler's hour
        broker.clock.advance(3600)
        raise Retry("come tomorrow", after=86_400)

    wait = until(broker, Kind.VISIBILITY_CHANGED)
    polled(handle, wait, send=texts("m"), lock=7200, clock=clock)
    ((_, seconds),) = delays(broker)
    assert 39_590 <= int(seconds) <= 39_600  # and the broker refuses a second more


# --- dead-lettered -------------------------------------------------------------------------------


def test_a_dead_letter_is_sent_with_its_reason_before_the_original_is_deleted(
    broker: SqsBroker,
) -> None:
    with_dead_letters(broker)

    @queue_handler
    async def handle(body: bytes) -> None:
        raise DeadLetter("no such customer")

    sent = [OutgoingMessage(body="odd", attributes={"mine": 7}, correlation_id="order-1")]
    stats = polled(handle, until(broker, Kind.DELETED), send=sent)
    assert stats.dead_lettered == 1
    (name,) = ids(broker)
    (entry,) = received(broker, "dead")
    assert entry["Body"] == "odd"
    assert entry["MessageAttributes"]["mine"]["StringValue"] == "7"
    assert entry["MessageAttributes"]["correlation_id"]["StringValue"] == "order-1"
    facts = facts_of(entry)
    assert (facts["id"], facts["reason"]) == (name, "no such customer")
    assert (facts["queue"], facts["handler"], facts["deliveries"]) == (
        "orders",
        handle.definition.name,
        1,
    )
    effects = [each.queue for each in broker.journal.events(Kind.SENT, Kind.DELETED)]
    assert effects == ["orders", "dead", "orders"]


def test_a_dead_letter_that_cannot_be_sent_is_a_retry(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.faults.add(Fail("AccessDenied", 403), calls=["SendMessageBatch"], queue="dead", times=1)

    @queue_handler
    async def handle(body: bytes) -> None:
        raise DeadLetter("no such customer")

    async def let_time_pass(_poller: Poller) -> None:
        await happened(broker, Kind.VISIBILITY_CHANGED)
        assert (ids(broker, "dead"), deleted(broker)) == ([], [])
        broker.clock.advance(5)
        await happened(broker, Kind.DELETED)

    stats = polled(handle, let_time_pass, send=texts("odd"))
    (name,) = ids(broker)
    assert delays(broker) == [(name, "1")]
    assert (stats.retried, stats.dead_lettered) == (1, 1)
    (entry,) = received(broker, "dead")
    assert (facts_of(entry)["id"], facts_of(entry)["deliveries"]) == (name, 2)


def test_without_a_dead_letter_queue_it_is_retried_and_that_is_said_once(
    broker: SqsBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_queue("orders")

    @queue_handler
    async def handle(body: bytes) -> None:
        raise DeadLetter("no such customer")

    async def let_time_pass(_poller: Poller) -> None:
        for number in (1, 2):
            await happened(broker, Kind.VISIBILITY_CHANGED, number)
            broker.clock.advance(5)
        await happened(broker, Kind.VISIBILITY_CHANGED, 3)

    polled(handle, let_time_pass, send=texts("odd"))
    assert deleted(broker) == []
    assert caplog.text.count("it has no dead-letter queue") == 1


def test_a_dead_letter_whose_original_cannot_be_deleted_is_sent_once(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.faults.add(FailEntries(), calls=["DeleteMessageBatch"], times=2)

    @queue_handler
    async def handle(body: bytes) -> None:
        raise DeadLetter("no such customer")

    stats = polled(handle, until(broker, Kind.DELETED), send=texts("odd"))
    assert deleted(broker) == ids(broker)
    assert len(ids(broker, "dead")) == 1
    assert broker.journal.calls["DeleteMessageBatch"] == 3
    assert (stats.dead_lettered, stats.retried) == (1, 0)


def test_a_dead_letter_whose_original_is_deleted_late_holds_its_group_no_longer(
    broker: SqsBroker,
) -> None:
    with_dead_letters(broker, ".fifo")
    broker.faults.add(FailEntries(), calls=["DeleteMessageBatch"], times=1)

    @queue_handler
    async def handle(message: Message[str]) -> None:
        if message.body == "odd":
            raise DeadLetter("no such customer")

    sent = texts("odd", "good", group="a")
    stats = polled(handle, until(broker, Kind.DELETED, 2, "orders.fifo"), "orders.fifo", send=sent)
    assert (stats.dead_lettered, stats.completed, stats.returned) == (1, 1, 0)


def test_a_lost_lock_holds_its_group_up_no_further(
    broker: SqsBroker, often_renewed: MovedClock
) -> None:
    with_dead_letters(broker, ".fifo")
    throttled = broker.faults.add(Throttle(), calls=EACH)
    started = asyncio.Event()
    seen: list[str] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        if message.delivery_count == 1:
            started.set()
            await asyncio.Event().wait()
        seen.append(message.body)

    async def lose_it(_poller: Poller) -> None:
        await started.wait()
        broker.clock.advance(LOCK + 1)
        await happened(broker, Kind.RECEIVED, 4, queue="orders.fifo")
        broker.faults.remove(throttled)
        await happened(broker, Kind.DELETED, 2, queue="orders.fifo")

    sent = texts("a1", "a2", group="a")
    polled(handle, lose_it, "orders.fifo", send=sent, clock=often_renewed)
    assert seen == ["a1", "a2"]


def test_poison_is_dead_lettered_at_once_and_its_entry_shows_no_input(
    broker: SqsBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with_dead_letters(broker)
    caplog.set_level(logging.DEBUG, "queue_runtime")
    calls: list[dict[str, int]] = []

    @queue_handler
    async def handle(body: dict[str, int]) -> None:
        calls.append(body)

    body = json.dumps({"amount": "hunter2"})
    stats = polled(handle, until(broker, Kind.DELETED), send=texts(body))
    assert (calls, stats.dead_lettered) == ([], 1)
    assert [each.detail for each in broker.journal.events(Kind.RECEIVED, queue="orders")] == ["1"]
    (entry,) = received(broker, "dead")
    assert entry["Body"] == body
    assert facts_of(entry)["reason"].startswith("poison: ")
    assert "int_parsing" in facts_of(entry)["reason"]
    assert "hunter2" not in str(entry["MessageAttributes"]) + caplog.text


def test_the_last_allowed_delivery_that_fails_is_dead_lettered_with_its_error(
    broker: SqsBroker,
) -> None:
    with_dead_letters(broker)

    @queue_handler(max_deliveries=3, backoff=Backoff(0))
    def handle(body: bytes) -> None:
        raise LookupError("ledger 7 is closed")

    stats = polled(handle, until(broker, Kind.DELETED), send=texts("m"))
    (name,) = ids(broker)
    assert (stats.retried, stats.dead_lettered) == (2, 1)
    assert delays(broker) == [(name, "0"), (name, "0")]
    (entry,) = received(broker, "dead")
    facts = facts_of(entry)
    assert (facts["id"], facts["deliveries"]) == (name, 3)
    assert facts["reason"] == "failed on delivery 3 of 3: LookupError"
    assert (facts["error_type"], facts["error"]) == ("LookupError", "ledger 7 is closed")


# --- a batch -------------------------------------------------------------------------------------


def test_each_message_of_a_batch_has_its_own_fate(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    calls: list[int] = []

    @queue_handler
    async def load(batch: Batch[dict[str, int]]) -> None:
        calls.append(len(batch))
        batch.fail(batch[1], Retry("busy", after=30))
        batch.fail(batch[2], DeadLetter("odd"))

    sent = texts('{"n": 0}', '{"n": 1}', '{"n": 2}', "poison", '{"n": 4}')
    stats = polled(load, until(broker, Kind.DELETED, 4), send=sent)
    good, again, odd, poison, fine = ids(broker)
    assert calls == [4]
    assert sorted(deleted(broker)) == sorted([good, odd, poison, fine])
    assert delays(broker) == [(again, "30")]
    entries = [facts_of(entry) for entry in received(broker, "dead")]
    assert sorted(facts["id"] for facts in entries) == sorted([odd, poison])
    assert (stats.completed, stats.retried, stats.dead_lettered) == (2, 1, 2)


def test_only_the_entries_that_a_request_failed_are_repeated(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    for call in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
        broker.faults.add(FailEntries(ids=("1",)), calls=[call], times=1)
    runs: Counter[str] = Counter()

    @queue_handler
    async def handle(message: Message[str]) -> None:
        runs[message.body] += 1
        if message.body.startswith("again"):
            raise Retry("busy", after=30)

    async def until_all_settled(_poller: Poller) -> None:
        await happened(broker, Kind.DELETED, 3)
        await happened(broker, Kind.VISIBILITY_CHANGED, 3)

    bodies = [*(f"done {n}" for n in range(3)), *(f"again {n}" for n in range(3))]
    stats = polled(handle, until_all_settled, send=texts(*bodies))
    assert (stats.completed, stats.retried) == (3, 3)
    assert runs == dict.fromkeys(bodies, 1)
    names = ids(broker)
    assert sorted(deleted(broker)) == sorted(names[:3])
    assert sorted(delays(broker)) == sorted((name, "30") for name in names[3:])
    calls = broker.journal.calls
    assert (calls["DeleteMessageBatch"], calls["ChangeMessageVisibilityBatch"]) == (2, 2)


# --- order ---------------------------------------------------------------------------------------


def test_the_rest_of_a_group_gets_the_delay_of_its_retry_in_the_same_request(
    broker: SqsBroker,
) -> None:
    with_dead_letters(broker, ".fifo")
    seen: list[str] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        seen.append(message.body)
        if message.body == "a2" and message.delivery_count == 1:
            raise Retry("busy", after=30)

    async def let_time_pass(_poller: Poller) -> None:
        await happened(broker, Kind.VISIBILITY_CHANGED, 3, queue="orders.fifo")
        await happened(broker, Kind.DELETED, 3, queue="orders.fifo")
        assert broker.journal.calls["ChangeMessageVisibilityBatch"] == 1
        assert sorted(seen) == ["a1", "a2", "b1", "b2"]
        broker.clock.advance(31)
        await happened(broker, Kind.DELETED, 6, queue="orders.fifo")

    sent = [*texts("a1", "a2", "a3", "a4", group="a"), *texts("b1", "b2", group="b")]
    stats = polled(handle, let_time_pass, "orders.fifo", send=sent)
    tail = ids(broker, "orders.fifo")[1:4]
    assert delays(broker, "orders.fifo") == [(name, "30") for name in tail]
    assert seen[4:] == ["a2", "a3", "a4"]
    assert (stats.completed, stats.retried, stats.returned) == (6, 1, 2)


def test_a_dead_letter_is_settled_before_its_group_goes_on(broker: SqsBroker) -> None:
    with_dead_letters(broker, ".fifo")
    before: list[tuple[int, int]] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        if message.body == "a1":
            raise DeadLetter("odd")
        before.append((len(ids(broker, "dead.fifo")), len(deleted(broker, "orders.fifo"))))

    wait = until(broker, Kind.DELETED, 2, "orders.fifo")
    polled(handle, wait, "orders.fifo", send=texts("a1", "a2", group="a"))
    assert before == [(1, 1)]
    (entry,) = received(broker, "dead.fifo")
    assert (entry["Body"], entry["Attributes"]["MessageGroupId"]) == ("a1", "a")


def test_a_dead_letter_that_cannot_be_sent_stops_its_group(broker: SqsBroker) -> None:
    with_dead_letters(broker, ".fifo")
    refuse = Fail("AccessDenied", 403)
    broker.faults.add(refuse, calls=["SendMessageBatch"], queue="dead.fifo", times=1)
    seen: list[str] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        seen.append(message.body)
        if message.body == "a1":
            raise DeadLetter("odd")

    async def let_time_pass(_poller: Poller) -> None:
        await happened(broker, Kind.VISIBILITY_CHANGED, 2, queue="orders.fifo")
        broker.clock.advance(6)
        await happened(broker, Kind.DELETED, 2, queue="orders.fifo")

    polled(handle, let_time_pass, "orders.fifo", send=texts("a1", "a2", group="a"))
    assert seen == ["a1", "a1", "a2"]
    assert [seconds for _, seconds in delays(broker, "orders.fifo")] == ["1", "1"]


# --- the end -------------------------------------------------------------------------------------


def test_at_the_end_the_waiting_is_visible_at_once_and_the_running_is_finished(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders")
    started, go_on = asyncio.Event(), asyncio.Event()

    @queue_handler(concurrency=1)
    async def handle(body: bytes) -> None:
        started.set()
        await go_on.wait()

    async def stop_it(poller: Poller) -> None:
        await started.wait()
        poller.stop()
        await happened(broker, Kind.VISIBILITY_CHANGED, 4)
        assert deleted(broker) == []
        go_on.set()

    stats = polled(handle, stop_it, send=texts(*"abcde"))
    running, *waiting = ids(broker)
    assert deleted(broker) == [running]
    assert sorted(delays(broker)) == sorted((name, "0") for name in waiting)
    assert (stats.completed, stats.returned, stats.held) == (1, 4, 0)
    assert broker.counts("orders") == (4, 0, 0)


def test_at_the_end_nobody_gets_the_rest_of_a_group_before_what_runs_of_it_is_done(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders.fifo")
    started, go_on = asyncio.Event(), asyncio.Event()

    @queue_handler
    async def handle(body: bytes) -> None:
        started.set()
        await go_on.wait()

    async def stop_it(poller: Poller) -> None:
        await started.wait()
        poller.stop()
        await happened(broker, Kind.VISIBILITY_CHANGED, 2, queue="orders.fifo")
        assert await asyncio.to_thread(received, broker, "orders.fifo") == []
        go_on.set()
        await happened(broker, Kind.DELETED, queue="orders.fifo")

    polled(handle, stop_it, "orders.fifo", send=texts("a1", "a2", "a3", group="a"))
    assert [each["Body"] for each in received(broker, "orders.fifo")] == ["a2", "a3"]


@FIFO
@pytest.mark.parametrize("is_async", [True, False])
def test_what_does_not_finish_in_time_is_visible_at_once_and_never_acknowledged(
    broker: SqsBroker, is_async: bool, suffix: str
) -> None:
    name = f"orders{suffix}"
    broker.create_queue(name)
    started, release, over = threading.Event(), threading.Event(), threading.Event()
    given_back: list[int] = []  # when the handler was over

    def end() -> None:
        given_back.append(len(delays(broker, name)))
        over.set()

    @queue_handler
    async def on_loop(body: bytes) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            end()

    @queue_handler
    def sync(body: bytes) -> None:
        started.set()
        release.wait(60)
        end()

    async def stop_it(_poller: Poller) -> None:
        await until_true(started.is_set)

    handler: Any = on_loop if is_async else sync
    sent = texts("m", group="g" if suffix else None)
    stats = polled(handler, stop_it, name, send=sent, drain_seconds=0.05)
    release.set()
    assert over.wait(30)
    assert given_back == [0 if is_async else 1]  # a sync one cannot be cancelled before
    assert (stats.returned, stats.held) == (1, 0)
    assert (delays(broker, name), deleted(broker, name)) == ([(ids(broker, name)[0], "0")], [])
    assert broker.counts(name) == (1, 0, 0)


def test_what_is_given_back_unrun_is_no_last_delivery(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    started, go_on = asyncio.Event(), asyncio.Event()
    counts: list[int] = []

    @queue_handler(max_deliveries=1, concurrency=1)
    async def handle(message: Message[bytes]) -> None:
        counts.append(message.delivery_count)
        started.set()
        await go_on.wait()

    async def stop_it(poller: Poller) -> None:
        await started.wait()
        poller.stop()
        await happened(broker, Kind.VISIBILITY_CHANGED)
        go_on.set()

    stats = polled(handle, stop_it, send=texts("a", "b"))
    assert (stats.completed, stats.returned, stats.dead_lettered) == (1, 1, 0)
    polled(handle, until(broker, Kind.DELETED, 2))
    assert counts == [1, 2]  # one more than is allowed, but none of them failed
    assert ids(broker, "dead") == []


# --- locks ---------------------------------------------------------------------------------------


def test_waiting_and_running_messages_are_renewed_while_a_handler_blocks_the_loop(
    broker: SqsBroker, often_renewed: MovedClock
) -> None:
    broker.create_queue("orders")

    def each_renewed_twice() -> bool:
        renewals = Counter(delays(broker))
        return all(renewals[name, str(LOCK)] >= 2 for name in ids(broker))

    @queue_handler(concurrency=1)
    async def handle(body: bytes) -> None:
        if body == b"a":  # holds the event loop up
            broker.journal.wait_until(each_renewed_twice, PATIENCE_SECONDS)

    wait = until(broker, Kind.DELETED, 3)
    stats = polled(handle, wait, send=texts(*"abc"), clock=often_renewed)
    assert (stats.completed, stats.lost, stats.received) == (3, 0, 3)


async def lose_the_lock(broker: SqsBroker, throttled: Any) -> None:
    """Let a lock end, let somebody else have the message, and only then renewals be answered."""
    broker.clock.advance(LOCK + 1)
    (raw,) = await asyncio.to_thread(received, broker, "orders")
    assert raw["Attributes"]["ApproximateReceiveCount"] == "2"
    broker.faults.remove(throttled)


def test_a_lost_lock_cancels_an_async_handler_and_is_never_acknowledged(
    broker: SqsBroker, often_renewed: MovedClock
) -> None:
    broker.create_queue("orders")
    throttled = broker.faults.add(Throttle(), calls=EACH)
    started, cancelled = asyncio.Event(), asyncio.Event()

    @queue_handler
    async def handle(body: bytes) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def lose_it(poller: Poller) -> None:
        await started.wait()
        await lose_the_lock(broker, throttled)
        await cancelled.wait()
        await until_true(lambda: poller.stats.lost == 1)

    stats = polled(handle, lose_it, send=texts("m"), clock=often_renewed, in_flight=1)
    assert (stats.completed, stats.returned, stats.held) == (0, 0, 0)
    assert broker.journal.calls["DeleteMessageBatch"] == 0
    assert broker.counts("orders").in_flight == 1


def test_a_lost_lock_throws_a_sync_handlers_result_away(
    broker: SqsBroker, often_renewed: MovedClock
) -> None:
    broker.create_queue("orders")
    throttled = broker.faults.add(Throttle(), calls=EACH)
    started, release = threading.Event(), threading.Event()

    @queue_handler
    def handle(body: bytes) -> None:
        started.set()
        release.wait(60)

    async def lose_it(poller: Poller) -> None:
        await until_true(started.is_set)
        await lose_the_lock(broker, throttled)
        await until_true(lambda: all(entry.lost for entry in run_of(poller).in_flight.all()))
        release.set()
        await until_true(lambda: poller.stats.lost == 1)

    stats = polled(handle, lose_it, send=texts("m"), clock=often_renewed, in_flight=1)
    assert (stats.completed, stats.held) == (0, 0)
    assert broker.journal.calls["DeleteMessageBatch"] == 0
    assert broker.counts("orders").in_flight == 1
