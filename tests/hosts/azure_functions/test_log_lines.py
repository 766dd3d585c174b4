"""Lines reach the invocation that they are about, and cost no message.

The worker for Python 3.11 and 3.12 finds a line's invocation by what its tasks have, or else by the
thread (azure_functions_worker/dispatcher.py, get_current_invocation_id), and the host drops what is
logged without one. It does not run on 3.13, so `Worker` says the same.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, DeadLetter, Message, Retry, queue_handler
from queue_runtime.clouds.azure_settlement import SettlementMissingError
from queue_runtime.config import load_settings
from queue_runtime.errors import InvocationFailedError
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.testing.azure import FunctionMessageStub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queue_runtime.clouds.azure_settlement import Call, Settles

HOSTILE = "\ud800\n\x1b[31m" + "x" * 250_000


class _Task(asyncio.Task[Any]):
    """Has the invocation of the task that made it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.invocation = getattr(asyncio.current_task(self.get_loop()), "invocation", None)


class Worker(logging.Handler):
    """Invokes a host as the worker does, and writes down which invocation each line is given."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()
        self.lines: list[tuple[str | None, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((self._invocation(), record.getMessage()))

    def _invocation(self) -> str | None:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        found: str | None = getattr(task, "invocation", None)
        return found or getattr(self._thread, "invocation", None)

    def invoke(self, host: FunctionsHost, native: Any) -> None:
        try:
            if host.definition.is_async:
                self._on_loop(host, native)
            else:
                self._thread.invocation = "one"
                host.run(native)
        except InvocationFailedError:
            pass
        finally:
            self._thread.invocation = None

    def _on_loop(self, host: FunctionsHost, native: Any) -> None:
        async def invocation() -> None:
            asyncio.current_task().invocation = "one"  # type: ignore[union-attr]
            await host.run_async(native)

        def make_task(loop: Any, coro: Any, **named: Any) -> _Task:
            return _Task(coro, loop=loop, **named)

        with asyncio.Runner() as runner:
            runner.get_loop().set_task_factory(make_task)
            runner.run(invocation())

    def said(self, words: str) -> list[str | None]:
        return [invocation for invocation, line in self.lines if words in line]


class Settlement:
    """Settles everything, but not where it is told to miss a method or all of them."""

    def __init__(self, missing: str | None = None) -> None:
        self._missing = missing
        self.called = threading.Event()

    def call(self, calls: Sequence[Call]) -> list[Any]:
        try:
            return [
                SettlementMissingError("there is none")
                if self._missing in (call.method, "all")
                else None
                for call in calls
            ]
        finally:
            self.called.set()


class NoBroker:
    def send_now(self, messages: object) -> Any:
        raise ConnectionError("SECRET")


@pytest.fixture
def worker() -> Iterator[Worker]:
    root, handler = logging.getLogger(), Worker()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


@queue_handler(batch_order="accept_repeats")
async def retried(batch: Batch[bytes]) -> None:
    for message in batch:
        batch.fail(message, Retry("busy", after=30))


@queue_handler
async def dead(message: Message[bytes]) -> None:
    raise DeadLetter("no")


@queue_handler
def retried_in_thread(batch: Batch[bytes]) -> None:
    for message in batch:
        batch.fail(message, Retry("busy", after=30))


def _natives(count: int = 2, **described: Any) -> list[FunctionMessageStub]:
    return [
        FunctionMessageStub({"body": "{}", "message_id": f"m{n}", **described}, n)
        for n in range(1, count + 1)
    ]


def _host(
    handler: Any, source: str, settlement: Settles, *, sessions: bool = False, **options: Any
) -> FunctionsHost:
    _, _, subscription = source.partition("/")
    return FunctionsHost(
        handler,
        Source(source, "SB", sessions, subscription or None),
        settings=load_settings(environ={}),
        settlement=settlement,
        make_sender=NoBroker,
        **options,
    )


@pytest.mark.parametrize("handler", [retried, retried_in_thread])
def test_that_settlement_is_missing_is_said_within_the_invocation(
    handler: Any, worker: Worker
) -> None:
    worker.invoke(_host(handler, "orders", Settlement("all")), _natives())
    assert worker.said("brings the whole batch back") == ["one"]
    assert {invocation for invocation, _ in worker.lines} == {"one"}


def test_that_a_copy_cannot_be_sent_is_said_within_the_invocation(worker: Worker) -> None:
    worker.invoke(_host(retried, "orders", Settlement()), _natives())
    assert worker.said("(not delayed: ConnectionError)") == [
        "one",
        "one",
    ]
    assert "SECRET" not in str(worker.lines)


def test_that_a_subscription_delays_nothing_is_said_within_the_invocation(worker: Worker) -> None:
    worker.invoke(_host(retried, "topic/subscription", Settlement()), _natives())
    assert worker.said("not delayed on subscriptions") == ["one"]


def test_that_a_session_is_not_released_is_said_within_the_invocation(worker: Worker) -> None:
    host = _host(retried, "orders", Settlement("ReleaseSession"), sessions=True)
    worker.invoke(host, _natives(session_id="s"))
    assert worker.said("session s of orders could not be released") == ["one"]


def test_that_one_message_is_not_dead_lettered_is_said_within_the_invocation(
    worker: Worker,
) -> None:
    worker.invoke(_host(dead, "orders", Settlement("all")), _natives()[0])
    assert worker.said("messages to be dead-lettered are retried") == ["one"]


def _waits(is_async: bool, settlement: Settlement) -> Any:
    @queue_handler
    async def on_loop(batch: Batch[bytes]) -> None:
        await asyncio.to_thread(settlement.called.wait, 10)

    @queue_handler
    def on_thread(batch: Batch[bytes]) -> None:
        settlement.called.wait(10)

    return on_loop if is_async else on_thread


@pytest.mark.parametrize("is_async", [True, False])
def test_that_locks_are_not_renewed_is_said_within_the_invocation(
    is_async: bool, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "queue_runtime.hosts.azure_functions.lock_renewal.UNKNOWN_LOCK_SECONDS", 0.0
    )
    monkeypatch.setattr("queue_runtime.hosts.azure_functions.lock_renewal._SHORTEST_INTERVAL", 0.01)
    settlement = Settlement("all")
    host = _host(_waits(is_async, settlement), "orders", settlement, renew_locks=True)
    worker.invoke(host, _natives())
    assert worker.said("locks cannot be renewed") == ["one"]


class Breaks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the log shipper is down")


@pytest.mark.parametrize("handler", [retried, retried_in_thread, dead])
def test_a_log_handler_that_raises_costs_lines_and_nothing_else(
    handler: Any, worker: Worker
) -> None:
    breaks, seen = Breaks(), []
    logging.getLogger("queue_runtime").addHandler(breaks)
    try:
        host = _host(
            handler, "orders", Settlement(), observe=lambda *told: seen.append(len(told[0]))
        )
        worker.invoke(host, _natives()[0] if handler is dead else _natives())
    finally:
        logging.getLogger("queue_runtime").removeHandler(breaks)
    assert seen == [1 if handler is dead else 2]


def test_an_observer_that_raises_costs_a_line(worker: Worker) -> None:
    def observe(*_told: object) -> None:
        raise KeyError("SECRET")

    @queue_handler
    def good(message: Message[bytes]) -> None: ...

    _host(good, "orders", Settlement(), observe=observe).run(_natives()[0])
    assert worker.said("message m1 of orders shown to an observer that raised KeyError (at ")
    assert "SECRET" not in str(worker.lines)


def _fails(message: Message[bytes]) -> None:
    raise Retry(HOSTILE)


def test_what_the_host_is_told_of_a_failure_can_be_sent_and_is_bounded() -> None:
    host = _host(queue_handler(_fails), "orders", Settlement())
    with pytest.raises(InvocationFailedError) as raised:
        host.run(FunctionMessageStub({"body": "{}", "message_id": HOSTILE}, 1))
    text = str(raised.value)
    assert len(text.encode()) <= 4_000
    assert text.isprintable()
