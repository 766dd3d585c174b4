"""The guarantees of the poller on Service Bus, each by what the broker saw of it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Backoff, Batch, DeadLetter, Message, Retry, queue_handler
from queue_runtime.observability.events import events
from queue_runtime.settlement.lineage import ATTRIBUTE, read_facts
from queue_runtime.transports.service_bus.receiver import LockClock
from tests.brokers.service_bus import (
    Condition,
    Error,
    Kind,
    MessageState,
    Point,
    ServiceBusBroker,
)
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.hosts.poller.rig import run_of, until_true
from tests.hosts.poller.service_bus_rig import happened, opened, polled, texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from queue_runtime.hosts.poller import Poller
    from tests.brokers.service_bus import MessageSnapshot
    from tests.hosts.poller.service_bus_rig import Meanwhile

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

LOCK = 60
FIVE_MINUTES = timedelta(minutes=5)
DEAD = "orders/$DeadLetterQueue"
SETTLED = (Kind.COMPLETED, Kind.ABANDONED, Kind.DEAD_LETTERED)
BOTH = pytest.mark.parametrize("path", ["orders", "carts?sessions=true"])
EITHER = pytest.mark.parametrize("is_async", [True, False])


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBusBroker]:
    monkeypatch.setattr(events, "_said", set())
    with ServiceBusBroker() as running:
        running.create_queue("orders", lock_duration=LOCK)
        running.create_queue("carts", lock_duration=LOCK, requires_session=True)
        yield running
    collect_leaks()


class HalfOver(LockClock):
    """Takes every lock for one of which little is left, so that it is renewed at the next look."""

    def until(self, lock_end: datetime | None) -> float:
        self.seconds = LOCK
        return monotonic() + LOCK / 3


@pytest.fixture
def often_renewed(monkeypatch: pytest.MonkeyPatch) -> LockClock:
    monkeypatch.setattr("queue_runtime.hosts.poller.lock_renewal._LONGEST_PAUSE", 0.02)
    return HalfOver()


@queue_handler
async def take(message: Message[bytes]) -> None:
    """Acknowledge."""


def group_of(path: str) -> str | None:
    return "g" if "sessions" in path else None


def fates(broker: ServiceBusBroker) -> list[tuple[str, Kind]]:
    """Give every settlement in its order: which message, and how."""
    return [
        (event.message_id, event.kind) for event in broker.journal.events() if event.kind in SETTLED
    ]


def until(broker: ServiceBusBroker, kind: Kind, count: int = 1) -> Meanwhile:
    async def wait(_poller: Poller) -> None:
        await happened(broker, kind, count)

    return wait


def properties(snapshot: MessageSnapshot) -> dict[str, Any]:
    return {str(name): value for name, value in snapshot.application_properties.items()}


def dead_letter(broker: ServiceBusBroker, path: str = DEAD) -> tuple[str, dict[str, Any]]:
    """Give the only dead letter's reason, and what its description says."""
    (entry,) = broker.messages(path)
    sent = properties(entry)
    return sent["DeadLetterReason"], dict(read_facts(sent["DeadLetterErrorDescription"]))


# --- acknowledged, and retried -------------------------------------------------------------------


@BOTH
def test_what_is_done_is_completed(broker: ServiceBusBroker, path: str) -> None:
    bodies = [f"m{n}" for n in range(20)]
    sent = texts(*bodies, group=group_of(path))
    stats = polled(opened(broker, path), take, until(broker, Kind.COMPLETED, 20), send=sent)
    assert stats.completed == 20
    assert sorted(fates(broker)) == sorted((body, Kind.COMPLETED) for body in bodies)
    assert broker.messages(path.partition("?")[0]) == []
    assert len(broker.journal.events(Kind.DELIVERED)) == 20


def test_a_failure_is_abandoned_and_back_at_once(broker: ServiceBusBroker) -> None:
    counts: list[int] = []

    @queue_handler(backoff=Backoff(600, jitter=False))
    def handle(message: Message[bytes]) -> None:
        counts.append(message.delivery_count)
        if message.delivery_count == 1:
            raise ValueError

    polled(opened(broker, "orders"), handle, until(broker, Kind.COMPLETED), send=texts("m"))
    assert counts == [1, 2]
    assert fates(broker) == [("m", Kind.ABANDONED), ("m", Kind.COMPLETED)]
    assert broker.journal.events(Kind.SCHEDULED) == []


