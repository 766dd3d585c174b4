"""The poller: its own cost for each message, and the local queue from end to end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks.paired import Figure
from queue_runtime import Message, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import Abilities, Depth, OutgoingMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queue_runtime import Handler
    from queue_runtime.config import Settings

COUNT: Final = 20_000
RUNS: Final = 5
BODY: Final = '{"id": "order-1", "amount": "12.50"}'


@queue_handler
async def on_loop(message: Message[bytes]) -> None:
    """Do nothing, on the event loop."""


@queue_handler
def on_threads(message: Message[bytes]) -> None:
    """Do nothing, on worker threads."""


class Free:
    """A queue that costs next to nothing, so that what is measured is the poller's own."""

    system, place, abilities = "free", None, Abilities()
    queue, ordered, lock_seconds, batch_size = "free", False, 60.0, 10

    def __init__(self, count: int) -> None:
        self.waiting = deque(Message.of(b"{}", id=str(n)) for n in range(count))

    async def receive(self, limit: int, _wait: float) -> Sequence[Message[Any]]:
        """Give what is there."""
        await asyncio.sleep(0)
        until = time.monotonic() + self.lock_seconds
        taken = [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        for message in taken:
            message.locked_until = until
        return taken

    async def settle(self, _settlements: Sequence[Any]) -> Sequence[Any]:
        """Take every outcome."""
        return ()

    async def renew(self, _messages: Sequence[Message[Any]]) -> Sequence[Any]:
        """Need no renewal."""
        return ()

    async def send(self, _messages: Sequence[Any]) -> Sequence[Any]:
        """Take nothing."""
        raise NotImplementedError

    async def depth(self) -> Depth:
        """Count what is left."""
        return Depth(len(self.waiting), 0, 0)

    async def aclose(self) -> None:
        """Have nothing to close."""


def figures() -> Iterator[Figure]:
    """Measure CPU a message of the poller alone, and messages a second of the local queue."""
    for handler, limit in ((on_loop, 5.0), (on_threads, 10.0)):
        name = handler.definition.name.rpartition(".")[2].replace("_", " ")
        pairs = [(_polled(handler), _direct(handler)) for _ in range(RUNS)]
        ours, direct = (median(column) for column in zip(*pairs, strict=True))
        title = f"poller over a direct call, {name} (CPU, the difference promised)"
        yield Figure(title, ours, direct, "us", ours - direct, limit)
    for handler in (on_loop, on_threads):
        name = handler.definition.name.rpartition(".")[2].replace("_", " ")
        rate = median(asyncio.run(_local(handler)) for _ in range(RUNS))
        title = f"local queue end to end, {name}, file"
        yield Figure(title, rate, None, "messages/s", rate, 5_000, at_least=True)


def _settings(folder: str = ".") -> Settings:
    return load_settings(environ={}, arguments={"local_directory": folder})


def _direct(handler: Handler[Any, Any]) -> float:
    async def loop() -> None:
        function = handler.definition.function
        while messages := await queue.receive(10, 0):
            for message in messages:
                result = function(message)
                if result is not None:
                    await result
            await queue.settle(messages)

    queue = Free(COUNT)
    started = time.process_time()
    asyncio.run(loop())
    return (time.process_time() - started) / COUNT * 1e6


def _polled(handler: Handler[Any, Any]) -> float:
    queue = Free(COUNT)
    started = time.process_time()
    stats = asyncio.run(_drain(handler, queue))
    spent = time.process_time() - started
    if stats != COUNT:
        raise SystemExit(f"{stats} of {COUNT} messages were completed")
    return spent / COUNT * 1e6


async def _drain(handler: Handler[Any, Any], queue: Any, folder: str = ".") -> int:
    poller = Poller(handler, queue, settings=_settings(folder))
    return (await poller.run(Until.EMPTY)).completed


async def _local(handler: Handler[Any, Any]) -> float:
    with TemporaryDirectory() as folder:
        queue = open_transport("local://q", settings=_settings(str(Path(folder))))
        for start in range(0, COUNT, 100):
            await queue.send([OutgoingMessage(body=BODY) for _ in range(start, start + 100)])
        started = time.perf_counter()
        done = await _drain(handler, queue, folder)
        took = time.perf_counter() - started
        await queue.aclose()
    return done / took
