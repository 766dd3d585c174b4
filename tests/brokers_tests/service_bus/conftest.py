"""A broker and a client of each kind, shared by the tests of one worker."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.brokers.service_bus import Kind, ServiceBusBroker
from tests.brokers.service_bus.fixtures import certificate as certificate
from tests.brokers.service_bus.fixtures import managed_service_bus as managed_service_bus
from tests.brokers.service_bus.fixtures import service_bus as service_bus

from .bench import FLAVOURS, Bench, collect_leaks

if TYPE_CHECKING:
    from collections.abc import Iterator


SDK_FIXTURES = {"quiet_benches", "rough_benches"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK leaves sockets to the garbage collector, which may come at any time."""
    for item in items:
        if SDK_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture
def leaks_collected() -> Iterator[None]:
    """For tests that break connections."""
    yield
    collect_leaks()


@contextmanager
def opened() -> Iterator[dict[str, Bench]]:
    with ServiceBusBroker() as first, ServiceBusBroker() as second:
        benches = {"sync": Bench("sync", first), "aio": Bench("aio", second)}
        yield benches
        for bench in benches.values():
            bench.broker.faults.clear()
            bench.broker.set_latency(0)
            bench.close()
            assert bench.broker.journal.events(Kind.PROTOCOL_ERROR) == []


@pytest.fixture(scope="session")
def quiet_benches() -> Iterator[dict[str, Bench]]:
    with opened() as benches:
        yield benches


@pytest.fixture(scope="session")
def rough_benches() -> Iterator[dict[str, Bench]]:
    with opened() as benches:
        yield benches


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bench(flavour: str, quiet_benches: dict[str, Bench]) -> Bench:
    """Shared: a test makes its own queue and leaves time and other connections alone."""
    return quiet_benches[flavour]


@pytest.fixture
def rough_bench(flavour: str, rough_benches: dict[str, Bench]) -> Iterator[Bench]:
    """Shared too, but its time is moved and all its connections may be cut, slowed or closed."""
    yield rough_benches[flavour]
    rough_benches[flavour].broker.set_latency(0)
