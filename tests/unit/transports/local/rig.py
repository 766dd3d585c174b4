"""Opens local queues for tests: with a clock that they move, closed at the end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport
from tests.movable_clock import MovableClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from queue_runtime.transports.local.queue import Clock


@asynccontextmanager
async def opened(
    url: str, folder: Path, clock: Clock | None = None, **options: Any
) -> AsyncIterator[LocalTransport]:
    address = read_address(url, str(folder))
    transport = LocalTransport(address, clock=clock or MovableClock(), **options)
    try:
        yield transport
    finally:
        await transport.aclose()


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Let the loop run until something is so; a test that waits in vain is ended by its timeout."""
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        await asyncio.sleep(0.001)
