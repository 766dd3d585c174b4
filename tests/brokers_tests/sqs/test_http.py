"""The request parser and the connection under bytes that no SDK would send."""

from __future__ import annotations

import asyncio
import json
import socket
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.brokers.sqs import SqsBroker
from tests.brokers.sqs.http import (
    BODY_BYTES,
    HEAD_BYTES,
    Connection,
    HttpError,
    Request,
    RequestParser,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

GOOD = (
    b"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonSQS.GetQueueUrl\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
fragments = st.sampled_from(
    [
        GOOD, GOOD[:-2], b"POST / HTTP/1.1\r\n", b"GET /a HTTP/1.0\r\n\r\n", b"\r\n\r\n", b"\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n",
        b"Content-Length: \xb2\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
        b"Expect: 100-continue\r\n", b": x\r\n", b" folded\r\n", b"\x00", b"x" * 40_000,
    ]
)  # fmt: skip
noise = st.lists(fragments | st.binary(max_size=40), max_size=12).map(b"".join)


def parse_all(data: bytes, cuts: list[int]) -> list[Request | int]:
    """Every request, then the status of what could not be read if there was such."""
    parser = RequestParser()
    found: list[Request | int] = []
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(edges):
            parser.feed(data[start:end])
            while request := parser.next_request():
                found.append(request)
            assert parser.buffered <= max(HEAD_BYTES, BODY_BYTES) + end - start
    except HttpError as error:
        found.append(error.status)
    return found


@given(data=noise, cuts=st.lists(st.integers(0, 10_000), max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    assert parse_all(data, cuts) == parse_all(data, [])


@given(
    bodies=st.lists(st.binary(max_size=300), max_size=4),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
)
@settings(deadline=None)
def test_whole_requests_come_out_as_they_went_in(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(
        b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for body in bodies
    )
    found = parse_all(data, cuts)
    assert [request.body for request in found if isinstance(request, Request)] == bodies


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"x" * HEAD_BYTES, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1), 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"POST / HTTP/2\r\n\r\n", 505),
        (b"POST /\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_read_has_a_status(head: bytes, status: int) -> None:
    assert parse_all(head, []) == [status]


def test_an_old_client_is_hung_up_on_unless_it_asks() -> None:
    requests = parse_all(
        b"GET / HTTP/1.0\r\n\r\n"
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        [],
    )
    kept = [request.keep_alive for request in requests if isinstance(request, Request)]
    assert kept == [False, True, False]


class Recorder(asyncio.Transport):
    """A transport that only remembers what the connection did to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = False
        self.resumed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.resumed.set()


def test_a_client_that_floods_while_it_waits_is_not_read_on() -> None:
    async def scenario() -> None:
        reply: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

        def respond(_: Request) -> Response | Awaitable[Response | None]:
            return reply if not reply.done() else Response(200, b"")

        transport = Recorder()
        connection = Connection(respond, set())
        connection.connection_made(transport)
        connection.data_received(GOOD)
        connection.data_received(b"\x00" * (HEAD_BYTES + BODY_BYTES))
        assert not transport.paused
        connection.data_received(b"\x00")
        assert transport.paused
        reply.set_result(Response(200, b""))
        await asyncio.wait_for(transport.resumed.wait(), 5)
        assert transport.written.startswith(b"HTTP/1.1 200 OK")

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with SqsBroker() as broker:
        host, port = broker.endpoint_url.removeprefix("http://").split(":")
        yield host, int(port)


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    """All that the broker answers until it hangs up."""
    with socket.create_connection(address, timeout=5) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))
        except (ConnectionResetError, BrokenPipeError):
            return b""  # hung up with bytes of ours unread


@given(data=noise)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_broker_that_was_sent_noise_answers_the_next_client(
    address: tuple[str, int], data: bytes
) -> None:
    exchange(address, data)
    assert exchange(address, GOOD).startswith(b"HTTP/1.1 400 Bad Request")


def test_requests_sent_at_once_are_answered_in_order(address: tuple[str, int]) -> None:
    body = json.dumps({"QueueName": "pipelined"}).encode()
    create = (
        b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.CreateQueue\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    statuses = [
        part[:3] for part in exchange(address, create + GOOD + create).split(b"HTTP/1.1 ")[1:]
    ]
    assert statuses == [b"200", b"400", b"200"]


def test_a_client_that_asks_for_leave_gets_it(address: tuple[str, int]) -> None:
    head = GOOD[:-4] + b"Expect: 100-continue\r\n\r\n"
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(head)
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_the_query_protocol_is_refused_and_not_misread(address: tuple[str, int]) -> None:
    reply = exchange(address, b"GET /?Action=ListQueues HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"not the query protocol" in reply
