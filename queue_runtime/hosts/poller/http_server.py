"""A small HTTP server for probes, bounded in connections, time and memory whoever asks it."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# More than platforms probe with; beyond it, the connection that has waited longest is cut off.
MOST_CONNECTIONS: Final = 64
# For a request to come whole, and again for its answer to be made and taken.
LIFE_SECONDS: Final = 5.0
_LARGEST_REQUEST: Final = 8_192
_END_SECONDS: Final = 2.0

Answer = tuple[int, str, str]


class HttpServer:
    """Answers GET and HEAD on a thread and an event loop of its own; one request a connection.

    Nothing that a client does is logged, and no answer names a version.

    Args:
        port: 0 takes a free one.
        answer: gives status, content type and content for a path, on the server's loop.
        address: where to listen; None is every IPv4 and IPv6 address.

    Raises:
        SettingsError: the port or the address cannot be used.
    """

    def __init__(
        self, port: int, answer: Callable[[str], Awaitable[Answer]], address: str | None = None
    ) -> None:
        self._answer = answer
        self._socket = _listen(port, address)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._open: dict[asyncio.Task[None], None] = {}
        self._closing = asyncio.Event()
        started = Event()
        self._thread = Thread(
            target=self._run, args=(started,), name="queue-runtime-health", daemon=True
        )
        self._thread.start()
        started.wait()

    def close(self) -> None:
        """Stop answering."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self, started: Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(started))

    async def _serve(self, started: Event) -> None:
        server = await asyncio.start_server(
            self._connected, sock=self._socket, limit=_LARGEST_REQUEST, backlog=128
        )
        started.set()
        await self._closing.wait()
        server.close()
        if self._open:
            await asyncio.wait(list(self._open), timeout=_END_SECONDS)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream's callback runs in a task of its own
        if len(self._open) >= MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        self._open[task] = None
        try:
            async with asyncio.timeout(LIFE_SECONDS):
                method, path = _read_request(await reader.readuntil(b"\r\n\r\n"))
            async with asyncio.timeout(LIFE_SECONDS):
                writer.write(await self._reply(method, path))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (asyncio.CancelledError, Exception):  # noqa: S110 - a client that hangs up, or dawdles
            pass
        finally:
            self._open.pop(task, None)
            writer.transport.abort()

    async def _reply(self, method: str, path: str) -> bytes:
        status, content_type, text = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", ""
        if method in ("GET", "HEAD"):  # some load balancers ask with HEAD
            code, content_type, text = await self._answer(path)
            status = HTTPStatus(code)
        content = text.encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == "HEAD" else content)


def _read_request(head: bytes) -> tuple[str, str]:
    method, target, _version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    return method, target.partition("?")[0].rstrip("/")


def _listen(port: int, address: str | None) -> socket.socket:
    try:
        if address is not None:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.create_server((address, port), family=family)
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            except OSError:  # a machine whose kernel knows IPv6 and has it switched off
                pass
        return socket.create_server(("", port))
    except OSError as error:
        raise SettingsError(
            f"the health port {port} cannot be used ({error.strerror}): set another one with "
            "--health-port or QUEUE_HEALTH_PORT, or 0 for none; QUEUE_HEALTH_ADDRESS is where it "
            "listens"
        ) from None
