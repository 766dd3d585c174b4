"""Runs the broker: a socket on loopback and an event loop on a daemon thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .hub import Hub

T = TypeVar("T")
_PATIENCE = 5.0


class Server:
    """Accepts connections until stopped; other threads reach the loop through `call` only."""

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self._hub = hub
        self._socket = socket.create_server((host, port))
        self._connections: set[Connection] = set()
        self._count = 0
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._all_gone = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="service-bus-broker", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Returns once connections are taken."""
        self._thread.start()
        if not self._started.wait(_PATIENCE):
            raise TimeoutError("the Service Bus broker's thread did not start")

    def stop(self) -> None:
        """Cuts all connections and returns once the thread is over."""
        if self._thread.is_alive():
            self.call(self._stopping.set)
            self._thread.join(_PATIENCE)
        self._socket.close()

    def call(self, function: Callable[[], T]) -> T:
        """Runs `function` on the loop's thread, lets its consequences happen, gives its result."""
        loop = self._hub.loop
        if loop is None or threading.current_thread() is self._thread:
            return function()
        future: Future[T] = Future()
        loop.call_soon_threadsafe(self._fulfil, future, function)
        return future.result(_PATIENCE)

    def drop_connections(self) -> int:
        """Cuts every connection at once, as a failing network does."""
        victims = list(self._connections)
        for connection in victims:
            connection.abort()
        return len(victims)

    def close_connections(self, condition: str, text: str) -> int:
        """Says Close to every client, as a service that restarts does."""
        victims = list(self._connections)
        for connection in victims:
            connection.close(condition, text)
        return len(victims)

    def detach_receivers(self, queue_name: str | None, condition: str, text: str) -> int:
        """Ends the receiving links of a queue, or of all."""
        connections = list(self._connections)
        return sum(one.detach_receivers(queue_name, condition, text) for one in connections)

    def _fulfil(self, future: Future[T], function: Callable[[], T]) -> None:
        try:
            result = function()
            self._hub.run()
        except BaseException as error:  # the caller's thread is where it belongs
            future.set_exception(error)
        else:
            future.set_result(result)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._hub.loop = loop = asyncio.get_running_loop()
        self._all_gone.set()
        server = await loop.create_server(self._connect, sock=self._socket)
        self._started.set()
        await self._stopping.wait()
        await self._finish_accepting()
        server.close()
        self.drop_connections()
        await self._all_gone.wait()
        self._hub.loop = None

    async def _finish_accepting(self) -> None:
        """A client taken from the backlog a moment ago has a socket, but no connection yet."""
        while accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*accepting, return_exceptions=True)

    def _connect(self) -> Connection:
        self._count += 1
        connection = Connection(self._hub, self._count, self._disconnected)
        self._connections.add(connection)
        self._all_gone.clear()
        return connection

    def _disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()
