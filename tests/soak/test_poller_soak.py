"""Minutes at the in-flight limit, among faults: nothing is lost, nothing grows, nothing stalls.

`SOAK_SECONDS` shortens it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from queue_runtime import DeadLetter, Message, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.poller import Poller
from queue_runtime.transports import open_transport
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.soak.local_service import LocalService
from tests.soak.service import apart, number_of, process_for
from tests.soak.service_bus_service import ServiceBusService, SessionsService
from tests.soak.sqs_service import SqsService

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.definition import Handles
    from tests.soak.service import Service

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
LOOK_SECONDS = max(5.0, SECONDS / 60)
TROUBLE_SECONDS = 2.0
LAST_SECONDS = 60.0
BACKLOG, IN_FLIGHT = 2000, 200
MOST = int(SECONDS * 10_000)
# Those that fail each time, and those that are put aside at once, of so many.
FAILING, REFUSED, OF = 3, 7, 200
# What is received while something is settled, and what is about to be forgotten.
MESSAGES_BESIDES = 200

SERVICES: dict[str, Callable[..., Service]] = {
    "local": LocalService,
    "sqs": SqsService,
    "service bus": ServiceBusService,
    "sessions": SessionsService,
}


class Soak:
    """One run: what was sent, what ran, and how large the process was."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sent = self.costs = self.most_held = self.most_messages = 0
        self.runs = bytearray(b"\0") * MOST  # as large now as it will ever be
        self.sizes: list[float] = []
        self.progress: list[int] = []
        settings = load_settings(
            environ=service.environment(),
            arguments={"in_flight": IN_FLIGHT, "backoff_seconds": 0.01},
        )
        handler = self._handler()
        self.transport = open_transport(service.url(), settings=settings)
        self.poller = Poller(handler, self.transport, settings=settings)
        self._trouble_at = 0.0

    def _handler(self) -> Handles:
        @queue_handler(max_deliveries=2)
        async def handle(message: Message[bytes]) -> None:
            await asyncio.sleep(0.001)
            self.most_held = max(self.most_held, self.poller.stats.held)
            number = number_of(message.body)
            self.runs[number] = min(self.runs[number] + 1, 255)
            if number % OF == FAILING:
                raise ValueError
            if number % OF == REFUSED:
                raise DeadLetter("never")

        return handle

    async def run(self) -> None:
        ends = monotonic() + SECONDS
        polling = asyncio.create_task(self.poller.run())
        while monotonic() < ends:
            await self._interval()
        await asyncio.to_thread(self.service.heal)
        async with asyncio.timeout(LAST_SECONDS):
            while await asyncio.to_thread(self.service.left):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.1)
        self.poller.stop()
        await polling
        await self.transport.aclose()

    async def _interval(self) -> None:
        ends, before = monotonic() + LOOK_SECONDS, self.poller.stats.completed
        while monotonic() < ends:
            await asyncio.to_thread(self._fill)
            if monotonic() > self._trouble_at:
                self._trouble_at = monotonic() + TROUBLE_SECONDS
                self.costs += await asyncio.to_thread(self.service.trouble)
            await asyncio.sleep(0.1)
        self.progress.append(self.poller.stats.completed - before)
        self.sizes.append(resident_megabytes())
        self.most_messages = max(self.most_messages, live_messages())

    def _fill(self) -> None:
        missing = BACKLOG - self.service.left()
        if missing > 0 and self.sent + missing <= MOST:
            self.service.fill(range(self.sent, self.sent + missing))
            self.sent += missing

    def repeated(self) -> int:
        """Count the deliveries beyond each message's first that no retry was the reason for."""
        stats, all_of_them = self.poller.stats, self.service.deliveries()
        deliveries = stats.received if all_of_them is None else all_of_them
        return deliveries - self.sent - stats.retried - stats.returned


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 120)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDKs leave sockets to the collector
@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_lost_grows_or_stalls(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps what is logged, with each error's frames and all that they hold.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    kind, arguments = SERVICES[name], [str(tmp_path)] if name == "local" else []
    with process_for(kind) as process:
        service = apart(process, kind, *arguments)
        for variable, value in service.environment().items():
            monkeypatch.setenv(variable, value)
        soak = asyncio.run(soaked(service))
        collect_leaks()
        sys.stderr.write(told(name, soak))
        assert_sound(soak)


async def soaked(service: Service) -> Soak:
    soak = Soak(service)
    await soak.run()
    return soak


def assert_sound(soak: Soak) -> None:
    stats = soak.poller.stats
    assert all(soak.runs[: soak.sent]), "a message never ran"
    doomed = sum(number % OF in (FAILING, REFUSED) for number in range(soak.sent))
    assert soak.service.dead() >= doomed  # a dead letter whose answer was lost is there twice
    assert stats.completed + stats.dead_lettered >= soak.sent - stats.lost
    assert soak.repeated() <= soak.costs
    assert min(soak.progress) > 0, soak.progress
    assert soak.most_held <= IN_FLIGHT
    assert soak.most_messages <= IN_FLIGHT + MESSAGES_BESIDES
    warm, last = soak.sizes[len(soak.sizes) // 3], max(soak.sizes[-3:])
    assert last < warm * 1.10 + 5


def told(name: str, soak: Soak) -> str:
    warm, last = soak.sizes[len(soak.sizes) // 3], max(soak.sizes[-3:])
    return (
        f"\n{name}: {soak.sent:,} messages; {warm:.1f} MB when warm, {last:.1f} MB at the end; "
        f"{soak.service.faults():,} faults, which might have cost {soak.costs:,} deliveries and "
        f"cost {soak.repeated():,}; at most {soak.most_held} held and {soak.most_messages} in "
        f"memory; {min(soak.progress):,} to {max(soak.progress):,} done in {LOOK_SECONDS:.0f} s; "
        f"{soak.poller.stats.as_dict()}\n"
    )


def live_messages() -> int:
    return sum(isinstance(each, Message) for each in gc.get_objects())


def resident_megabytes() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
