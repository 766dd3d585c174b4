"""The Service Bus transport under the suite of all transports: a queue, and sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config import Secret
from queue_runtime.testing.conformance import TransportConformance
from queue_runtime.testing.conformance.order import OrderTests
from queue_runtime.transports.service_bus.address import DEAD_LETTER, read_address
from queue_runtime.transports.service_bus.receiver import LockClock
from queue_runtime.transports.service_bus.transport import ServiceBusTransport
from tests.brokers.service_bus.fixtures import certificate as certificate
from tests.brokers.service_bus.fixtures import managed_service_bus as managed_service_bus
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.conformance.features import SERVICE_BUS, SERVICE_BUS_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.testing.conformance.rig import Rig
    from queue_runtime.transports.base import Transport
    from tests.brokers.service_bus import ServiceBusBroker
else:
    Rig = object

LOCK_SECONDS = 100.0

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


class OnBroker(Rig):
    system = "servicebus"

    """The hooks, for a broker of each test's own: its clock moves."""

    @pytest.fixture(autouse=True)
    def broker(self, managed_service_bus: ServiceBusBroker) -> Iterator[None]:
        self.running = managed_service_bus
        yield
        collect_leaks()

    async def open_queue(self, *, ordered: bool) -> Transport:
        name = f"q-{uuid4().hex}"
        self.running.create_queue(
            name, requires_session=ordered, lock_duration=LOCK_SECONDS, duplicate_window=300
        )
        return self.open(name, ordered=ordered)

    async def open_again(self, transport: Transport) -> Transport:
        return self.open(transport.queue, ordered=transport.ordered)

    async def open_dead_letters(self, transport: Transport) -> Transport:
        return self.open(f"{transport.queue}/{DEAD_LETTER}")

    async def move_clock(self, seconds: float) -> None:
        self.running.advance(seconds)

    def open(self, path: str, *, ordered: bool = False) -> Transport:
        address = read_address(f"servicebus://broker/{path}?sessions={str(ordered).lower()}")
        connection = ServiceBusConnection(Secret(self.running.connection_string))
        clock = LockClock(lambda: datetime.fromtimestamp(self.running.clock.now(), UTC))
        return ServiceBusTransport(address, connection, delayed_retries=True, clock=clock)


class TestQueue(OnBroker, TransportConformance):
    features = SERVICE_BUS


class TestSessions(OnBroker, OrderTests):
    features = SERVICE_BUS_SESSIONS
