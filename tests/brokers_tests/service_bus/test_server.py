"""The server as a stranger sees it: raw bytes, many clients, and a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.brokers.service_bus import Kind, ServiceBusBroker
from tests.brokers.service_bus.encode import encode
from tests.brokers.service_bus.frames import AMQP_HEADER, SASL_HEADER, FrameReader, encode_frame
from tests.brokers.service_bus.performatives import Attach, Begin, Close, Flow, Open, Transfer
from tests.brokers.service_bus.types import Described, ULong

from .test_codec import SCALARS, VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

UP = AMQP_HEADER + encode_frame(0, Open("me")) + encode_frame(0, Begin(None, 1, 100, 100))


def talk(broker: ServiceBusBroker, data: bytes) -> bytes:
    """Sends bytes, says no more, and returns all that comes back; a hang is a failure."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := peer.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def closing_condition(answer: bytes) -> str:
    """The condition in the Close that ends an answer."""
    frames = [item for item in FrameReader(65536).feed(answer) if hasattr(item, "body")]
    close = frames[-1].body
    assert isinstance(close, Close)
    assert close.error is not None
    return str(close.error.fields[0])


@pytest.fixture(scope="module")
def broker() -> Iterator[ServiceBusBroker]:
    with ServiceBusBroker() as running:
        running.create_queue("q")
        yield running


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "amqp:connection:framing-error"),
        (b"AMQP\x02\x01\x00\x00", "amqp:not-implemented"),
        (AMQP_HEADER + b"\xff\xff\xff\xff\x02\x00\x00\x00", "amqp:connection:framing-error"),
        (AMQP_HEADER + encode_frame(0, Begin(None, 1, 1, 1)), "amqp:connection:framing-error"),
        (UP + encode_frame(0, Open("again")), "amqp:connection:framing-error"),
        (UP + encode_frame(0, Transfer(7, delivery_id=1)), "amqp:session:unattached-handle"),
        (UP + encode_frame(9, Flow(1, 1, 1, 1)), "amqp:not-allowed"),
        (UP + b"\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x53\x14", "amqp:decode-error"),
    ],
)
def test_what_is_no_amqp_is_told_so(broker: ServiceBusBroker, data: bytes, condition: str) -> None:
    assert closing_condition(talk(broker, data)) == condition


def test_a_link_without_a_token_is_refused(broker: ServiceBusBroker) -> None:
    target = Described(ULong(0x29), ["q"])
    attach = Attach("link", 0, False, source=Described(ULong(0x28), []), target=target)
    answer = talk(broker, UP + encode_frame(0, attach))
    assert b"amqp:unauthorized-access" in answer


def test_a_client_that_wants_heartbeats_gets_them(broker: ServiceBusBroker) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as peer:
        peer.sendall(AMQP_HEADER + encode_frame(0, Open("me", idle_time_out=200)))
        reader, empty = FrameReader(65536), 0
        while empty < 3:
            items = reader.feed(peer.recv(65536))
            empty += sum(getattr(item, "body", "header") is None for item in items)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]),
            st.lists(SCALARS | VALUES, max_size=12),
        ),
        max_size=5,
    ),
    st.binary(max_size=30),
)
def test_no_stream_of_frames_brings_the_server_down(
    broker: ServiceBusBroker, bodies: list[tuple[int, list[Any]]], payload: bytes
) -> None:
    stream = SASL_HEADER + UP
    for code, fields in bodies:
        body = encode(Described(ULong(code), fields)) + payload
        stream += (8 + len(body)).to_bytes(4, "big") + b"\x02\x00\x00\x00" + body
    before = len(broker.journal.events(Kind.DISCONNECTED))
    assert talk(broker, stream).startswith(SASL_HEADER)
    broker.wait_for(Kind.DISCONNECTED, count=before + 1)
    assert broker.messages("q") == []


def test_threads_may_use_the_broker_at_once(service_bus: ServiceBusBroker) -> None:
    names = [f"queue-{n}" for n in range(20)]
    threads = [threading.Thread(target=service_bus.create_queue, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(service_bus.messages(name) == [] for name in names)


def test_an_error_on_the_brokers_thread_is_raised_in_the_callers(
    service_bus: ServiceBusBroker,
) -> None:
    service_bus.create_queue("q")
    with pytest.raises(ValueError, match="exists already"):
        service_bus.create_queue("q")


def test_stopping_frees_the_port_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with ServiceBusBroker() as broker:
        port = broker.port
        peer = socket.create_connection(("127.0.0.1", port), timeout=5)
    peer.close()
    assert threading.active_count() == before
    with ServiceBusBroker(port=port) as again:
        assert again.port == port


def start_process() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.brokers.service_bus"]
    command += ["--queue", "orders", "--session-queue", "carts", "--topic", "news/all"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, None])
def test_the_process_serves_until_it_is_told_to_stop(ending: signal.Signals | None) -> None:
    with start_process() as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = json.loads(process.stdout.readline())
        assert line["connection_string"].startswith(f"Endpoint=sb://127.0.0.1:{line['port']};")
        socket.create_connection(("127.0.0.1", line["port"]), timeout=5).close()
        if ending:
            process.send_signal(ending)
        else:
            process.stdin.close()
        assert process.wait(timeout=10) == 0
