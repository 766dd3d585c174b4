"""Our sockets under the SDK's requests, against servers that say anything at all."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions
from botocore.awsrequest import AWSPreparedRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from queue_runtime.clouds.aws_http import DirectHttp
from queue_runtime.clouds.aws_sqs import SqsClients
from tests.brokers.sqs import SqsBroker
from tests.sqs_rig import aws_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request with the next of `answers`; None hangs up, and an empty one is silent.

    Each answer is sent byte by byte where `slowly`.
    """

    def __init__(self, *answers: bytes | None, tls: ssl.SSLContext | None = None) -> None:
        self._answers = list(answers)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self.heard = threading.Event()
        self.released = threading.Event()
        self._talking: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        for waiting in (self._listener, self._talking):  # in accept, and in recv
            if waiting is not None:
                with suppress(OSError):
                    waiting.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._talking = connection
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def _talk(self, connection: socket.socket) -> None:
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection:
            while self._answers and (request := connection.recv(65_536)):
                self.requests.append(request)
                self.heard.set()
                answer = self._answers.pop(0)
                if answer is None:
                    return
                if not answer:
                    self.released.wait(30)
                    return
                for at in range(len(answer)):
                    connection.sendall(answer[at : at + 1])
                if b"Connection: close" in answer or b"Content-Length" not in answer:
                    return


@contextmanager
def serving(*answers: bytes | None, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(*answers, tls=tls)
    try:
        yield server
    finally:
        server.close()


_made: list[DirectHttp] = []


def http(read_timeout: float = 5.0, ca_bundle: str | None = None) -> DirectHttp:
    made = DirectHttp(ca_bundle=ca_bundle, connect_timeout=2, read_timeout=read_timeout)
    _made.append(made)
    return made


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def request(server: Server, path: str = "/", scheme: str = "http") -> Any:
    url = f"{scheme}://127.0.0.1:{server.port}{path}"
    headers: Any = {"X-Amz-Target": b"AmazonSQS.SendMessage", "Content-Length": "4"}
    return AWSPreparedRequest("POST", url, headers, b"body", False)


def test_a_request_is_sent_as_it_was_signed() -> None:
    with serving(OK) as server:
        answer = http().send(request(server, "/a?b=c"))
        assert (answer.status_code, answer.content) == (200, b"{}")
        assert server.requests[0].split(b"\r\n") == [
            b"POST /a?b=c HTTP/1.1",
            b"Host: 127.0.0.1:%d" % server.port,
            b"X-Amz-Target: AmazonSQS.SendMessage",
            b"Content-Length: 4",
            b"",
            b"body",
        ]


@pytest.mark.parametrize(
    ("answer", "status", "content"),
    [
        (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"{}"),
        (b"HTTP/1.0 403 Forbidden\r\n\r\nuntil the end", 403, b"until the end"),
        (b"HTTP/1.1 503 \r\ncontent-length: 0\r\nx:\r\n\r\n", 503, b""),
    ],
)  # fmt: skip
def test_all_shapes_of_an_answer_are_read(answer: bytes, status: int, content: bytes) -> None:
    with serving(answer) as server:
        got = http().send(request(server))
        assert (got.status_code, got.content) == (status, content)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabc",
        CHUNKED + b"5\r\nabc",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nCut",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1 + b"".join(b"h%d: x\r\n" % n for n in range(300)),
    ],
)
def test_an_answer_that_is_cut_or_none_is_an_error_of_the_sdk(answer: bytes | None) -> None:
    with serving(answer, OK) as server:
        sends = http()
        with pytest.raises(exceptions.ConnectionClosedError):
            sends.send(request(server))
        assert sends.send(request(server)).content == b"{}"


def test_a_connection_is_kept_and_one_that_was_closed_is_not_used() -> None:
    with serving(OK, OK, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK) as server:
        sends = http()
        for _ in range(4):
            assert sends.send(request(server)).content == b"{}"
        assert server.connections == 2


def test_a_silent_server_is_a_timeout() -> None:
    with serving(b"") as server, pytest.raises(exceptions.ReadTimeoutError):
        http(read_timeout=0.05).send(request(server))


