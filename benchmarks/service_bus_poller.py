"""The poller on Service Bus against the loop of the SDK's samples, which completes one by one.

    python -m benchmarks service_bus_poller

Both consume from the in-process broker, run as a process of its own that answers 5 ms late; the
figure is messages a second of wall time with a handler that does nothing. Connecting, which takes
the SDK half a second, is left out of both.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.paired import Figure
from queue_runtime import Message, queue_handler
from queue_runtime.clouds.azure import ServiceBusConnection, service_bus_client
from queue_runtime.config import Secret, load_settings
from queue_runtime.hosts.poller import Poller
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.service_bus.address import read_address
from queue_runtime.transports.service_bus.transport import ServiceBusTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS: Final = 3
LATENCY_MS: Final = 5
OURS: Final = 6_000
THEIRS: Final = 400
BODY: Final = b"x" * 1024
LOT: Final = 100
LIMIT: Final = 15.0


@contextmanager
def broker() -> Iterator[str]:
    """Run the broker, and give its connection string."""
    command = [sys.executable, "-m", "tests.brokers.service_bus", "--queue", "q"]
    process = subprocess.Popen(
        [*command, "--latency-ms", str(LATENCY_MS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        line: dict[str, Any] = json.loads(process.stdout.readline())
        yield next(value for value in line.values() if "Endpoint=" in str(value))
    finally:
        process.terminate()
        process.wait()


def opened(connection_string: str) -> ServiceBusTransport:
    """Open our transport with its defaults."""
    connection = ServiceBusConnection(Secret(connection_string))
    return ServiceBusTransport(read_address("servicebus://broker/q"), connection)


async def fill(transport: ServiceBusTransport, count: int) -> None:
    """Send messages of 1 KiB."""
    for _ in range(count // LOT):
        assert not refused(await transport.send([OutgoingMessage(body=BODY)] * LOT))


class Tally:
    """Takes the time from the first message to the last."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._first = self._last = 0.0
        self.count = count
        self.done = asyncio.Event()

    def seen(self) -> None:
        """Count a message that is settled."""
        now = time.perf_counter()
        self._first = self._first or now
        self._last = now
        self._left -= 1
        if not self._left:
            self.done.set()

    def rate(self) -> float:
        """Give messages a second."""
        return (self.count - 1) / (self._last - self._first)


async def poll(connection_string: str, count: int) -> float:
    """Let the poller consume, with its default settings and an async handler."""

    @queue_handler
    async def handle(_message: Message[bytes]) -> None:
        """Do nothing."""

    transport = opened(connection_string)
    await fill(transport, count)
    tally = Tally(count)
    settings = load_settings(handle.definition.settings, environ={})
    poller = Poller(handle, transport, settings=settings, observe=lambda _m, _o: tally.seen())
    run = asyncio.create_task(poller.run())
    await tally.done.wait()
    poller.stop()
    await run
    await transport.aclose()
    return tally.rate()


async def complete_each(connection_string: str, count: int) -> float:
    """Receive a hundred and complete them one after the other, as the SDK's samples do."""
    transport = opened(connection_string)
    await fill(transport, count)
    await transport.aclose()
    tally = Tally(count)
    connection = ServiceBusConnection(Secret(connection_string))
    async with service_bus_client(connection) as client, client.get_queue_receiver("q") as receiver:
        while not tally.done.is_set():
            for message in await receiver.receive_messages(LOT, max_wait_time=5):
                await receiver.complete_message(message)
                tally.seen()
    return tally.rate()


def figures() -> list[Figure]:
    """Measure the poller and the loop in turn."""
    pairs = []
    with broker() as connection_string:
        for _ in range(ROUNDS):
            ours = asyncio.run(poll(connection_string, OURS))
            pairs.append((ours, asyncio.run(complete_each(connection_string, THEIRS))))
    ours, theirs = median(a for a, _ in pairs), median(b for _, b in pairs)
    name = f"poller on Service Bus at {LATENCY_MS} ms / complete-each loop"
    ratio = median(a / b for a, b in pairs)
    return [Figure(name, ours, theirs, "msgs/s", ratio, LIMIT, at_least=True)]