@pytest.mark.parametrize(
    ("error", "options"),
    [(Retry("busy", after=40), {}), (ValueError(), {"delayed_retries": True})],
    ids=["asked for", "by backoff"],
)
def test_a_delayed_retry_is_a_copy_that_is_sent_before_the_original_is_completed(
    broker: ServiceBusBroker, error: Exception, options: dict[str, Any]
) -> None:
    seen: list[tuple[object, ...]] = []

    @queue_handler(backoff=Backoff(40, jitter=False))
    async def handle(message: Message[bytes]) -> None:
        mine, life = message.attributes.get("mine"), message.native.time_to_live
        seen.append((message.id, message.delivery_count, mine, life))
        if message.delivery_count == 1:
            raise error

    async def let_time_pass(_poller: Poller) -> None:
        (completed,) = await happened(broker, Kind.COMPLETED, message_id="m")
        (scheduled,) = broker.journal.events(Kind.SCHEDULED)
        assert scheduled.number < completed.number
        broker.advance(30)
        (copy,) = broker.messages("orders")
        assert copy.state is MessageState.SCHEDULED
        assert copy.message_id != "m"
        assert json.loads(properties(copy)[ATTRIBUTE]) == {"id": "m", "attempts": 1}
        broker.advance(11)
        await happened(broker, Kind.COMPLETED, 2)

    sent = [replace(texts("m")[0], attributes={"mine": 7}, native={"time_to_live": FIVE_MINUTES})]
    polled(opened(broker, "orders", **options), handle, let_time_pass, send=sent)
    assert seen == [("m", 1, 7, FIVE_MINUTES), ("m", 2, 7, FIVE_MINUTES)]


