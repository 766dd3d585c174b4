"""Minutes at the in-flight limit: memory stays flat. `SOAK_SECONDS` shortens it."""

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
from queue_runtime.transports.base import OutgoingMessage

if TYPE_CHECKING:
    from queue_runtime.transports.base import Transport

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
BACKLOG = 2000


@queue_handler(max_deliveries=2)
async def handle(message: Message[bytes]) -> None:
    """Keep the poller full, and let some fail in each way."""
    await asyncio.sleep(0.001)
    if message.body == b"3":
        raise ValueError
    if message.body == b"7":
        raise DeadLetter("never")


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 60)
def test_memory_stays_flat(tmp_path: Path) -> None:
    asyncio.run(_soak(str(tmp_path)))


async def _soak(folder: str) -> None:
    settings = load_settings(
        environ={},
        arguments={"local_directory": folder, "in_flight": 200, "backoff_seconds": 0.01},
    )
    # In a file: a queue in memory would grow with its own dead-letters. And pytest keeps log lines.
    queue = open_transport("local://soak", settings=settings)
    logging.getLogger("queue_runtime").setLevel(logging.CRITICAL)
    poller = Poller(handle, queue, settings=settings)
    run = asyncio.create_task(poller.run())
    sizes: list[float] = []
    ends = monotonic() + SECONDS
    while monotonic() < ends:
        await _fill(queue)
        sizes.append(_resident_megabytes())
        await asyncio.sleep(SECONDS / 60)
    poller.stop()
    stats = await run
    await queue.aclose()
    warm, last = sizes[len(sizes) // 3 :], sizes[-5:]
    told = f"{stats.received:,} received; {warm[0]:.1f} MB when warm, {max(last):.1f} MB at the end"
    sys.stderr.write(told + "\n")
    assert stats.received > 1000
    assert max(last) < warm[0] * 1.10 + 5


async def _fill(queue: Transport) -> None:
    missing = BACKLOG - (await queue.depth()).total
    for start in range(0, max(missing, 0), 100):
        lot = range(start, min(start + 100, missing))
        await queue.send([OutgoingMessage(str(n % 20)) for n in lot])


def _resident_megabytes() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
