"""Just enough of HTTP/1.1 for an SDK: a parser without I/O and the connection that feeds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HEAD_BYTES = 32 * 1024
# A message of 1 MiB grows at most threefold as JSON text; attributes and handles come on top.
BODY_BYTES = 4 * 1024 * 1024
_READ_AHEAD = HEAD_BYTES + BODY_BYTES

_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 411: "Length Required", 413: "Content Too Large",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    501: "Not Implemented", 503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip


class Request(NamedTuple):
    """One whole request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class HttpError(Exception):
    """The bytes are no request that can be read; the connection cannot go on after it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestParser:
    """Takes bytes as they come and gives whole requests; holds one head and one body at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._head: tuple[str, str, dict[str, str], bool] | None = None
        self._length = 0
        self.wants_continue = False  # the client waits for leave to send its body

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_request(self) -> Request | None:
        """The next whole request, or None until more bytes have come."""
        if self._head is None and not self._read_head():
            return None
        if len(self._buffer) < self._length or self._head is None:
            return None
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        method, path, headers, keep_alive = self._head
        self._head = None
        self.wants_continue = False
        return Request(method, path, headers, body, keep_alive)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3), HEAD_BYTES)
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) >= HEAD_BYTES:
                raise HttpError(431, "the request's head is too large")
            return False
        text = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        self._searched = 0
        start, *lines = text.split("\r\n")
        headers = _headers(lines)
        method, path, version = _start_line(start)
        self._length = _body_length(headers)
        connection = headers.get("connection", "").lower()
        keep_alive = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"
        self.wants_continue = headers.get("expect", "").lower() == "100-continue"
        self._head = method, path, headers, keep_alive
        return True


def _start_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not all(parts) or not parts[0].isalpha():
        raise HttpError(400, "the request line is malformed")
    if parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "only HTTP/1.1 is spoken here")
    return parts[0], parts[1], parts[2]


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise HttpError(400, "a header line is malformed")
        headers[name.lower()] = value.strip()
    return headers


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise HttpError(501, "send the body with a Content-Length")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise HttpError(400, "Content-Length is no number")
    if len(text) > 10 or int(text) > BODY_BYTES:
        raise HttpError(413, "the request's body is too large")
    return int(text)


class Response(NamedTuple):
    """A reply to be framed; `headers` are whole lines, each with its end."""

    status: int
    body: bytes
    headers: str = ""

    def encode(self, *, keep_alive: bool) -> bytes:
        closing = "" if keep_alive else "Connection: close\r\n"
        head = (
            f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Error')}\r\n"
            f"{self.headers}{closing}Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class Connection(asyncio.Protocol):
    """Answers one client's requests in order; a reply of None means to hang up."""

    def __init__(
        self,
        respond: Callable[[Request], Response | Awaitable[Response | None] | None],
        connections: set[Connection],
    ) -> None:
        self._respond = respond
        self._connections = connections
        self._parser = RequestParser()
        self._transport: asyncio.Transport | None = None
        self._pending: asyncio.Future[Response | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        if self._pending:
            self._pending.cancel()

    def close(self) -> None:
        """Hang up at once, whatever is still to be sent."""
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        if not self._pending:
            self._proceed()
        elif self._parser.buffered > _READ_AHEAD and self._transport:
            self._transport.pause_reading()

    def _proceed(self) -> None:
        while self._transport and not self._transport.is_closing() and not self._pending:
            try:
                request = self._parser.next_request()
            except HttpError as error:
                body = f'{{"message":"{error}"}}'.encode()
                self._send(Response(error.status, body), keep_alive=False)
                return
            if request is None:
                if self._parser.wants_continue:
                    self._parser.wants_continue = False
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._answer(request)

    def _answer(self, request: Request) -> None:
        response = self._respond(request)
        if response is None or isinstance(response, Response):
            self._send(response, keep_alive=request.keep_alive)
        else:
            self._pending = asyncio.ensure_future(response)
            self._pending.add_done_callback(lambda done: self._answer_late(request, done))

    def _answer_late(self, request: Request, done: asyncio.Future[Response | None]) -> None:
        self._pending = None
        if done.cancelled():
            return
        if done.exception():  # a client that waits for a reply must not wait for ever
            self.close()
        self._send(done.result(), keep_alive=request.keep_alive)
        if self._transport:
            self._transport.resume_reading()
        self._proceed()

    def _send(self, response: Response | None, *, keep_alive: bool) -> None:
        if self._transport is None:
            return
        if response is None:
            self._transport.abort()
            return
        self._transport.write(response.encode(keep_alive=keep_alive))
        if not keep_alive:
            self._transport.close()
