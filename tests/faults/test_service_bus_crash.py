"""A poller on Service Bus is killed at any point: nothing is lost, and little is done twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from queue_runtime.clouds.azure import ServiceBusConnection
from queue_runtime.config import Secret
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.service_bus_address import read_address
from queue_runtime.transports.service_bus_transport import ServiceBusTransport
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.faults.service_bus_handler import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KILLS = 5
MESSAGES, GROUPS = 300, 6
LOCK_SECONDS = 5
PATIENCE_SECONDS = 45.0

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


class Line(NamedTuple):
    what: str
    id: str
    process: str
    group: str


@contextmanager
def broker() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.brokers.service_bus"]
    command += ["--queue", "orders", "--session-queue", "carts"]
    command += ["--lock-seconds", str(LOCK_SECONDS), "--latency-ms", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline())["connection_string"]
        process.terminate()


class Consumer:
    """`queue-runtime poll` in a process of its own, started anew whenever it was killed."""

    def __init__(self, url: str, connection_string: str, journal: Path) -> None:
        self._journal = journal
        self._command = [sys.executable, "-m", "queue_runtime.cli", "poll"]
        self._command += ["tests.faults.service_bus_handler:handle", "--queue", url, "--json"]
        self._environment = {
            **os.environ,
            "AZURE_SERVICE_BUS_CONNECTION_STRING": connection_string,
            JOURNAL: str(journal),
        }
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self._process.poll() is None, "it ended by itself"
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        self._process.terminate()
        return self._process.wait(PATIENCE_SECONDS)

    def wait_for(self, condition: Callable[[list[Line]], bool]) -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while not condition(lines(self._journal)):
            assert time.monotonic() < ends, "it made no progress"
            assert self._process.poll() is None, "it ended by itself"
            time.sleep(0.01)


def lines(journal: Path) -> list[Line]:
    if not journal.exists():
        return []
    return [Line(*text.split()) for text in journal.read_text().splitlines()]


def opened(url: str, connection_string: str) -> ServiceBusTransport:
    return ServiceBusTransport(read_address(url), ServiceBusConnection(Secret(connection_string)))


async def send(transport: ServiceBusTransport, ids: list[str], *, grouped: bool) -> None:
    messages = [
        OutgoingMessage(
            "{}", group_id=id.partition(".")[0] if grouped else None, deduplication_id=id
        )
        for id in ids
    ]
    assert not await transport.send(messages)
    await transport.aclose()


async def left(transport: ServiceBusTransport) -> int:
    depth = await transport.depth()
    await transport.aclose()
    return depth.total


@pytest.mark.soak  # half a minute of kills, whose locks end late on a machine that is busy
@pytest.mark.parametrize("url", ["servicebus:///orders", "servicebus:///carts?sessions=true"])
def test_kills_lose_nothing_and_repeat_little(url: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    ids = [f"{n % GROUPS}.{n:04}" for n in range(MESSAGES)]
    with broker() as connection_string:
        asyncio.run(send(opened(url, connection_string), ids, grouped="sessions" in url))
        consumer = Consumer(url, connection_string, journal)
        try:
            for _ in range(KILLS):
                before = len(lines(journal))
                consumer.wait_for(lambda found, before=before: len(found) >= before + 10)  # type: ignore[misc]
                time.sleep(random.random() * 0.1)  # to hit any point of its work, not to wait
                consumer.kill()
                consumer.start()
            consumer.wait_for(lambda found: done(found) == set(ids))
        finally:
            code = consumer.end()
        assert code == 0
        assert asyncio.run(left(opened(url, connection_string))) == 0
    collect_leaks()
    found = lines(journal)
    runs = Counter((line.id, line.process) for line in found if line.what == "run")
    # Each kill costs a message one delivery at the most: no process sees one twice.
    assert {run: count for run, count in runs.items() if count > 1} == {}
    assert len({process for _, process in runs}) == KILLS + 1
    if "sessions" in url:
        assert out_of_order(found) == []


def done(found: list[Line]) -> set[str]:
    return {line.id for line in found if line.what == "done"}


def out_of_order(found: list[Line]) -> list[str]:
    """Find runs of a message before an earlier one of its group was done."""
    finished: set[str] = set()
    wrong = []
    for line in found:
        if line.what == "done":
            finished.add(line.id)
            continue
        earlier = {f"{line.group}.{n:04}" for n in range(int(line.id[2:]))}
        of_group = {id for id in earlier if int(id[2:]) % GROUPS == int(line.group)}
        if not of_group <= finished:
            wrong.append(line.id)
    return wrong


def test_wrong_order_would_be_found() -> None:
    early, late = Line("done", "1.0001", "7", "1"), Line("run", "1.0007", "7", "1")
    assert out_of_order([late, early]) == ["1.0007"]
    assert out_of_order([early, late]) == []