def test_a_retry_is_not_delayed_on_a_subscription_and_that_is_said_once(
    broker: ServiceBusBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_topic("news")
    broker.create_subscription("news", "all")
    broker.create_subscription("news", "others")
    counts: list[int] = []

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        counts.append(message.delivery_count)
        if message.delivery_count < 3:
            raise Retry("busy", after=600)

    wait = until(broker, Kind.COMPLETED)
    polled(opened(broker, "news/all"), handle, wait, send=texts("m"))
    assert counts == [1, 2, 3]
    assert broker.journal.events(Kind.SCHEDULED) == []
    assert len(broker.messages("news/Subscriptions/others")) == 1
    assert caplog.text.count("retries are not delayed on subscriptions") == 1


# --- dead-lettered -------------------------------------------------------------------------------


@BOTH
def test_a_dead_letter_is_moved_with_its_reason(broker: ServiceBusBroker, path: str) -> None:
    @queue_handler
    async def handle(body: bytes) -> None:
        raise DeadLetter("no such customer")

    transport = opened(broker, path)
    sent = texts("m", group=group_of(path))
    stats = polled(transport, handle, until(broker, Kind.DEAD_LETTERED), send=sent)
    assert stats.dead_lettered == 1
    assert fates(broker) == [("m", Kind.DEAD_LETTERED)]
    name = path.partition("?")[0]
    reason, facts = dead_letter(broker, f"{name}/$DeadLetterQueue")
    assert reason == "no such customer"
    assert (facts["id"], facts["queue"], facts["handler"]) == ("m", name, handle.definition.name)
    assert facts["deliveries"] == 1


def test_a_dead_letter_that_cannot_be_made_is_a_retry(broker: ServiceBusBroker) -> None:
    refusal = Error(Condition.INTERNAL_ERROR)
    broker.fail(Point.SETTLE, refusal, entity="orders", operation="dead-letter")
    counts: list[int] = []

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        counts.append(message.delivery_count)
        raise DeadLetter("no such customer")

    polled(opened(broker, "orders"), handle, until(broker, Kind.DEAD_LETTERED), send=texts("m"))
    assert counts == [1, 2]
    assert fates(broker) == [("m", Kind.ABANDONED), ("m", Kind.DEAD_LETTERED)]


def test_poison_is_dead_lettered_at_once_and_its_entry_shows_no_input(
    broker: ServiceBusBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "queue_runtime")
    calls: list[dict[str, int]] = []

    @queue_handler
    async def handle(body: dict[str, int]) -> None:
        calls.append(body)

    body = json.dumps({"amount": "hunter2"})
    sent = [replace(texts("m")[0], body=body)]
    polled(opened(broker, "orders"), handle, until(broker, Kind.DEAD_LETTERED), send=sent)
    assert calls == []
    assert len(broker.journal.events(Kind.DELIVERED)) == 1
    (entry,) = broker.messages(DEAD)
    assert entry.body == body.encode()
    reason, facts = dead_letter(broker)
    assert reason.startswith("poison: ")
    assert "int_parsing" in reason
    assert "hunter2" not in str(properties(entry)) + str(facts) + caplog.text


@pytest.mark.parametrize("error", [LookupError("ledger 7 is closed"), Retry("busy", after=40)])
def test_the_last_allowed_delivery_that_fails_is_dead_lettered_with_its_error(
    broker: ServiceBusBroker, error: Exception
) -> None:
    @queue_handler(max_deliveries=2)
    def handle(body: bytes) -> None:
        raise error

    async def let_time_pass(_poller: Poller) -> None:
        if isinstance(error, Retry):  # then the second delivery is that of a copy
            await happened(broker, Kind.COMPLETED)
            broker.advance(41)
        await happened(broker, Kind.DEAD_LETTERED)

    polled(opened(broker, "orders"), handle, let_time_pass, send=texts("m"))
    reason, facts = dead_letter(broker)
    summary = error.reason if isinstance(error, Retry) else "LookupError"
    assert reason == f"failed on delivery 2 of 2: {summary}"
    assert (facts["id"], facts["deliveries"]) == ("m", 2)
    assert (facts["error_type"], facts["error"]) == (type(error).__name__, str(error))


# --- a batch -------------------------------------------------------------------------------------


def test_each_message_of_a_batch_has_its_own_fate(broker: ServiceBusBroker) -> None:
    @queue_handler
    async def load(batch: Batch[dict[str, str]]) -> None:
        for message in batch:
            if message.id == "again":
                batch.fail(message, Retry("busy", after=40))
            if message.id == "odd":
                batch.fail(message, DeadLetter("odd"))

    sent = [
        replace(texts(name)[0], body="{}" if name != "poison" else "no JSON")
        for name in ("good", "again", "odd", "poison", "fine")
    ]
    stats = polled(opened(broker, "orders"), load, until_gone(broker, 5), send=sent)
    # What is retried later is completed as well: a copy of it is due.
    assert dict(fates(broker)) == {
        "good": Kind.COMPLETED, "again": Kind.COMPLETED, "odd": Kind.DEAD_LETTERED,
        "poison": Kind.DEAD_LETTERED, "fine": Kind.COMPLETED,
    }  # fmt: skip
    (copy,) = broker.messages("orders")
    assert copy.state is MessageState.SCHEDULED
    assert json.loads(properties(copy)[ATTRIBUTE])["id"] == "again"
    assert (stats.completed, stats.retried, stats.dead_lettered) == (2, 1, 2)


def until_gone(broker: ServiceBusBroker, count: int) -> Meanwhile:
    async def wait(_poller: Poller) -> None:
        await until_true(lambda: len(fates(broker)) == count)

    return wait


def test_a_settlement_that_fails_is_repeated_and_no_other_is(broker: ServiceBusBroker) -> None:
    refusal = Error(Condition.INTERNAL_ERROR)
    fault = broker.fail(Point.SETTLE, refusal, entity="orders", operation="complete", skip=2)
    runs: Counter[str] = Counter()

    @queue_handler
    async def handle(message: Message[str]) -> None:
        runs[message.body] += 1

    bodies = [f"m{n}" for n in range(6)]
    sent = texts(*bodies)
    stats = polled(opened(broker, "orders"), handle, until(broker, Kind.COMPLETED, 6), send=sent)
    assert fault.struck == 1
    assert (stats.completed, stats.lost) == (6, 0)
    assert runs == dict.fromkeys(bodies, 1)
    assert sorted(fates(broker)) == [(body, Kind.COMPLETED) for body in bodies]


# --- order ---------------------------------------------------------------------------------------


def test_after_a_retry_the_rest_of_its_session_goes_back_unrun(broker: ServiceBusBroker) -> None:
    seen: list[str] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        seen.append(message.body)
        if message.body == "a1" and message.delivery_count == 1:
            raise ValueError

    transport = opened(broker, "carts?sessions=true")
    sent = texts("a0", "a1", "a2", "a3", group="a")
    stats = polled(transport, handle, until(broker, Kind.COMPLETED, 4), send=sent)
    assert seen == ["a0", "a1", "a1", "a2", "a3"]
    abandoned = [name for name, kind in fates(broker) if kind is Kind.ABANDONED]
    assert abandoned == ["a1", "a2", "a3"]
    assert (stats.completed, stats.retried, stats.returned) == (4, 1, 2)


def test_a_dead_letter_is_settled_before_its_session_goes_on(broker: ServiceBusBroker) -> None:
    before: list[list[tuple[str, Kind]]] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        before.append(fates(broker))
        if message.body == "a1":
            raise DeadLetter("odd")

    transport = opened(broker, "carts?sessions=true")
    wait = until(broker, Kind.COMPLETED, 2)
    polled(transport, handle, wait, send=texts("a0", "a1", "a2", group="a"))
    assert before[2] == [("a0", Kind.COMPLETED), ("a1", Kind.DEAD_LETTERED)]


# --- the end -------------------------------------------------------------------------------------


@BOTH
def test_at_the_end_the_waiting_is_back_at_once_and_the_running_is_finished(
    broker: ServiceBusBroker, path: str
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @queue_handler(concurrency=1)
    async def handle(body: bytes) -> None:
        started.set()
        await go_on.wait()

    async def stop_it(poller: Poller) -> None:
        await started.wait()
        await until_true(lambda: poller.stats.received >= 2)
        poller.stop()
        await happened(broker, Kind.ABANDONED)
        assert broker.journal.events(Kind.COMPLETED) == []
        go_on.set()

    bodies = list("abcde")
    stats = polled(opened(broker, path), handle, stop_it, send=texts(*bodies, group=group_of(path)))
    assert (stats.completed, stats.returned, stats.held) == (1, stats.received - 1, 0)
    assert fates(broker)[-1] == ("a", Kind.COMPLETED)
    left = broker.messages(path.partition("?")[0])
    assert [(each.message_id, each.locked) for each in left] == [(body, False) for body in "bcde"]


@BOTH
@EITHER
def test_what_does_not_finish_in_time_is_back_at_once_and_never_acknowledged(
    broker: ServiceBusBroker, path: str, is_async: bool
) -> None:
    started, release, over = threading.Event(), threading.Event(), threading.Event()
    given_back: list[int] = []  # when the handler was over

    def end() -> None:
        given_back.append(len(fates(broker)))
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
    sent = texts("m", group=group_of(path))
    stats = polled(opened(broker, path), handler, stop_it, send=sent, drain_seconds=0.05)
    release.set()
    assert over.wait(30)
    assert given_back == [0 if is_async else 1]  # a sync one cannot be cancelled before
    assert (stats.returned, stats.held) == (1, 0)
    assert fates(broker) == [("m", Kind.ABANDONED)]
    (left,) = broker.messages(path.partition("?")[0])
    assert not left.locked


def test_what_is_given_back_unrun_is_no_last_delivery(broker: ServiceBusBroker) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    counts: list[int] = []

    @queue_handler(max_deliveries=1, concurrency=1)
    async def handle(message: Message[bytes]) -> None:
        counts.append(message.delivery_count)
        started.set()
        await go_on.wait()

    async def stop_it(poller: Poller) -> None:
        await started.wait()
        await until_true(lambda: poller.stats.received == 2)
        poller.stop()
        await happened(broker, Kind.ABANDONED)
        go_on.set()

    stats = polled(opened(broker, "orders"), handle, stop_it, send=texts("a", "b"))
    assert (stats.completed, stats.returned, stats.dead_lettered) == (1, 1, 0)
    polled(opened(broker, "orders"), handle, until(broker, Kind.COMPLETED, 2))
    assert counts == [1, 2]  # one more than is allowed, but none of them failed
    assert broker.journal.events(Kind.DEAD_LETTERED) == []


# --- locks ---------------------------------------------------------------------------------------


def test_waiting_and_running_messages_are_renewed_while_a_handler_blocks_the_loop(
    broker: ServiceBusBroker, often_renewed: LockClock
) -> None:
    @queue_handler(concurrency=1)
    async def handle(message: Message[str]) -> None:
        if message.body == "a":  # holds the event loop up until each was renewed twice
            for name in "abc":
                broker.wait_for(Kind.LOCK_RENEWED, count=2, message_id=name, timeout=45)

    transport = opened(broker, "orders", clock=often_renewed)
    wait = until(broker, Kind.COMPLETED, 3)
    stats = polled(transport, handle, wait, send=texts(*"abc"))
    assert (stats.completed, stats.lost, stats.received) == (3, 0, 3)


def test_a_session_is_renewed_while_a_handler_blocks_the_loop(
    broker: ServiceBusBroker, often_renewed: LockClock
) -> None:
    @queue_handler
    async def handle(message: Message[str]) -> None:
        if message.body == "a":
            broker.wait_for(Kind.SESSION_RENEWED, count=2, session_id="g", timeout=45)

    transport = opened(broker, "carts?sessions=true", clock=often_renewed)
    wait = until(broker, Kind.COMPLETED, 2)
    stats = polled(transport, handle, wait, send=texts(*"ab", group="g"))
    assert (stats.completed, stats.lost, stats.received) == (2, 0, 2)


def take_the_lock(broker: ServiceBusBroker, path: str) -> None:
    if "sessions" in path:
        broker.lose_session("carts", "g")
    else:
        broker.expire_locks("orders")


@BOTH
def test_a_lost_lock_cancels_an_async_handler_and_is_never_acknowledged(
    broker: ServiceBusBroker, path: str, often_renewed: LockClock
) -> None:
    started = asyncio.Event()
    cancelled: list[int] = []

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        if message.delivery_count > 1:
            return
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(message.delivery_count)

    async def lose_it(_poller: Poller) -> None:
        await started.wait()
        take_the_lock(broker, path)
        await happened(broker, Kind.COMPLETED)

    sent = texts("m", group=group_of(path))
    stats = polled(opened(broker, path, clock=often_renewed), handle, lose_it, send=sent)
    assert cancelled == [1]
    assert (stats.completed, stats.lost) == (1, 1)
    (done,) = broker.journal.events(Kind.COMPLETED)
    assert done.delivery_count  # as the broker counts: what failed before this delivery
    assert broker.journal.events(Kind.SETTLE_REFUSED) == []


@BOTH
def test_a_lost_lock_throws_a_sync_handlers_result_away(
    broker: ServiceBusBroker, path: str, often_renewed: LockClock
) -> None:
    started, release = threading.Event(), threading.Event()

    @queue_handler
    def handle(message: Message[bytes]) -> None:
        if message.delivery_count == 1:
            started.set()
            release.wait(60)

    async def lose_it(poller: Poller) -> None:
        await until_true(started.is_set)
        (first,) = run_of(poller).in_flight.all()
        take_the_lock(broker, path)
        await until_true(lambda: first.lost)
        release.set()
        await happened(broker, Kind.COMPLETED)

    sent = texts("m", group=group_of(path))
    stats = polled(opened(broker, path, clock=often_renewed), handle, lose_it, send=sent)
    assert (stats.completed, stats.lost) == (1, 1)
    (done,) = broker.journal.events(Kind.COMPLETED)
    assert done.delivery_count
    assert broker.journal.events(Kind.SETTLE_REFUSED) == []
