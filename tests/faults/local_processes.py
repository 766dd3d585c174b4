"""Processes to be killed: they send to and consume from one local queue, and write down all."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.testing.conformance.rig import steps
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport

LOCK_SECONDS = 0.8
AGAIN = Outcome(Disposition.RETRY, delay=0)


def open_queue(url: str, folder: str) -> LocalTransport:
    return LocalTransport(read_address(url, folder), lock_seconds=LOCK_SECONDS)


class Journal:
    """A file to which each line is one write, so that a killed process leaves no half of one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *lines: str) -> None:
        os.write(self._file, "".join(f"{line}\n" for line in lines).encode())


def produce(url: str, folder: str, producer: int) -> None:
    asyncio.run(_produce(open_queue(url, folder), Journal(Path(folder) / "sent"), producer))


async def _produce(queue: LocalTransport, journal: Journal, producer: int) -> None:
    while True:
        # Later sends have higher numbers, also those of a producer that was started again.
        bodies = [f"{producer}-{number}:{time.time_ns()}" for number in range(6)]
        messages = [OutgoingMessage(body=body, group_id=body.split(":")[0]) for body in bodies]
        assert not refused(await queue.send(messages))
        journal.write(*bodies)
        await asyncio.sleep(0.01)


def consume(url: str, folder: str) -> None:
    asyncio.run(_consume(open_queue(url, folder), Journal(Path(folder) / "runs"), os.getpid()))


async def _consume(queue: LocalTransport, journal: Journal, consumer: int) -> None:
    while True:
        settlements = []
        for message in await queue.receive(10, 1.0):
            left = message.locked_until - time.monotonic()
            if left <= 0:
                break
            body = message.body.decode()
            lock = f"{message.receipt[0]}.{message.receipt[1]}"
            now = time.time()
            journal.write(f"run {body} {lock} {consumer} {now:.6f} {now + left:.6f}")
            if random.random() < 0.5:
                await asyncio.sleep(random.random() * 0.004)
            outcome = AGAIN if random.random() < 0.1 else ACK
            settlements.append((message, outcome))
            journal.write(f"{outcome.disposition} {body} - {consumer} 0 0")
            if outcome is AGAIN:
                break  # what follows of its group may not be done before it
        await queue.settle(steps(queue, settlements))
