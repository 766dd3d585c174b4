"""The Service Bus transport beyond what every transport does."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.clouds.azure import ServiceBusConnection, service_bus_client
from queue_runtime.config import Secret
from queue_runtime.errors import (
    AccessDeniedError,
    LockLostError,
    MessageTooLargeError,
    TransportError,
)
from queue_runtime.message import Message
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.testing.conformance.rig import acknowledged, steps
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.service_bus import settling as service_bus_settling
from queue_runtime.transports.service_bus.address import read_address
from queue_runtime.transports.service_bus.errors import translated
from queue_runtime.transports.service_bus.receiver import open_receiver
from queue_runtime.transports.service_bus.transport import ServiceBusTransport
from tests.brokers.service_bus import Clock, Ignore, Kind, LoseReply, Point, ServiceBusBroker
from tests.brokers_tests.service_bus.bench import collect_leaks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

PATIENCE_SECONDS = 45.0


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBusBroker]:
    monkeypatch.setattr(events, "_said", set())
    with ServiceBusBroker() as running:
        running.create_queue("orders")
        yield running
    collect_leaks()


def opened(broker: ServiceBusBroker, path: str = "orders") -> ServiceBusTransport:
    connection = ServiceBusConnection(Secret(broker.connection_string))
    return ServiceBusTransport(read_address(f"servicebus://b/{path}"), connection)


def run(transport: ServiceBusTransport, work: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        try:
            await work
        finally:
            await transport.aclose()

    asyncio.run(main())


def texts(*bodies: str) -> list[OutgoingMessage]:
    return [OutgoingMessage(body=body, deduplication_id=body) for body in bodies]


# --- receiving -----------------------------------------------------------------------------------


def test_settling_does_not_wait_for_a_receive_that_waits(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        names = [str(n) for n in range(5)]
        assert not refused(await transport.send(texts(*names)))
        messages: list[Any] = []
        while len(messages) < len(names):
            messages += await transport.receive(10, PATIENCE_SECONDS)
        waiting = asyncio.create_task(_receive(transport, 600))
        async with asyncio.timeout(PATIENCE_SECONDS):  # each would have to wait 5 seconds
            for message in messages:
                assert not await transport.settle(steps(transport, [(message, ACK)]))
            assert not refused(await transport.send(texts("last")))
            (last,) = await waiting
        assert (last.id, last.delivery_count) == ("last", 1)

    run(transport, work())


def test_a_connection_that_has_gone_silent_is_found_and_replaced(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_runtime.transports.service_bus.queue_receiver.RENEW_SECONDS", 0.5)
    transport = opened(broker)

    async def work() -> None:
        assert not await transport.receive(1, 0)
        monkeypatch.setattr(
            "queue_runtime.transports.service_bus.queue_receiver.PROBE_SECONDS", 0.0
        )
        broker.fail(Point.MANAGEMENT, Ignore())
        assert not refused(await transport.send(texts("a")))
        (message,) = await transport.receive(1, PATIENCE_SECONDS)
        assert (message.id, message.delivery_count) == ("a", 1)
        assert len(broker.journal.events(Kind.ATTACHED, entity="orders")) >= 3

    run(transport, work())


def test_one_link_that_cannot_be_opened_fails_its_own_messages_only(
    broker: ServiceBusBroker,
) -> None:
    transport = opened(broker, "orders?receivers=2")

    async def work() -> None:
        assert not refused(await transport.send(texts("a")))
        (good,) = await transport.receive(1, PATIENCE_SECONDS)
        other = next(each for each in transport._sources if each is not good.receipt.source)

        async def fail(*_: object) -> Any:
            raise TransportError("it cannot be opened")

        monkeypatch = pytest.MonkeyPatch()
        monkeypatch.setattr(other, "settle", fail)
        monkeypatch.setattr(other, "renew", fail)
        bad: Message[Any] = Message.of(b"", id="b")
        bad.receipt = SimpleNamespace(source=other)
        for failures in (
            await transport.renew([good, bad]),
            await transport.settle(steps(transport, [(bad, ACK), (good, ACK)])),
        ):
            assert [failure.message for failure in failures] == [bad]
        assert broker.journal.events(Kind.COMPLETED, message_id="a")

    run(transport, work())


def test_link_that_is_detached_is_replaced_within_a_receive(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert not await transport.receive(1, 0)
        waiting = asyncio.create_task(_receive(transport, PATIENCE_SECONDS))
        broker.detach_receivers("orders")
        await broker.journal.wait_for_async(Kind.ATTACHED, entity="orders", count=2)
        assert not refused(await transport.send(texts("a")))
        assert [message.id for message in await waiting] == ["a"]

    run(transport, work())


async def _receive(transport: ServiceBusTransport, wait: float) -> Any:
    return await transport.receive(10, wait)


def test_what_a_receive_asked_for_in_vain_is_not_locked_later(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert not refused(await transport.send(texts("a")))
        (first,) = await transport.receive(100, PATIENCE_SECONDS)
        assert not refused(await transport.send(texts("b")))
        # A round trip behind the end of the receive: what it had asked for has reached the broker.
        assert not await transport.settle(steps(transport, [(first, ACK)]))
        assert [each.locked for each in broker.messages("orders")] == [False]
        assert [event.message_id for event in broker.journal.events(Kind.DELIVERED)] == ["a"]

    run(transport, work())


def test_several_receivers(broker: ServiceBusBroker) -> None:
    transport = opened(broker, "orders?receivers=2")

    async def work() -> None:
        names = [str(n) for n in range(20)]
        waiting = [asyncio.create_task(_receive(transport, PATIENCE_SECONDS)) for _ in "ab"]
        await broker.journal.wait_for_async(Kind.ATTACHED, entity="orders", count=2)
        assert not refused(await transport.send(texts(*names)))
        messages = [message for lot in await asyncio.gather(*waiting) for message in lot]
        while len(messages) < len(names):
            messages += await transport.receive(10, PATIENCE_SECONDS)
        assert sorted(int(message.id) for message in messages) == list(range(20))
        assert not await transport.renew(messages)
        assert not await transport.settle(acknowledged(transport, messages))
        assert broker.messages("orders") == []

    run(transport, work())


def test_message_whose_lock_is_over_is_dropped_on_receipt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    late = Clock(lambda: time.time() - 3600)
    with ServiceBusBroker(clock=late, check_tokens=False) as broker:
        broker.create_queue("orders")
        transport = opened(broker)

        async def work() -> None:
            assert not refused(await transport.send(texts("stale")))
            assert list(await transport.receive(1, 0.5)) == []

        run(transport, work())
        assert [each.message_id for each in broker.journal.events(Kind.DELIVERED)] == ["stale"]
    collect_leaks()
    assert "its clock is ahead" in caplog.text


def test_subscription_and_dead_letters(broker: ServiceBusBroker) -> None:
    broker.create_topic("news")
    broker.create_subscription("news", "all")
    transport, aside = opened(broker, "news/all"), opened(broker, "news/all/dead-letter")

    async def work() -> None:
        assert not refused(await transport.send(texts("a")))
        (message,) = await transport.receive(1, PATIENCE_SECONDS)
        assert message.queue == "news/all"
        bad = Outcome(Disposition.DEAD_LETTER, reason="bad")
        assert not await transport.settle(steps(transport, [(message, bad)]))
        (entry,) = await aside.receive(1, PATIENCE_SECONDS)
        assert (entry.id, entry.queue, dict(entry.attributes)) == ("a", "news/all/dead-letter", {})
        assert entry.native.dead_letter_reason == "bad"
        assert not await aside.settle(steps(aside, [(entry, ACK)]))
        (result,) = await aside.send(texts("b"))
        assert "takes no messages" in str(result.error)
        await aside.aclose()

    run(transport, work())


# --- settling ------------------------------------------------------------------------------------


def test_settlement_that_is_never_answered(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_bus_settling, "SETTLE_SECONDS", 0.3)
    transport = opened(broker)

    async def work() -> None:
        assert not refused(await transport.send(texts("a", "b")))
        messages = list(await transport.receive(2, PATIENCE_SECONDS))
        broker.fail(Point.SETTLE, LoseReply(), operation="complete")
        (failure,) = await transport.settle(acknowledged(transport, messages))
        assert type(failure.error) is TransportError
        assert failure.message.id in str(failure.error)
        # It took place, which the next attempt cannot know: the lock has gone with the message.
        (again,) = await transport.settle(steps(transport, [(failure.message, ACK)]))
        assert isinstance(again.error, LockLostError)
        assert broker.messages("orders") == []

    run(transport, work())


@pytest.mark.parametrize("disposition", list(Disposition))
def test_messages_of_a_connection_that_is_gone(
    broker: ServiceBusBroker, disposition: Disposition
) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert not refused(await transport.send(texts("a")))
        (message,) = await transport.receive(1, PATIENCE_SECONDS)
        broker.drop_connections()
        outcome = Outcome(disposition, reason="why")
        failures = await transport.settle(steps(transport, [(message, outcome)]))
        if failures:  # noticed only by this attempt: the next one has a new connection
            assert not isinstance(failures[0].error, LockLostError)
            assert not await transport.settle(steps(transport, [(message, outcome)]))
        kinds = {
            Disposition.ACK: Kind.COMPLETED,
            Disposition.RETRY: Kind.ABANDONED,
            Disposition.DEAD_LETTER: Kind.DEAD_LETTERED,
        }
        assert len(broker.journal.events(kinds[disposition])) == 1

    run(transport, work())


def test_messages_of_two_connections_are_settled_together(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        messages: list[Any] = []
        for lot in (("a", "b", "c"), ("d", "e", "f")):  # each connection counts from 0
            broker.drop_connections()
            assert not refused(await transport.send(texts(*lot)))
            got = len(messages)
            while len(messages) < got + len(lot):
                messages += await transport.receive(10, PATIENCE_SECONDS)
        assert not await transport.settle(acknowledged(transport, reversed(messages)))
        assert broker.messages("orders") == []

    run(transport, work())


def test_renewal_goes_on_over_the_next_connection(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert not refused(await transport.send(texts("a")))
        (message,) = await transport.receive(1, PATIENCE_SECONDS)
        until = message.locked_until
        broker.detach_receivers("orders")
        failures = await transport.renew([message])
        if failures:
            assert type(failures[0].error) is TransportError
            assert not await transport.renew([message])
        assert message.locked_until > until

    run(transport, work())


# --- sending and counting ------------------------------------------------------------------------


def test_messages_go_in_as_many_batches_as_their_size_needs(broker: ServiceBusBroker) -> None:
    broker.create_queue("small", max_message_bytes=300_000)
    transport = opened(broker, "small")

    async def work() -> None:
        sizes = [100_000, 100_000, 400_000, 100_000, 10]
        results = await transport.send([OutgoingMessage(body=b"x" * size) for size in sizes])
        errors = refused(results)
        assert list(errors) == [2]
        assert isinstance(errors[2], MessageTooLargeError)
        stored = [len(each.body) for each in broker.messages("small")]
        assert stored == [100_000, 100_000, 100_000, 10]

    run(transport, work())


def test_depth_counts_what_can_be_peeked_at(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert (await transport.depth()).total == 0
        later = OutgoingMessage(body="later", delay=600)
        assert not refused(await transport.send([*texts("a", "b", "c"), later]))
        (_locked,) = await transport.receive(1, PATIENCE_SECONDS)
        depth = await transport.depth()
        assert (depth.visible, depth.in_flight, depth.delayed, depth.total) == (3, 0, 1, 4)
        assert depth.dead_lettered is None
        assert depth.oldest_seconds is not None
        assert 0 <= depth.oldest_seconds < 60

    run(transport, work())


def test_depth_of_sessions_counts_sessions(broker: ServiceBusBroker) -> None:
    broker.create_queue("carts", requires_session=True)
    transport = opened(broker, "carts?sessions=true")

    async def work() -> None:
        assert (await transport.depth()).total == 0
        sent = [OutgoingMessage(body=str(n), group_id=f"g{n % 3}") for n in range(9)]
        assert not refused(await transport.send(sent))
        assert (await transport.depth()).total == 3

    run(transport, work())


# --- the SDK -------------------------------------------------------------------------------------


def test_peer_that_accepts_and_stays_silent(broker: ServiceBusBroker) -> None:
    broker.fail(Point.CONNECT, Ignore(), times=None)
    connection = ServiceBusConnection(Secret(broker.connection_string))

    async def work() -> None:
        async with service_bus_client(connection, seconds=60) as client:
            with pytest.raises(TransportError, match="orders"):
                await open_receiver(client.get_queue_receiver("orders"), "orders", 0.3)

    asyncio.run(work())


def test_identity_that_cannot_sign_in() -> None:
    from azure.core.exceptions import ClientAuthenticationError

    error = translated(ClientAuthenticationError("SharedAccessKey=c2VjcmV0 is wrong"), "orders")
    assert isinstance(error, AccessDeniedError)
    assert "Data Receiver" in str(error)
    assert "c2VjcmV0" not in str(error)


def test_a_send_without_a_session_is_told_what_it_lacks() -> None:
    error = translated(ValueError("Error condition: amqp:not-allowed"), "carts", sending=True)
    assert type(error) is TransportError
    assert "--group-id" in str(error)


def test_a_namespace_that_is_not_reached_says_what_to_look_at() -> None:
    from azure.servicebus.exceptions import ServiceBusConnectionError

    error = translated(ServiceBusConnectionError(message="Name or service not known"), "orders")
    assert type(error) is TransportError
    assert str(error).startswith("orders: ServiceBusConnectionError: Name or service not known")
    assert "port 5671" in str(error)
