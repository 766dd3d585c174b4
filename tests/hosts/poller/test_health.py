"""What the health port says of pollers that start, run, hang and end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Retry, queue_handler
from queue_runtime.errors import SettingsError, TransportError
from queue_runtime.hosts.poller import Poller, http_server, liveness, receiver
from queue_runtime.hosts.poller.health import Health, HealthServer
from queue_runtime.transports.base import Depth
from tests.hosts.poller.rig import ScriptedQueue, messages, settings_for, until_true

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from queue_runtime.message import Message


NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed"


class Queue(ScriptedQueue):
    """Holds receives back while `answers` is not set, and depths as well as it is told."""

    def __init__(self, *waiting: Message[Any], answers: bool = True) -> None:
        super().__init__(*waiting)
        self.answers = answers
        self.depth_now: Depth | None = Depth(7, 2, 1, 4, 33.5)
        self.depths = 0

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        if not self.answers:
            await asyncio.Event().wait()
        return await super().receive(limit, wait)

    async def depth(self) -> Depth:
        self.depths += 1
        if self.depth_now is None:
            raise TransportError("gone")
        return self.depth_now


@queue_handler(queue="orders")
async def handle(body: bytes) -> None:
    """Do nothing."""


@contextmanager
def served(*pollers: Poller) -> Iterator[HealthServer]:
    server = HealthServer(0, Health(pollers), host="127.0.0.1")
    try:
        yield server
    finally:
        server.close()


def ask(server: HealthServer, path: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if path != "/metrics" else content.decode()


def polling(
    queue: Queue, test: Callable[[Poller, HealthServer], Awaitable[None]], **values: Any
) -> None:
    async def run() -> None:
        poller = Poller(handle, queue, settings=settings_for(handle, **values))
        with served(poller) as server:
            running = asyncio.create_task(poller.run())
            await asyncio.sleep(0)
            try:
                await test(poller, server)
            finally:
                poller.stop()
                await running

    asyncio.run(run())


async def asked(server: HealthServer, path: str) -> tuple[int, Any]:
    return await asyncio.to_thread(ask, server, path)


def test_a_poller_is_ready_once_its_queue_has_answered() -> None:
    queue = Queue(answers=False)
    queue.depth_now = None

    async def test(poller: Poller, server: HealthServer) -> None:
        assert await asked(server, "/health/ready") == (
            503,
            {"ready": False, "problems": {"orders": "starting"}},
        )
        assert (await asked(server, "/health/live"))[0] == 200

    polling(queue, test)

    async def later(poller: Poller, server: HealthServer) -> None:
        await until_true(lambda: poller.liveness.state() is liveness.State.READY)
        assert await asked(server, "/health/ready") == (200, {"ready": True, "problems": {}})

    polling(Queue(*messages(1)), later)


def test_a_quiet_queue_that_can_be_asked_is_ready_before_its_first_message() -> None:
    async def test(poller: Poller, server: HealthServer) -> None:
        assert (await asked(server, "/health/ready"))[0] == 200

    polling(Queue(answers=False), test)


def test_a_poller_that_has_not_started_is_not_ready_but_alive() -> None:
    queue = Queue()
    queue.depth_now = None
    with served(Poller(handle, queue, settings=settings_for(handle))) as server:
        assert ask(server, "/health/ready")[0] == 503
        assert ask(server, "/health/live") == (200, {"live": True, "problems": {}})


def test_a_poller_that_stops_is_not_ready_but_alive() -> None:
    async def test(poller: Poller, server: HealthServer) -> None:
        await until_true(lambda: poller.liveness.state() is liveness.State.READY)
        poller.stop()
        status, answer = await asked(server, "/health/ready")
        assert (status, answer["problems"]) == (503, {"orders": "stopping"})
        assert (await asked(server, "/health/live"))[0] == 200

    polling(Queue(), test)


def test_a_poller_with_an_open_breaker_is_not_ready() -> None:
    @queue_handler(queue="orders")
    async def fails(body: bytes) -> None:
        raise Retry("no")

    async def run() -> None:
        settings = settings_for(fails, breaker_failures=2, breaker_seconds=60.0)
        poller = Poller(fails, Queue(*messages(2)), settings=settings)
        with served(poller) as server:
            running = asyncio.create_task(poller.run())
            await until_true(lambda: poller.liveness.state() is liveness.State.BREAKER_OPEN)
            status, answer = await asked(server, "/health/ready")
            assert (status, answer["problems"]["orders"]) == (503, "the circuit breaker is open")
            assert (await asked(server, "/health/live"))[0] == 200
            poller.stop()
            await running

    asyncio.run(run())


def test_a_receive_that_hangs_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(poller: Poller, server: HealthServer) -> None:
        monkeypatch.setattr(liveness, "monotonic", lambda: monotonic() + 55)
        await until_true(lambda: poller.liveness.stuck() is None)  # 25 s overdue
        monkeypatch.setattr(liveness, "monotonic", lambda: monotonic() + 65)
        await until_true(lambda: "overdue" in (poller.liveness.stuck() or ""))
        status, answer = await asked(server, "/health/live")
        assert status == 503
        assert not answer["live"]
        assert "a receive is" in answer["problems"]["orders"]

    polling(Queue(answers=False), test)


def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (liveness, receiver):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + 3_600)


def test_an_outage_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    queue.receive_errors.extend(TransportError("down") for _ in range(100))

    async def test(poller: Poller, server: HealthServer) -> None:
        await until_true(lambda: len(queue.receive_errors) < 100)
        an_hour_later(monkeypatch)
        await until_true(lambda: poller.liveness.stuck() is None)

    polling(queue, test)


def test_a_poller_that_is_full_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()

    @queue_handler(queue="orders")
    async def waits(body: bytes) -> None:
        await gate.wait()

    async def run() -> None:
        settings = settings_for(waits, in_flight=10)
        poller = Poller(waits, Queue(*messages(20)), settings=settings)
        running = asyncio.create_task(poller.run())
        await until_true(lambda: poller.stats.held == 10)
        an_hour_later(monkeypatch)
        await until_true(lambda: poller.liveness.stuck() is None)
        monkeypatch.undo()
        gate.set()
        poller.stop()
        await running

    asyncio.run(run())


def test_a_loop_that_does_not_turn_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(poller: Poller, server: HealthServer) -> None:
        monkeypatch.setattr(liveness, "monotonic", lambda: monotonic() + 60)
        status, answer = ask(server, "/health/live")  # from the loop itself, which so stands still
        assert (status, answer["problems"]) == (
            503,
            {"orders": "the event loop has not turned for 60 s"},
        )

    polling(Queue(), test)


def test_stats_have_a_number_at_the_top_for_a_scaler() -> None:
    async def test(poller: Poller, server: HealthServer) -> None:
        await until_true(lambda: poller.stats.completed == 3)
        status, answer = await asked(server, "/stats")
        assert status == 200
        assert {name: answer[name] for name in ("visible", "in_flight", "delayed", "backlog")} == {
            "visible": 7,
            "in_flight": 2,
            "delayed": 1,
            "backlog": 9,
        }
        assert answer["oldest_seconds"] == 33.5
        (of_queue,) = answer["queues"]
        assert (of_queue["queue"], of_queue["state"]) == ("orders", "ready")
        assert (of_queue["dead_lettered"], of_queue["here"]["completed"]) == (4, 3)

    polling(Queue(*messages(3)), test)


def test_stats_ask_the_queue_once_for_many_scrapes() -> None:
    queue = Queue()

    async def test(poller: Poller, server: HealthServer) -> None:
        before = queue.depths
        for _ in range(5):
            await asked(server, "/stats")
        assert queue.depths - before == 1

    polling(queue, test)


def test_a_queue_that_cannot_be_asked_is_no_empty_one() -> None:
    queue = Queue()
    queue.depth_now = None

    async def test(poller: Poller, server: HealthServer) -> None:
        status, answer = await asked(server, "/stats")
        assert status == 503
        assert answer["queues"][0]["visible"] is None
        assert (answer["visible"], answer["backlog"]) == (None, None)

    polling(queue, test)


def test_metrics_and_what_is_not_there() -> None:
    with served() as server:
        status, text = ask(server, "/metrics")
        assert (status, "# TYPE queue_messages_received_total counter" in text) == (200, True)
        assert ask(server, "/health")[0] == 404


def test_heads_and_slashes_at_the_end_are_what_some_load_balancers_send() -> None:
    with served() as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("HEAD", "/health/live/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.close()


def test_a_port_that_is_taken_is_said_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"{port} cannot be used .* --health-port"):
            HealthServer(port, Health(()), host="127.0.0.1")


def test_a_server_that_is_closed_leaves_no_thread() -> None:
    with served() as server:
        assert ask(server, "/health/live")[0] == 200
    assert "queue-runtime-health" not in {thread.name for thread in threading.enumerate()}


def test_an_answer_names_no_version_and_ends_its_connection() -> None:
    with served() as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b"".join(iter(lambda: client.recv(4096), b"")).partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")]
    assert names == [b"HTTP/1.1 200 OK", b"Content-Type", b"Content-Length", b"Connection"]


@pytest.mark.parametrize(
    "request_line", [b"POST /health/live HTTP/1.1", b"nonsense", b"GET /" + b"x" * 9_000 + b" HTTP"]
)
def test_what_is_no_probe_gets_nothing_but_its_end(request_line: bytes) -> None:
    with served() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(request_line + b"\r\n\r\n")
            with suppress(ConnectionResetError):
                assert client.recv(4096).split(b"\r\n")[0] in (b"", NOT_ALLOWED)
        assert ask(server, "/health/live")[0] == 200


def test_five_hundred_slow_clients_leave_probes_answered_and_connections_few(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with served() as server:
        before = len(os.listdir("/proc/self/fd"))
        slow = []
        for _ in range(500):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(b"GET /health/live HTTP/1.1\r\nx: ")
            slow.append(client)
        assert ask(server, "/health/live")[0] == 200
        assert ask(server, "/metrics")[0] == 200
        descriptors = len(os.listdir("/proc/self/fd")) - before - len(slow)
        for client in slow:
            client.close()
        assert descriptors <= http_server.MOST_CONNECTIONS
    assert capfd.readouterr().err == ""


def test_a_request_that_never_comes_whole_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "LIFE_SECONDS", 0.05)
    with (
        served() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /health/live")
        with suppress(ConnectionResetError):
            assert client.recv(4096) == b""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_address_is_listened_on_unless_one_is_given(address: str) -> None:
    for host in (None, address):
        server = HealthServer(0, Health(()), host=host)
        try:
            connection = HTTPConnection(address, server.port, timeout=10)
            connection.request("GET", "/health/live")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            server.close()


def test_an_address_that_is_not_ours_is_said_with_the_setting() -> None:
    with pytest.raises(SettingsError, match="QUEUE_HEALTH_ADDRESS"):
        HealthServer(0, Health(()), host="192.0.2.1")


def test_handlers_that_all_hang_are_not_ready_and_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    @queue_handler(queue="orders")
    def hangs(body: bytes) -> None:
        gate.wait()

    async def run() -> None:
        monkeypatch.setattr(liveness, "_BEAT_SECONDS", 0.01)
        poller = Poller(hangs, Queue(*messages(5)), settings=settings_for(hangs, concurrency=3))
        running = asyncio.create_task(poller.run())
        await until_true(lambda: poller.stats.held == 5)
        monkeypatch.setattr(liveness, "monotonic", lambda: monotonic() + 40)
        await until_true(lambda: poller.liveness.state() is liveness.State.HANGING)
        gate.set()
        await until_true(lambda: poller.liveness.state() is liveness.State.READY)
        poller.stop()
        await running

    asyncio.run(run())
    (line,) = [line for line in caplog.messages if "no message is taken" in line]
    assert line.endswith(": m0, m1, m2")


def test_a_sync_call_beyond_its_time_is_named_and_not_ready(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    @queue_handler(queue="orders")
    def hangs(body: bytes) -> None:
        gate.wait()

    async def run() -> None:
        monkeypatch.setattr(liveness, "_BEAT_SECONDS", 0.01)
        settings = settings_for(hangs, handler_seconds=0.05)
        poller = Poller(hangs, Queue(*messages(1)), settings=settings)
        running = asyncio.create_task(poller.run())
        await until_true(lambda: poller.liveness.state() is liveness.State.HANGING)
        await asyncio.sleep(0.05)
        gate.set()
        poller.stop()
        await running

    asyncio.run(run())
    assert len([line for line in caplog.messages if "longer than the 0.1 s" in line]) == 1