def test_nobody_there_is_told_from_an_answer_that_was_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving() as server:
        server.port = port
        with pytest.raises(exceptions.EndpointConnectionError):
            http().send(request(server))


@pytest.mark.parametrize("politely", [True, False])
def test_a_request_under_way_can_be_ended_from_outside(politely: bool) -> None:
    with serving(b"") as server:
        sends, failures = http(read_timeout=30), []

        def send() -> None:
            try:
                sends.send(request(server))
            except exceptions.HTTPClientError as error:
                failures.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        assert server.heard.wait(30)
        sends.interrupt(thread.ident or 0, politely=politely)
        if politely:
            server.released.set()  # the server ends when it sees that we have no more to say
        thread.join(30)
        assert not thread.is_alive()
        assert isinstance(failures[0], exceptions.ConnectionClosedError)


def test_a_thread_without_a_request_cannot_be_interrupted() -> None:
    http().interrupt(1, politely=True)


def test_a_connection_that_was_interrupted_is_not_used_again() -> None:
    with serving(OK, OK) as server:
        sends = http()
        sends.send(request(server))
        sends.interrupt(threading.get_ident(), politely=True)
        assert sends.send(request(server)).content == b"{}"
        assert server.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(OK, OK) as server:
        sends = http()
        sends.send(request(server))
        monkeypatch.setattr("queue_runtime.clouds.aws_http._LONGEST_IDLE", -1.0)
        sends.send(request(server))
        assert server.connections == 2


def test_when_one_connection_turns_out_to_be_forgotten_so_are_those_that_were_idle() -> None:
    with serving(OK, OK) as server:  # one connection at a time, so that another one is not heard
        sends = http(read_timeout=0.2)
        netloc = f"127.0.0.1:{server.port}"
        beside = threading.Thread(target=lambda: sends.send(request(server)))
        beside.start()
        beside.join(30)
        (idle,) = sends._connections.values()
        assert idle.usable(netloc)
        with pytest.raises(exceptions.ReadTimeoutError):
            sends.send(request(server))
        assert not idle.usable(netloc)


def test_a_thread_that_is_interrupted_while_it_connects_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(OK) as server:
        sends = http()
        connect = sends._connect

        def interrupted(url: Any) -> Any:
            connection = connect(url)
            sends.interrupt(threading.get_ident(), politely=True)
            return connection

        monkeypatch.setattr(sends, "_connect", interrupted)
        with pytest.raises(exceptions.ConnectionClosedError):
            sends.send(request(server))
        assert not server.heard.is_set()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_tls_trusts_what_it_is_told_to_and_nothing_else(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serving(OK, OK, tls=tls) as server:
        with pytest.raises(exceptions.SSLError):
            http().send(request(server, scheme="https"))
        sends = http(ca_bundle=str(certificate))
        assert sends.send(request(server, scheme="https")).content == b"{}"
        sends.close()


def test_a_long_poll_over_tls_can_be_ended_from_outside(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serving(b"", tls=tls) as server:
        sends, failures = http(read_timeout=30, ca_bundle=str(certificate)), []

        def send() -> None:
            try:
                sends.send(request(server, scheme="https"))
            except exceptions.HTTPClientError as error:
                failures.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        assert server.heard.wait(30)
        sends.interrupt(thread.ident or 0, politely=False)
        thread.join(30)
        assert not thread.is_alive()
        assert failures


def test_requests_that_need_a_proxy_are_left_to_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    with SqsBroker() as broker:
        broker.create_queue("orders")
        # As a proxy it is asked for a host that is not there, and answers all the same.
        aws_environment(monkeypatch, "http://sqs.invalid")
        monkeypatch.setenv("HTTP_PROXY", broker.endpoint_url)
        clients = SqsClients("us-east-1")
        try:
            assert clients.calling.get_queue_url(QueueName="orders")["QueueUrl"]
        finally:
            clients.close()
        assert broker.journal.calls["GetQueueUrl"] == 1
