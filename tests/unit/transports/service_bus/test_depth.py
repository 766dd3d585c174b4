"""How much is in a Service Bus queue: what the service counts, and what is said where it does not.

The management API is asked by the real SDK, over HTTPS, on the broker's own port.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.clouds import azure
from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config import Secret
from queue_runtime.errors import MissingExtraError, QueueNotFoundError, TransportError
from queue_runtime.observability.events import events
from queue_runtime.outcome import Disposition, Outcome
from queue_runtime.testing.conformance.rig import steps
from queue_runtime.transports.base import Depth, OutgoingMessage, refused
from queue_runtime.transports.service_bus import depth as service_bus_depth
from queue_runtime.transports.service_bus.address import read_address
from queue_runtime.transports.service_bus.depth import MOST_MESSAGES, Counters
from queue_runtime.transports.service_bus.transport import ServiceBusTransport
from tests.brokers.service_bus import (
    Condition,
    Drop,
    Error,
    Ignore,
    Kind,
    Point,
    ServiceBusBroker,
)
from tests.brokers.service_bus.fixtures import certificate as certificate
from tests.brokers.service_bus.fixtures import managed_service_bus as managed_service_bus
from tests.brokers_tests.service_bus.bench import collect_leaks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

PATIENCE_SECONDS = 45.0
DEAD = Outcome(Disposition.DEAD_LETTER, reason="bad")
REFUSED = Error(Condition.UNAUTHORIZED)


@pytest.fixture
def broker(
    managed_service_bus: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServiceBusBroker]:
    monkeypatch.setattr(events, "_said", set())
    managed_service_bus.create_queue("orders")
    managed_service_bus.create_queue("carts", requires_session=True)
    yield managed_service_bus
    collect_leaks()


def opened(
    broker: ServiceBusBroker, path: str = "orders", connection_string: str | None = None
) -> ServiceBusTransport:
    connection = ServiceBusConnection(Secret(connection_string or broker.connection_string))
    return ServiceBusTransport(read_address(f"servicebus://b/{path}"), connection)


def run(transport: ServiceBusTransport, work: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        try:
            await work
        finally:
            await transport.aclose()

    asyncio.run(main())


def texts(count: int, **fields: Any) -> list[OutgoingMessage]:
    return [OutgoingMessage(body=str(n), **fields) for n in range(count)]


async def dead_letter_one(transport: ServiceBusTransport) -> None:
    (message,) = await transport.receive(1, PATIENCE_SECONDS)
    assert not await transport.settle(steps(transport, [(message, DEAD)]))


def requests(broker: ServiceBusBroker) -> list[str]:
    return [event.detail for event in broker.journal.events(Kind.ADMINISTRATION)]


# --- what the service counts ---------------------------------------------------------------------


def test_a_queue_is_counted_however_much_is_in_it(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert await transport.depth() == Depth(0, 0, 0, 0)
        assert not refused(await transport.send([*texts(1234), *texts(5, delay=600)]))
        await dead_letter_one(transport)
        (_locked,) = await transport.receive(1, PATIENCE_SECONDS)
        depth = await transport.depth()
        assert depth[:4] == (1233, 0, 5, 1)  # the locked one is active, as all that wait are
        assert depth.oldest_seconds is not None
        assert 0 <= depth.oldest_seconds < 60

    run(transport, work())
    assert requests(broker) == ["GET 200"] * 2


def test_a_subscription_is_counted_alone(broker: ServiceBusBroker) -> None:
    broker.create_topic("news")
    for name in ("all", "some"):
        broker.create_subscription("news", name)
    transport = opened(broker, "news/all")

    async def work() -> None:
        assert not refused(await transport.send([*texts(3), *texts(2, delay=600)]))
        await dead_letter_one(transport)
        # What is scheduled is the topic's, until it is due.
        assert (await transport.depth())[:4] == (2, 0, 0, 1)

    run(transport, work())


def test_with_sessions_it_is_messages_that_are_counted(broker: ServiceBusBroker) -> None:
    transport = opened(broker, "carts?sessions=true")

    async def work() -> None:
        for group in "abc":
            assert not refused(await transport.send(texts(3, group_id=group)))
        await dead_letter_one(transport)
        assert await transport.depth() == Depth(8, 0, 0, 1)

    run(transport, work())


@pytest.mark.parametrize("path", ["orders", "news/all"])
def test_dead_letters_as_a_queue_are_what_is_visible(broker: ServiceBusBroker, path: str) -> None:
    broker.create_topic("news")
    broker.create_subscription("news", "all")
    transport, aside = opened(broker, path), opened(broker, f"{path}/dead-letter")

    async def work() -> None:
        assert not refused(await transport.send(texts(3)))
        for _ in range(2):
            await dead_letter_one(transport)
        depth = await aside.depth()
        assert depth[:4] == (2, 0, 0, None)
        assert depth.oldest_seconds is not None
        await aside.aclose()

    run(transport, work())


def test_one_message_is_looked_at_for_the_age_unless_it_does_not_wait(
    broker: ServiceBusBroker,
) -> None:
    transport = opened(broker)

    async def looks() -> int:
        broker.journal.clear()
        await transport.depth()
        return len(broker.journal.events(Kind.MANAGEMENT))

    async def work() -> None:
        assert not refused(await transport.send(texts(1, delay=600)))
        assert await looks() == 1
        assert not refused(await transport.send(texts(3)))
        assert await looks() == 2
        assert (await transport.depth()).oldest_seconds is not None
        broker.advance(601)  # a message that falls due is a new one
        assert await looks() == 1

    run(transport, work())


def test_an_identity_asks_with_its_token(
    broker: ServiceBusBroker, certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.core.credentials import AccessToken

    class Identity:
        def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            assert scopes == ("https://servicebus.azure.net//.default",)
            return AccessToken("token", int(time.time()) + 3600)

    monkeypatch.setattr(azure, "identity", lambda _connection: Identity())
    with ServiceBusBroker(tls=certificate.context, check_tokens=False) as open_one:
        open_one.create_queue("orders")
        connection = ServiceBusConnection(namespace=f"127.0.0.1:{open_one.port}")
        counters = Counters(read_address("servicebus://b/orders"), connection)
        assert asyncio.run(counters.read()) == Depth(0, 0, 0, 0)
        counters.close()


# --- what is seen where it does not --------------------------------------------------------------


def test_without_the_right_some_are_seen_and_that_is_said_once(
    broker: ServiceBusBroker, caplog: pytest.LogCaptureFixture
) -> None:
    connection_string = broker.add_policy("poller", "Listen", "Send")
    transport = opened(broker, connection_string=connection_string)

    async def work() -> None:
        assert (await transport.depth()).total == 0
        assert not refused(await transport.send([*texts(2, delay=600), *texts(3)]))
        depth = await transport.depth()
        assert depth[:4] == (3, 0, 2, None)
        assert depth.oldest_seconds is not None
        assert not refused(await transport.send(texts(2 * MOST_MESSAGES)))
        assert (await transport.depth()).total == MOST_MESSAGES

    run(transport, work())
    assert requests(broker) == ["GET 401"]
    (warning,) = caplog.messages
    assert "Manage" in warning
    assert "Azure Service Bus Data Owner" in warning
    assert connection_string.split("SharedAccessKey=")[1].split(";")[0] not in caplog.text


def test_without_the_right_it_is_sessions_that_are_counted(broker: ServiceBusBroker) -> None:
    transport = opened(broker, "carts?sessions=true", broker.add_policy("poller", "Listen", "Send"))

    async def work() -> None:
        for group in "abc":
            assert not refused(await transport.send(texts(3, group_id=group)))
        assert await transport.depth() == Depth(3, 0, 0)

    run(transport, work())


def test_a_right_that_is_granted_shows_after_a_while(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = opened(broker)
    broker.fail(Point.ADMINISTRATION, REFUSED)

    async def work() -> None:
        assert not refused(await transport.send(texts(2 * MOST_MESSAGES)))
        assert (await transport.depth()).visible == MOST_MESSAGES
        later = time.monotonic() + service_bus_depth.PAUSE_SECONDS
        monkeypatch.setattr(service_bus_depth, "monotonic", lambda: later)
        assert (await transport.depth()).visible == 2 * MOST_MESSAGES

    run(transport, work())


def test_a_failure_that_may_pass_does_not_make_the_depth_shrink(broker: ServiceBusBroker) -> None:
    transport = opened(broker)

    async def work() -> None:
        assert not refused(await transport.send(texts(2 * MOST_MESSAGES)))
        await transport.depth()
        broker.fail(Point.ADMINISTRATION, Drop())
        with pytest.raises(TransportError, match="orders") as caught:
            await transport.depth()
        assert "SharedAccess" not in str(caught.value)
        assert (await transport.depth()).visible == 2 * MOST_MESSAGES
        broker.fail(Point.ADMINISTRATION, REFUSED)
        assert (await transport.depth()).visible == MOST_MESSAGES

    run(transport, work())


def test_a_topic_is_not_taken_for_an_empty_queue(broker: ServiceBusBroker) -> None:
    broker.create_topic("news")
    transport = opened(broker, "news?sessions=true")

    async def work() -> None:
        with pytest.raises(TransportError, match="news"):
            await transport.depth()

    run(transport, work())


def test_a_queue_that_is_missing_is_not_asked_for(broker: ServiceBusBroker) -> None:
    transport = opened(broker, "nowhere")

    async def work() -> None:
        with pytest.raises(QueueNotFoundError):
            await transport.depth()

    run(transport, work())
    assert requests(broker) == []


# --- who does not answer -------------------------------------------------------------------------


def read_at(port: int) -> Depth | None:
    text = (
        f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0;"
        "UseDevelopmentEmulator=true"
    )
    connection = ServiceBusConnection(Secret(text))
    counters = Counters(read_address("servicebus://b/orders"), connection)
    try:
        return asyncio.run(counters.read())
    finally:
        counters.close()


@pytest.mark.parametrize("listens", [True, False])
def test_a_port_that_is_silent_or_closed_holds_nobody_up(
    listens: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "_said", set())
    monkeypatch.setattr(service_bus_depth, "ANSWER_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        started = time.monotonic()
        assert read_at(port) is None
        assert time.monotonic() - started < PATIENCE_SECONDS
    assert "port 443" in caplog.text
    assert "c2VjcmV0" not in caplog.text


def test_a_request_that_hangs_is_given_up(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service_bus_depth, "ANSWER_SECONDS", 0.3)
    transport = opened(broker)
    fault = broker.fail(Point.ADMINISTRATION, Ignore(), times=None)

    async def work() -> None:
        assert not refused(await transport.send(texts(3)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            depths = await asyncio.gather(transport.depth(), transport.depth())
        assert [depth.visible for depth in depths] == [3, 3]

    run(transport, work())
    assert fault.struck == 1
    assert "no answer" in caplog.text


def test_a_request_that_hangs_does_not_hold_a_shutdown_up(
    broker: ServiceBusBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_bus_depth, "ANSWER_SECONDS", 10 * PATIENCE_SECONDS)
    transport = opened(broker)
    broker.fail(Point.ADMINISTRATION, Ignore(), times=None)

    async def work() -> None:
        asking = asyncio.create_task(transport.depth())
        await broker.journal.wait_for_async(Kind.FAULT, entity="orders")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await transport.aclose()
        with pytest.raises(TransportError, match="closed"):
            await asking

    run(transport, work())


def test_without_the_sdk_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.servicebus.management", None)
    with pytest.raises(MissingExtraError, match="azure"):
        azure.service_bus_management(ServiceBusConnection(namespace="ns"), seconds=1.0)
