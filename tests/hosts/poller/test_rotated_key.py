"""A poller whose key changes at the service and in the store: nothing lost, and no restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import queue_handler
from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config.references import Found, Referenced
from queue_runtime.transports.base import refused
from queue_runtime.transports.service_bus.address import read_address
from queue_runtime.transports.service_bus.transport import ServiceBusTransport
from tests.brokers.service_bus import Kind, MessageState, ServiceBusBroker
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.hosts.poller.service_bus_rig import happened, polled, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.hosts.poller import Poller

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

POLICY = "RootManageSharedAccessKey"


class Store:
    """Keeps a connection string, which an operator replaces; time passes when it is told to."""

    def __init__(self, text: str) -> None:
        self.text, self.now, self.asked = text, 0.0, 0
        self.secret = Referenced("vault://secret/bus", self._read, lambda: self.now)

    def _read(self) -> Found:
        self.asked += 1
        return Found(self.text)


@pytest.fixture
def broker() -> Iterator[ServiceBusBroker]:
    with ServiceBusBroker() as running:
        yield running
    collect_leaks()


@pytest.fixture
def store(broker: ServiceBusBroker) -> Store:
    return Store(broker.connection_string)


def opened(store: Store, path: str) -> ServiceBusTransport:
    address = read_address(f"servicebus://broker/{path}")
    return ServiceBusTransport(address, ServiceBusConnection(store.secret))


async def _send(broker: ServiceBusBroker, path: str, *bodies: str, group: str | None) -> None:
    transport = opened(Store(broker.connection_string), path)
    try:
        assert not refused(await transport.send(texts(*bodies, group=group)))
    finally:
        await transport.aclose()


@pytest.mark.parametrize("path", ["orders", "carts?sessions=true"])
def test_a_new_key_is_taken_up_when_the_old_one_is_refused(
    broker: ServiceBusBroker, store: Store, path: str
) -> None:
    sessions = "sessions" in path
    broker.create_queue("carts" if sessions else "orders", requires_session=sessions)
    group = "g" if sessions else None
    done: list[str] = []

    @queue_handler
    async def handle(body: str) -> None:
        done.append(body)

    async def rotate(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 3)
        store.text = broker.add_policy(POLICY)
        store.now += 60.0
        broker.drop_connections()
        await _send(broker, path, "d", "e", group=group)
        await happened(broker, Kind.COMPLETED, 5)

    stats = polled(opened(store, path), handle, rotate, send=texts(*"abc", group=group))
    assert sorted(set(done)) == list("abcde")
    assert stats.completed >= 5
    assert broker.messages("carts" if sessions else "orders") == []
    assert store.secret.version == 2


def test_an_open_link_goes_on_with_the_old_key_and_the_store_is_not_asked(
    broker: ServiceBusBroker, store: Store
) -> None:
    broker.create_queue("orders")

    @queue_handler
    async def handle(body: str) -> None: ...

    async def rotate(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 1)
        store.text = broker.add_policy(POLICY)
        store.now += 53 * 60.0
        await _send(broker, "orders", "b", group=None)
        await happened(broker, Kind.COMPLETED, 2)

    polled(opened(store, "orders"), handle, rotate, send=texts("a"))
    assert store.asked == 1


def test_a_refresh_in_time_has_the_next_token_signed_with_the_new_key(
    broker: ServiceBusBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An hour in two seconds: a token is renewed on the open link when a tenth of it is left.
    from datetime import timedelta

    from azure.servicebus import _base_handler
    from azure.servicebus.aio import _base_handler_async as base

    real = _base_handler._generate_sas_token
    signed: list[str] = []

    def brief(uri: str, policy: str, key: str, expiry: Any = None) -> Any:
        signed.append(key)
        return real(uri, policy, key, timedelta(seconds=3))

    monkeypatch.setattr(base, "_generate_sas_token", brief)
    broker.create_queue("orders")

    @queue_handler
    async def handle(body: str) -> None: ...

    async def rotate(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 1)
        store.text = broker.add_policy(POLICY)
        store.now += 300.0
        await asyncio.to_thread(store.secret.refresh, 300.0)
        before = len(broker.journal.events(Kind.AUTHORIZED))
        await happened(broker, Kind.AUTHORIZED, before + 1)
        await _send(broker, "orders", "b", group=None)
        await happened(broker, Kind.COMPLETED, 2)

    polled(opened(store, "orders"), handle, rotate, send=texts("a"))
    assert not broker.journal.events(Kind.AUTHORIZATION_REFUSED)
    assert len(set(signed)) == 2


def test_a_sender_takes_up_the_new_key_and_no_message_is_lost(
    broker: ServiceBusBroker, store: Store
) -> None:
    broker.create_queue("orders")

    async def send() -> None:
        transport = opened(store, "orders")
        try:
            assert not refused(await transport.send(texts("a")))
            store.text = broker.add_policy(POLICY)
            store.now += 60.0
            broker.drop_connections()
            assert not refused(await transport.send(texts("b")))
        finally:
            await transport.aclose()

    asyncio.run(send())
    waiting = [m for m in broker.messages("orders") if m.state is MessageState.ACTIVE]
    assert len(waiting) == 2
    assert store.secret.version == 2


def test_a_key_that_is_wrong_in_the_store_too_stays_a_refusal(
    broker: ServiceBusBroker, store: Store
) -> None:
    from queue_runtime.errors import AccessDeniedError

    broker.create_queue("orders")

    async def receive() -> None:
        transport = opened(store, "orders")
        try:
            broker.add_policy(POLICY)
            store.now += 60.0
            with pytest.raises(AccessDeniedError) as caught:
                await transport.receive(1, 1.0)
            assert "SharedAccessKey=" not in str(caught.value)
        finally:
            await transport.aclose()

    asyncio.run(receive())
    assert store.asked == 2


def test_debug_and_trace_tell_connections_and_steps_and_no_line_shows_a_key(
    broker: ServiceBusBroker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_queue("orders")

    @queue_handler
    async def handle(body: str) -> None: ...

    async def rotate(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED, 1)
        store.text = broker.add_policy(POLICY)
        store.now += 60.0
        broker.drop_connections()
        await _send(broker, "orders", "b", group=None)
        await happened(broker, Kind.COMPLETED, 2)

    keys = [store.text.partition("SharedAccessKey=")[2].partition(";")[0]]
    with caplog.at_level("TRACE", "queue_runtime"):
        polled(opened(store, "orders"), handle, rotate, send=texts("a"))
    keys.append(store.text.partition("SharedAccessKey=")[2].partition(";")[0])
    lines = [record.getMessage() for record in caplog.records]
    assert "a connection of orders to 127.0.0.1 is made by key or signature" in lines
    assert "message a of orders is settled: acknowledge" in lines
    assert not any(key in line for key in keys for line in lines)
