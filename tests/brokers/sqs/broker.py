"""The broker as a context manager: a server on a thread, and the handles that tests turn."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.brokers.sqs import limits
from tests.brokers.sqs.account import Account, arn
from tests.brokers.sqs.api import Api, queue_path
from tests.brokers.sqs.clock import MovableClock
from tests.brokers.sqs.faults import Faults
from tests.brokers.sqs.http import Connection
from tests.brokers.sqs.journal import Journal
from tests.brokers.sqs.messages import Draft
from tests.brokers.sqs.polls import LongPolls
from tests.brokers.sqs.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.sqs.queues import Counts

Result = TypeVar("Result")

# The event loop makes a protocol of an accepted socket in a few turns.
_TURNS_TO_ACCEPT = 10


class SqsBroker:
    """SQS on loopback for any client of the JSON protocol; signatures are not looked at."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: MovableClock | None = None,
        in_flight_limit: int = limits.IN_FLIGHT,
        disorder: int = 0,
        seed: int = 0,
    ) -> None:
        self.clock = clock or MovableClock()
        self.journal = Journal()
        self.faults = Faults(seed)
        self.endpoint_url = ""
        self._address = host, port
        self._account = Account(
            self.clock,
            self.journal,
            in_flight_limit=in_flight_limit,
            disorder=disorder,
            seed=seed,
        )
        self._connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; `endpoint_url` is known when this returns."""
        started: list[BaseException | None] = []
        ready = threading.Event()

        def run() -> None:
            def report(error: BaseException | None) -> None:
                started.append(error)
                ready.set()

            asyncio.run(self._serve(report))

        self._thread = threading.Thread(target=run, name="sqs-broker", daemon=True)
        self._thread.start()
        ready.wait()
        if error := started[0]:
            self._thread.join()
            raise error

    def stop(self) -> None:
        """Hang up on every client and forget nothing: journal and counts stay readable."""
        if self._loop and self._stop and self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._loop = None

    async def _serve(self, report: Callable[[BaseException | None], None]) -> None:
        loop = asyncio.get_running_loop()
        self._loop, self._stop = loop, asyncio.Event()
        polls = LongPolls(loop, self.clock)
        # Not at once: the redrive happens inside a receive, whose waiter is not yet taken off.
        self._account.on_redrive = lambda queue: loop.call_soon(polls.serve, queue)
        forget = self.clock.on_jump(lambda: loop.call_soon_threadsafe(polls.serve_all))
        service: list[Service] = []
        try:
            server = await loop.create_server(
                lambda: Connection(service[0].respond, self._connections), *self._address
            )
        except OSError as error:
            forget()
            report(error)
            return
        host, port = server.sockets[0].getsockname()[:2]
        self.endpoint_url = f"http://{host}:{port}"
        api = Api(self._account, polls, self.faults, self.endpoint_url)
        service.append(Service(api, self.faults, self.journal, self.clock))
        report(None)
        await self._stop.wait()
        forget()
        await _close(server)
        polls.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """Close every connection before the loop ends, or a client would wait for an open one."""
        for connection in tuple(self._connections):
            connection.close()
        while self._connections:  # noqa: ASYNC110 - the loop itself has to turn
            await asyncio.sleep(0)

    def create_queue(self, name: str, **attributes: Any) -> str:
        """The URL of a new queue; attributes as AWS spells them, a RedrivePolicy may be a dict.

        A name that ends in .fifo makes a FIFO queue.
        """
        values = {key: _attribute_text(value) for key, value in attributes.items()}
        if name.endswith(".fifo"):
            values.setdefault("FifoQueue", "true")
        self._call(lambda: self._account.create(name, values))
        return f"{self.endpoint_url}{queue_path(name)}"

    def arn(self, name: str) -> str:
        return arn(name)

    def counts(self, name: str) -> Counts:
        """How many messages the queue holds now: visible, in flight, delayed."""
        return self._call(lambda: self._account.named(name).counts())

    def fill(self, name: str, count: int, body: str) -> None:
        """Put `count` messages of that body into a queue, each in a group of its own."""

        def send() -> None:
            queue = self._account.named(name)
            for number in range(count):
                queue.send(
                    Draft(body, group=f"group-{number}", deduplication_id=f"fill-{number}")
                    if queue.settings.fifo
                    else Draft(body)
                )

        self._call(send)

    def drop_connections(self) -> None:
        """Hang up on every client now, also in the middle of a long poll."""

        def drop() -> None:
            for connection in tuple(self._connections):
                connection.close()

        self._call(drop)

    def _call(self, work: Callable[[], Result]) -> Result:
        """Run on the broker's own thread, which is the only one that touches the queues."""
        if self._loop is None:
            return work()

        async def run() -> Result:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()


async def _close(server: asyncio.Server) -> None:
    """Stop listening, but not before what has been accepted has its protocol.

    asyncio forgets a socket, and leaves it open, whose server is closed in between.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(_TURNS_TO_ACCEPT):
        await asyncio.sleep(0)
    server.close()


def _attribute_text(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
