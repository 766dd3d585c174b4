"""The poller on Service Bus: sessions, locks, broken connections, and what a shutdown leaves."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import DeadLetter, Message, Retry, queue_handler
from queue_runtime.errors import AccessDeniedError, QueueNotFoundError
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.settlement.lineage import read_facts
from queue_runtime.transports.base import refused
from tests.brokers.service_bus import (
    Condition,
    DropAfter,
    Error,
    Kind,
    MessageState,
    Point,
    ServiceBusBroker,
)
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.hosts.poller.rig import until_true
from tests.hosts.poller.service_bus_rig import happened, opened, polled, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.hosts.poller import Poller

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


BREAKS = {
    "drop": ServiceBusBroker.drop_connections,
    "close": ServiceBusBroker.close_connections,
    "detach": ServiceBusBroker.detach_receivers,
}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBusBroker]:
    monkeypatch.setattr(events, "_said", set())
    with ServiceBusBroker() as running:
        yield running
    collect_leaks()


def kinds(broker: ServiceBusBroker, kind: Kind) -> list[Any]:
    return [event.message_id for event in broker.journal.events(kind)]


# --- sessions ------------------------------------------------------------------------------------


def test_sessions_run_side_by_side_and_each_in_its_order(broker: ServiceBusBroker) -> None:
    broker.create_queue("carts", requires_session=True)
    seen: dict[str | None, list[str]] = defaultdict(list)
    together = asyncio.Barrier(3)

    @queue_handler
    async def handle(message: Message[str]) -> None:
        if not seen[message.group_id]:
            await together.wait()  # only three sessions at the same time get past this
        seen[message.group_id].append(message.body)

    sent = [
        each for group in "abc" for each in texts(*(f"{group}{n}" for n in range(5)), group=group)
    ]

    async def until_all_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 15)

    stats = polled(opened(broker, "carts?sessions=true"), handle, until_all_done, send=sent)
    assert stats.completed == 15
    assert seen == {group: [f"{group}{n}" for n in range(5)] for group in "abc"}


def test_a_retry_in_a_session_comes_before_what_follows_it(
    broker: ServiceBusBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_queue("carts", requires_session=True)
    seen: list[tuple[str, int]] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        seen.append((message.body, message.delivery_count))
        if message.body == "a1" and message.delivery_count < 3:
            raise Retry("not yet", after=30)

    async def until_all_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 3)

    sent = texts("a0", "a1", "a2", group="a")
    with caplog.at_level(logging.WARNING):
        polled(opened(broker, "carts?sessions=true"), handle, until_all_done, send=sent)
    bodies = [body for body, _ in seen]
    assert bodies == ["a0", "a1", "a1", "a1", "a2"]
    assert [count for body, count in seen if body == "a1"] == [1, 2, 3]
    assert caplog.text.count("retries are not delayed in sessions") == 1


@pytest.mark.parametrize("what", ["lose", "drop", "close", "detach"])
def test_a_lost_session_is_never_acknowledged(broker: ServiceBusBroker, what: str) -> None:
    broker.create_queue("carts", requires_session=True)
    started, go_on = asyncio.Event(), asyncio.Event()
    counts: list[int] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        counts.append(message.delivery_count)
        started.set()
        await go_on.wait()

    async def lose_it(_poller: Poller) -> None:
        await started.wait()
        if what == "lose":
            broker.lose_session("carts", "a")
        else:
            assert BREAKS[what](broker)
        go_on.set()
        await happened(broker, Kind.COMPLETED)

    stats = polled(
        opened(broker, "carts?sessions=true"), handle, lose_it, send=texts("a0", group="a")
    )
    assert (stats.lost, stats.completed) == (1, 1)
    assert len(counts) == 2


def test_a_session_that_is_empty_makes_way_for_others(broker: ServiceBusBroker) -> None:
    broker.create_queue("carts", requires_session=True)

    @queue_handler(concurrency=1)
    async def handle(message: Message[str]) -> None:
        pass

    sent = [each for group in "abc" for each in texts(f"{group}0", group=group)]

    async def until_all_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 3)

    transport = opened(broker, "carts?sessions=true", most_sessions=1)
    assert polled(transport, handle, until_all_done, send=sent).completed == 3
    assert len(broker.journal.events(Kind.SESSION_RELEASED)) == 3


# --- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["orders", "carts?sessions=true"])
def test_a_cpu_bound_handler_keeps_its_locks(broker: ServiceBusBroker, path: str) -> None:
    broker.create_queue("orders", lock_duration=2)
    broker.create_queue("carts", lock_duration=2, requires_session=True)
    group = "g" if "sessions" in path else None

    @queue_handler
    async def handle(message: Message[str]) -> None:
        ends = monotonic() + 3.0
        while monotonic() < ends:  # holds the handlers' event loop up for longer than the lock
            pass

    async def until_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED)

    stats = polled(opened(broker, path), handle, until_done, send=texts("m", group=group))
    assert (stats.completed, stats.lost, stats.received) == (1, 0, 1)
    assert broker.journal.events(Kind.LOCK_EXPIRED) == []
    assert broker.journal.events(Kind.SESSION_LOST) == []


def test_a_lock_that_the_service_takes_away_is_never_acknowledged(
    broker: ServiceBusBroker,
) -> None:
    broker.create_queue("orders")
    started, go_on = asyncio.Event(), asyncio.Event()
    counts: list[int] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        counts.append(message.delivery_count)
        started.set()
        await go_on.wait()

    async def take_it_away(_poller: Poller) -> None:
        await started.wait()
        broker.expire_locks("orders")
        go_on.set()
        await happened(broker, Kind.COMPLETED)

    stats = polled(opened(broker, "orders"), handle, take_it_away, send=texts("m"))
    assert (stats.lost, stats.completed) == (1, 1)
    assert sorted(counts) == [1, 2]
    assert kinds(broker, Kind.COMPLETED) == ["m"]


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what", list(BREAKS))
def test_messages_that_are_held_when_the_link_breaks_are_settled_over_the_next(
    broker: ServiceBusBroker, what: str
) -> None:
    broker.create_queue("orders")
    started, go_on = asyncio.Event(), asyncio.Event()
    counts: list[int] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        counts.append(message.delivery_count)
        if len(counts) == 3:
            started.set()
        await go_on.wait()

    async def break_it(_poller: Poller) -> None:
        await started.wait()
        assert BREAKS[what](broker)
        go_on.set()
        await happened(broker, Kind.COMPLETED, 3)

    stats = polled(opened(broker, "orders"), handle, break_it, send=texts("a", "b", "c"))
    assert (stats.completed, stats.lost) == (3, 0)
    assert counts == [1, 1, 1]


def test_polling_goes_on_after_a_drop_on_a_quiet_queue(broker: ServiceBusBroker) -> None:
    broker.create_queue("orders")
    transport = opened(broker, "orders")

    @queue_handler
    async def handle(message: Message[str]) -> None:
        pass

    async def drop_then_send(_poller: Poller) -> None:
        await happened(broker, Kind.ATTACHED, entity="orders")
        broker.drop_connections()
        assert not refused(await transport.send(texts("m")))
        await happened(broker, Kind.COMPLETED)

    assert polled(transport, handle, drop_then_send).completed == 1


def test_a_completion_whose_answer_is_lost_is_not_done_twice(broker: ServiceBusBroker) -> None:
    broker.create_queue("orders")
    calls: list[str] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        calls.append(message.body)

    async def until_gone(poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED)
        await until_true(lambda: poller.stats.held == 0 and poller.stats.received == 1)

    broker.fail(Point.SETTLE, DropAfter(), operation="complete")
    stats = polled(opened(broker, "orders"), handle, until_gone, send=texts("m"))
    assert calls == ["m"]
    assert stats.completed + stats.lost == 1
    assert broker.messages("orders") == []


def test_a_service_that_is_busy_is_asked_again(broker: ServiceBusBroker) -> None:
    broker.create_queue("orders")

    @queue_handler
    async def handle(message: Message[str]) -> None:
        pass

    async def until_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED)

    refusal = Error(Condition.SERVER_BUSY)
    fault = broker.fail(Point.ATTACH, refusal, entity="orders", operation="receive", times=2)
    assert polled(opened(broker, "orders"), handle, until_done, send=texts("m")).completed == 1
    assert fault.struck == 2


# --- the start -----------------------------------------------------------------------------------


@queue_handler
async def never(message: Message[str]) -> None:
    raise AssertionError("there is nothing to handle")


def refusal_at_start(transport: Any) -> Exception:
    async def run() -> None:
        from queue_runtime.hosts.poller import Poller
        from tests.hosts.poller.rig import settings_for

        try:
            await Poller(never, transport, settings=settings_for(never)).run()
        finally:
            await transport.aclose()

    with pytest.raises((QueueNotFoundError, AccessDeniedError)) as caught:
        asyncio.run(run())
    return caught.value


@pytest.mark.parametrize("path", ["nowhere", "nowhere?sessions=true", "news/nobody"])
def test_a_queue_that_is_not_there_ends_the_start(broker: ServiceBusBroker, path: str) -> None:
    broker.create_topic("news")
    error = refusal_at_start(opened(broker, path))
    assert isinstance(error, QueueNotFoundError)
    assert "create it" in str(error)
    assert path.partition("?")[0] in str(error)


@pytest.mark.parametrize(("path", "sessions"), [("carts?sessions=true", False), ("carts", True)])
def test_a_queue_of_the_other_kind_ends_the_start(
    broker: ServiceBusBroker, path: str, sessions: bool
) -> None:
    broker.create_queue("carts", requires_session=sessions)
    assert "sessions=true" in str(refusal_at_start(opened(broker, path)))


@pytest.mark.parametrize("path", ["orders", "carts?sessions=true"])
def test_a_key_that_may_not_listen_ends_the_start(broker: ServiceBusBroker, path: str) -> None:
    broker.create_queue("orders")
    broker.create_queue("carts", requires_session=True)
    error = refusal_at_start(opened(broker, path, broker.add_policy("writer", "Send")))
    assert isinstance(error, AccessDeniedError)
    assert "Listen" in str(error)
    assert "SharedAccessKey=" not in str(error)


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["orders", "carts?sessions=true"])
def test_a_shutdown_strands_nothing(broker: ServiceBusBroker, path: str) -> None:
    broker.create_queue("orders")
    broker.create_queue("carts", requires_session=True)
    name = path.partition("?")[0]
    group = "g" if name == "carts" else None
    started = asyncio.Event()

    @queue_handler
    async def handle(message: Message[str]) -> None:
        started.set()
        if message.body != "m0":
            await asyncio.Event().wait()  # until it is cancelled

    async def until_some_run(_poller: Poller) -> None:
        await started.wait()
        await happened(broker, Kind.COMPLETED)

    sent = texts(*(f"m{n}" for n in range(30)), group=group)
    transport = opened(broker, path)
    stats = polled(transport, handle, until_some_run, send=sent, **{"--drain-seconds": 0.1})
    assert stats.completed == 1
    assert stats.held == 0
    left = broker.messages(name)
    assert sorted(each.message_id for each in left) == sorted(f"m{n}" for n in range(1, 30))
    assert [each for each in left if each.locked] == []


# --- delays, and dead letters --------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
def test_a_delayed_retry_keeps_its_identity(broker: ServiceBusBroker, asked: bool) -> None:
    broker.create_queue("orders")
    seen: list[tuple[str, int, dict[str, Any]]] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        seen.append((message.id, message.delivery_count, dict(message.attributes)))
        if len(seen) == 1:
            raise Retry("later", after=60) if asked else ValueError("by accident")

    async def until_done(_poller: Poller) -> None:
        await happened(broker, Kind.SCHEDULED)
        await happened(broker, Kind.COMPLETED, message_id="m")
        (copy,) = broker.messages("orders")
        assert copy.state is MessageState.SCHEDULED
        broker.advance(61)
        await happened(broker, Kind.COMPLETED, 2)

    sent = [replace(texts("m")[0], attributes={"mine": 1})]
    transport = opened(broker, "orders", delayed_retries=True)
    polled(transport, handle, until_done, send=sent)
    assert seen == [("m", 1, {"mine": 1}), ("m", 2, {"mine": 1})]


def test_a_copy_that_cannot_be_sent_brings_the_original_back(broker: ServiceBusBroker) -> None:
    broker.create_queue("orders")
    seen: list[int] = []

    @queue_handler
    async def handle(message: Message[str]) -> None:
        seen.append(message.delivery_count)
        if len(seen) == 1:
            broker.fail(Point.SEND, Error(Condition.SERVER_BUSY))
            raise Retry("later", after=60)

    async def until_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED)

    polled(opened(broker, "orders"), handle, until_done, send=texts("m"))
    assert seen == [1, 2]
    assert len(broker.journal.events(Kind.ABANDONED)) == 1


def test_a_dead_letter_says_why(broker: ServiceBusBroker) -> None:
    broker.create_queue("orders")

    @queue_handler
    async def handle(message: Message[str]) -> None:
        raise DeadLetter("no such customer: " + "x" * 5000)

    async def until_done(_poller: Poller) -> None:
        await happened(broker, Kind.DEAD_LETTERED)

    polled(opened(broker, "orders"), handle, until_done, send=texts("m"))
    (entry,) = broker.messages("orders/$DeadLetterQueue")
    properties = {str(name): value for name, value in entry.application_properties.items()}
    assert properties["DeadLetterReason"].startswith("no such customer: xxx")
    assert len(properties["DeadLetterReason"]) == 4096
    facts = read_facts(properties["DeadLetterErrorDescription"])
    assert (facts["id"], facts["reason"][:5]) == ("m", "no su")


def test_a_session_is_counted_from_its_accept_until_it_is_let_go(
    broker: ServiceBusBroker,
) -> None:
    broker.create_queue("counted-sessions", requires_session=True)

    @queue_handler
    async def handle(message: Message[str]) -> None:
        if message.body == "lost":
            broker.lose_session("counted-sessions", "b")

    async def until_both_are_over(_poller: Poller) -> None:
        await happened(broker, Kind.SESSION_RELEASED)
        await happened(broker, Kind.SESSION_LOST)
        await until_true(lambda: _sessions("ABANDONED") == 1)

    def _sessions(what: str) -> float:
        counter: metrics.Counter = getattr(metrics, f"SESSIONS_{what}")
        return counter.values().get(("counted-sessions",), 0)

    sent = [*texts("good", group="a"), *texts("lost", group="b")]
    polled(opened(broker, "counted-sessions?sessions=true"), handle, until_both_are_over, send=sent)
    assert _sessions("COMPLETED") >= 1
    assert _sessions("ACCEPTED") == _sessions("COMPLETED") + _sessions("ABANDONED")
