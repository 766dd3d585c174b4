"""Carries the SDK's signed requests over sockets that another thread can hang up.

The SDK's own way through urllib3 has no such thing, and costs half of a request's CPU. What is sent
and what an answer means stays the SDK's affair.
"""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

from botocore import exceptions
from botocore.awsrequest import AWSResponse
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_LINE: Final = 65_536
_MOST_HEADERS: Final = 200
# What lies between may forget a connection that is idle, and tell nobody: the next request would
# then cost a whole read timeout.
_LONGEST_IDLE: Final = 20.0
_PORTS: Final = {"http": 80, "https": 443}


class DirectHttp:
    """One kept connection for each thread that sends.

    Args:
        ca_bundle: certificates to trust; None takes the SDK's.
        connect_timeout: seconds.
        read_timeout: seconds for each piece of an answer.
    """

    def __init__(
        self, *, ca_bundle: str | None, connect_timeout: float, read_timeout: float
    ) -> None:
        self._ca_bundle = ca_bundle
        self._timeouts = connect_timeout, read_timeout
        self._tls: ssl.SSLContext | None = None
        self._connections: dict[int, _Connection] = {}
        self._retired = False
        self._hung_up: set[int] = set()

    def attach(self, client: Any) -> None:
        """Carry a client's requests, unless they have to go through a proxy."""
        if not get_environ_proxies(client.meta.endpoint_url):
            client.meta.events.register("before-send.sqs", self.send)

    def send(self, request: Any, **_: object) -> AWSResponse:
        """Send one request, which is what the SDK's event `before-send` lets a handler do.

        Raises:
            HTTPClientError: of the SDK: there was no answer.
        """
        url = request.url
        self._hung_up.discard(get_ident())
        connection = self._connection(urlsplit(url))
        connection.busy = True
        try:
            status, headers, body = connection.exchange(request)
        except TimeoutError as error:
            self._drop()
            self._expire_idle()
            raise exceptions.ReadTimeoutError(endpoint_url=url, error=error) from error
        except (OSError, ValueError) as error:
            self._drop()
            raise exceptions.ConnectionClosedError(endpoint_url=url, error=error) from error
        connection.busy = False
        if self._retired:
            self._drop()
        return AWSResponse(url, status, headers, _Body(body))  # type: ignore[arg-type]  # any mapping

    def interrupt(self, thread: int, *, politely: bool) -> None:
        """Hang up on a thread's request.

        Politely means that we say no more and go on listening: an answer that is on its way still
        arrives, with messages that would stay locked else.
        """
        self._hung_up.add(thread)  # for one that is only being connected
        connection = self._connections.get(thread)
        if connection is not None:
            connection.hang_up(socket.SHUT_WR if politely else socket.SHUT_RDWR)

    def retire(self) -> bool:
        """Close each connection as soon as it is idle; tells whether all are."""
        self._retired = True
        for thread, connection in list(self._connections.items()):
            if not connection.busy:
                self._connections.pop(thread, None)
                connection.close()
        return not self._connections

    def close(self) -> None:
        """Close all connections now."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _connection(self, url: SplitResult) -> _Connection:
        thread = get_ident()
        connection = self._connections.get(thread)
        if connection is not None and connection.usable(url.netloc):
            return connection
        self._drop()
        connection = self._connect(url)
        if thread in self._hung_up:
            connection.close()
            raise exceptions.ConnectionClosedError(endpoint_url=url.geturl())
        self._connections[thread] = connection
        return connection

    def _connect(self, url: SplitResult) -> _Connection:
        address = (url.hostname or "", url.port or _PORTS[url.scheme])
        connect_timeout, read_timeout = self._timeouts
        try:
            sock = socket.create_connection(address, connect_timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if url.scheme == "https":
                sock = self._context().wrap_socket(sock, server_hostname=url.hostname)
        except ssl.SSLError as error:
            raise exceptions.SSLError(endpoint_url=url.geturl(), error=error) from error
        except TimeoutError as error:
            raise exceptions.ConnectTimeoutError(endpoint_url=url.geturl(), error=error) from error
        except OSError as error:
            raise exceptions.EndpointConnectionError(
                endpoint_url=url.geturl(), error=error
            ) from error
        sock.settimeout(read_timeout)
        return _Connection(sock, url.netloc)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_bundle or get_cert_path(True))
        return self._tls

    def _expire_idle(self) -> None:
        """Use none of those again that waited beside one that turned out to be forgotten."""
        for connection in list(self._connections.values()):
            if not connection.busy:
                connection.expired = True

    def _drop(self) -> None:
        connection = self._connections.pop(get_ident(), None)
        if connection is not None:
            connection.close()


class _Connection:
    """A socket, and how far one exchange after another has come on it."""

    def __init__(self, sock: socket.socket, netloc: str) -> None:
        self._sock = sock
        self._netloc = netloc
        self._answers: BinaryIO = sock.makefile("rb")
        self._ended = False
        self._used_at = monotonic()
        self.busy = self.expired = False

    def usable(self, netloc: str) -> bool:
        """Tell whether the server has neither hung up nor said what nobody asked for."""
        idle = monotonic() - self._used_at
        if self._ended or self.expired or netloc != self._netloc or idle > _LONGEST_IDLE:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def exchange(self, request: Any) -> tuple[int, dict[str, str], bytes]:
        """Send a request and read its answer.

        Raises:
            OSError: the connection broke.
            ValueError: what came is no HTTP.
        """
        self._sock.sendall(_encoded(request, self._netloc))
        status, headers = self._head()
        while 100 <= status < 200:
            status, headers = self._head()
        self._ended = self._ended or headers.get("connection", "").lower() == "close"
        body = self._body(headers)
        self._used_at = monotonic()
        return status, headers, body

    def hang_up(self, how: int) -> None:
        """Shut the socket down from another thread."""
        self._ended = True
        with suppress(OSError):  # it has been hung up already
            # Not the TLS socket's own, which would have the other thread read ciphertext.
            socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        """Close the socket."""
        self.hang_up(socket.SHUT_RDWR)  # else a thread that still reads would hold the next line up
        with suppress(OSError):
            self._answers.close()
        self._sock.close()

    def _head(self) -> tuple[int, dict[str, str]]:
        version, status = self._line().split(" ", 2)[:2]
        if not version.startswith("HTTP/1."):
            raise ValueError("not an HTTP/1 answer")
        headers: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(":")
            if not colon or len(headers) > _MOST_HEADERS:
                raise ValueError("not a header")
            headers[name.lower()] = value.strip()
        return int(status), headers

    def _line(self) -> str:
        line = self._answers.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection ended within an answer")
        return line.decode("latin-1").rstrip("\r\n")

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return b"".join(self._chunks())
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        self._ended = True
        return self._answers.read()

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().partition(";")[0], 16):
            yield self._exactly(size)
            self._line()
        while self._line():  # trailers
            pass

    def _exactly(self, size: int) -> bytes:
        content = self._answers.read(size)
        if len(content) < size:
            raise ConnectionError("the connection ended within an answer")
        return content


class _Body:
    """An answer's content, in the shape in which the SDK reads urllib3's."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._content


def _encoded(request: Any, netloc: str) -> bytes:
    url = urlsplit(request.url)
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {netloc}"]
    for name, value in request.headers.items():
        lines.append(f"{name}: {value.decode() if isinstance(value, bytes) else value}")
    body = request.body or b""
    content: bytes = body.encode() if isinstance(body, str) else body
    return "\r\n".join((*lines, "", "")).encode("latin-1") + content
