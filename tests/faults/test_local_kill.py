"""Processes on one local queue are killed at any point: nothing is lost, no lock is broken."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from queue_runtime.outcome import ACK
from queue_runtime.testing.conformance.rig import steps
from tests.faults.forked import context
from tests.faults.local_processes import LOCK_SECONDS, consume, open_queue, produce

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

KILLS = 30
PRODUCERS, CONSUMERS = 2, 3


class Line(NamedTuple):
    what: str
    body: str
    lock: str
    consumer: str
    start: float
    lock_end: float


class Crowd:
    """The processes at work; one that is killed is started anew."""

    def __init__(self, url: str, folder: str) -> None:
        self._new = context().Process
        self._jobs: list[tuple[object, tuple[object, ...]]] = [
            *((produce, (url, folder, number)) for number in range(PRODUCERS)),
            *((consume, (url, folder)) for _ in range(CONSUMERS)),
        ]
        self.processes = [self._start(at) for at in range(len(self._jobs))]

    def _start(self, at: int) -> ForkServerProcess:
        target, arguments = self._jobs[at]
        process = self._new(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        process.start()
        return process

    def kill(self, at: int, *, restart: bool) -> None:
        process = self.processes[at]
        assert process.is_alive(), f"process {at} ended by itself with {process.exitcode}"
        process.kill()
        process.join()
        process.close()
        if restart:
            self.processes[at] = self._start(at)

    def kill_all(self) -> None:
        for at in range(len(self.processes)):
            self.kill(at, restart=False)


def lines(folder: Path) -> list[Line]:
    rows = (text.split() for text in (folder / "runs").read_text().splitlines())
    return [
        Line(what, body, lock, consumer, float(start), float(end))
        for what, body, lock, consumer, start, end in rows
    ]


def sent(folder: Path) -> set[str]:
    return set((folder / "sent").read_text().split())


@pytest.mark.parametrize("url", ["local://orders", "local://orders.fifo"])
def test_nothing_is_lost_and_no_lock_is_broken(url: str, tmp_path: Path) -> None:
    crowd = Crowd(url, str(tmp_path))
    try:
        for _ in range(KILLS):
            time.sleep(random.uniform(0.01, 0.2))  # to hit any point of their work, not to wait
            crowd.kill(random.randrange(len(crowd.processes)), restart=True)
    finally:
        crowd.kill_all()
    left = asyncio.run(drained(url, str(tmp_path)))
    journal = lines(tmp_path)
    acknowledged = {line.body for line in journal if line.what == "ack"}
    assert len(sent(tmp_path)) > 100
    assert len(acknowledged) > 100
    assert sent(tmp_path) <= acknowledged | left
    assert broken_locks(journal) == []
    if url.endswith(".fifo"):
        assert out_of_order(journal) == []
    with closing(sqlite3.connect(next(tmp_path.glob("*.sqlite3")))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def drained(url: str, folder: str) -> set[str]:
    """Take what is left: visible now, or when the locks of the killed have ended."""
    queue = open_queue(url, folder)
    bodies: set[str] = set()
    while (await queue.depth()).total:
        messages = await queue.receive(100, LOCK_SECONDS)
        bodies |= {message.body.decode() for message in messages}
        await queue.settle(steps(queue, [(message, ACK) for message in messages]))
    await queue.aclose()
    return bodies


def broken_locks(journal: list[Line]) -> list[tuple[Line, Line]]:
    """Find runs that began while another run's lock was alive and not given back."""
    broken = []
    last: dict[str, Line] = {}
    for line in journal:
        if line.what == "run":
            before = last.get(line.body)
            if before and line.start < before.lock_end:
                broken.append((before, line))
            last[line.body] = line
        elif line.what == "retry":
            last.pop(line.body, None)
    return broken


def out_of_order(journal: list[Line]) -> list[str]:
    """Find runs of a message before each earlier one of its group was done."""
    seen: dict[str, set[int]] = defaultdict(set)
    done: set[str] = set()
    wrong = []
    for line in journal:
        group, number = line.body.split(":")
        if line.what == "ack":
            done.add(line.body)
        elif line.what == "run":
            earlier = [each for each in seen[group] if each < int(number)]
            wrong += [line.body for each in earlier if f"{group}:{each}" not in done]
            seen[group].add(int(number))
    return wrong


def test_broken_lock_would_be_found() -> None:
    first = Line("run", "a:1", "1.1", "7", 100.0, 101.0)
    second = Line("run", "a:1", "1.2", "8", 100.5, 101.5)
    given_back = Line("retry", "a:1", "-", "7", 0, 0)
    assert broken_locks([first, second]) == [(first, second)]
    assert broken_locks([first, given_back, second]) == []


def test_wrong_order_would_be_found() -> None:
    first = Line("run", "a:1", "1.1", "7", 100.0, 101.0)
    second = Line("run", "a:2", "2.1", "8", 100.5, 101.5)
    done = Line("ack", "a:1", "-", "7", 0, 0)
    assert out_of_order([first, second]) == ["a:2"]
    assert out_of_order([first, done, second]) == []
