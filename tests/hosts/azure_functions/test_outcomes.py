"""Each outcome's cell of the guarantees, through the real worker library."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import azure.functions as func
import pytest

from queue_runtime import (
    Batch,
    DeadLetter,
    Discard,
    Disposition,
    Handler,
    Message,
    Outcome,
    Retry,
    queue_handler,
    register,
)
from queue_runtime.clouds.azure_settlement import SettlementClient
from queue_runtime.observability import metrics
from queue_runtime.settlement.lineage import read_facts
from tests.hosts.azure_functions.conftest import Hosts
from tests.hosts.azure_functions.encoding import Sent
from tests.hosts.azure_functions.settlement_service import SettlementService


def decide(order: dict[str, Any]) -> None:
    fate = order.get("fate")
    if fate == "retry":
        raise ValueError("a secret of the body")
    if fate == "dead-letter":
        raise DeadLetter("negative amount")
    if fate == "discard":
        raise Discard("a duplicate")


@queue_handler(queue="orders", max_deliveries=3)
def take(order: dict) -> None:  # type: ignore[type-arg]
    decide(order)


@queue_handler(queue="orders", max_deliveries=3)
async def take_async(order: dict) -> None:  # type: ignore[type-arg]
    await asyncio.sleep(0)
    decide(order)


def judge(batch: Batch[dict[str, Any]]) -> None:
    for message in batch:
        try:
            decide(message.body)
        except Exception as error:
            batch.fail(message, error)


@queue_handler(queue="orders", max_deliveries=3, batch_order="accept_repeats")
def load(batch: Batch[dict]) -> None:  # type: ignore[type-arg]
    judge(batch)


@queue_handler(queue="orders", max_deliveries=3, batch_order="accept_repeats")
async def load_async(batch: Batch[dict]) -> None:  # type: ignore[type-arg]
    await asyncio.sleep(0)
    judge(batch)


BOTH = pytest.mark.parametrize("handler", [take, take_async], ids=["sync", "async"])
BATCHES = pytest.mark.parametrize("handler", [load, load_async], ids=["sync", "async"])

GOOD, BAD = b"{}", b'{"fate": "retry"}'
DEAD, DISCARDED = b'{"fate": "dead-letter"}', b'{"fate": "discard"}'


@BOTH
@pytest.mark.parametrize(
    ("body", "count", "fate"),
    [
        (GOOD, 1, "completed"),
        (DISCARDED, 1, "completed"),
        (BAD, 1, "abandoned"),
        (BAD, 3, "dead-lettered"),
        (DEAD, 1, "dead-lettered"),
        (b"\xff\xfe", 1, "dead-lettered"),
        (b"", 1, "dead-lettered"),
        (b'{"a": "' + b"x" * 1_000_000 + b'"}', 1, "completed"),
    ],
    ids=["ack", "discard", "retry", "last", "dead-letter", "not-utf-8", "empty", "1-MB"],
)
@pytest.mark.parametrize("sessions", [False, True])
def test_one_message(
    app: func.FunctionApp,
    host: Hosts,
    handler: Handler[Any, Any],
    body: bytes,
    count: int,
    fate: str,
    sessions: bool,
) -> None:
    register(app, handler, connection="SB", sessions=sessions)
    sent = Sent(body, message_id="m", delivery_count=count, session_id="s" if sessions else None)
    invocation = host(app).invoke(handler.__name__, sent)
    assert invocation.fates == [fate]
    assert invocation.succeeded == (fate != "abandoned")


@BATCHES
def test_a_batch_is_settled_message_by_message(
    app: func.FunctionApp, host: Hosts, service: SettlementService, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB")
    bodies = {
        GOOD: "completed",
        DISCARDED: "completed",
        BAD: "abandoned",
        DEAD: "dead-lettered",
        b"\xff": "dead-lettered",
        b"": "dead-lettered",
    }
    sent = [Sent(body) for body in bodies]
    invocation = host(app).invoke(handler.__name__, *sent)
    assert invocation.fates == list(bodies.values())
    assert invocation.succeeded
    reason, description = service.dead_letters[sent[3].lock_token]
    facts = read_facts(description)
    assert reason == facts["reason"] == "negative amount"
    assert (facts["error_type"], facts["queue"]) == ("DeadLetter", "orders")


@BATCHES
def test_a_batch_of_one_and_a_last_delivery(
    app: func.FunctionApp, host: Hosts, service: SettlementService, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB")
    sent = Sent(BAD, delivery_count=3)
    assert host(app).invoke(handler.__name__, sent).fates == ["dead-lettered"]
    reason, description = service.dead_letters[sent.lock_token]
    facts = read_facts(description)
    assert reason == facts["reason"] == "failed on delivery 3 of 3: ValueError"
    assert (facts["error_type"], facts["error"]) == ("ValueError", "a secret of the body")
    assert (facts["handler"], facts["deliveries"]) == (handler.definition.name, 3)


def test_the_errors_own_text_can_be_left_out(
    app: func.FunctionApp,
    host: Hosts,
    service: SettlementService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUEUE_DEAD_LETTER_ERROR_TEXT", "false")
    register(app, take, connection="SB")
    sent = Sent(BAD, delivery_count=3)
    host(app).invoke("take", sent)
    facts = read_facts(service.dead_letters[sent.lock_token][1])
    assert facts["error_type"] == "ValueError"
    assert "error" not in facts


def test_an_error_that_cannot_be_shown_is_dead_lettered_all_the_same(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    class UnshownError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @queue_handler(queue="orders", on_error={UnshownError: DeadLetter})
    def odd(order: bytes) -> None:
        raise UnshownError

    register(app, odd, connection="SB")
    sent = Sent(BAD)
    assert host(app).invoke("odd", sent).fates == ["dead-lettered"]
    reason, description = service.dead_letters[sent.lock_token]
    assert reason.endswith("UnshownError")
    assert read_facts(description)["error"] == ""


def test_a_middleware_may_dead_letter_without_an_error(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    async def quarantine(messages: Any, call_next: Any) -> list[Outcome]:
        return [Outcome(Disposition.DEAD_LETTER, reason="quarantined") for _ in messages]

    @queue_handler(queue="orders", delivery_middleware=[quarantine])
    async def never(order: bytes) -> None:
        raise AssertionError("not reached")

    register(app, never, connection="SB")
    sent = Sent(GOOD)
    assert host(app).invoke("never", sent).fates == ["dead-lettered"]
    reason, description = service.dead_letters[sent.lock_token]
    assert reason == "quarantined"
    assert "error_type" not in read_facts(description)


def test_a_middleware_that_fails_brings_every_message_back(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    async def broken(messages: Any, call_next: Any) -> Any:
        raise ValueError

    @queue_handler(queue="orders", delivery_middleware=[broken], batch_order="accept_repeats")
    async def never(batch: Batch[bytes]) -> None:
        raise AssertionError("not reached")

    register(app, never, connection="SB")
    register(app, never, connection="SB", sessions=True, name="in_session")
    running = host(app)
    assert running.invoke("never", Sent(), Sent()).fates == ["abandoned"] * 2
    # A message without a session cannot come from a queue with sessions; it is left to its lock.
    assert running.invoke("in_session", Sent(), Sent()).fates == ["left locked"] * 2
    assert [name for name, _ in service.calls] == ["Abandon"] * 2


@BATCHES
def test_a_session_completes_its_good_prefix_and_stops(
    app: func.FunctionApp, host: Hosts, service: SettlementService, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB", sessions=True)
    sent = [Sent(body, session_id="s") for body in (GOOD, DEAD, GOOD, BAD, GOOD, DEAD)]
    invocation = host(app).invoke(handler.__name__, *sent)
    left = ["abandoned", "left locked", "left locked"]
    assert invocation.fates == ["completed", "dead-lettered", "completed", *left]
    assert invocation.succeeded
    assert service.calls[-1] == ("ReleaseSession", "s")


@BATCHES
def test_a_session_without_a_failure_goes_on(
    app: func.FunctionApp, host: Hosts, service: SettlementService, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB", sessions=True)
    sent = [Sent(GOOD, session_id="s") for _ in range(3)]
    assert host(app).invoke(handler.__name__, *sent).fates == ["completed"] * 3
    assert [name for name, _ in service.calls] == ["Complete"] * 3


def test_nothing_after_an_unsettled_message_of_a_session_is_acknowledged(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    register(app, load, connection="SB", sessions=True)
    sent = [Sent(GOOD, session_id="s") for _ in range(3)]
    service.lock_lost = {sent[1].lock_token}
    invocation = host(app).invoke("load", *sent)
    assert invocation.fates == ["completed", "abandoned", "abandoned"]
    assert "could not be settled" in invocation.error


def test_what_is_dead_lettered_stays_so_when_its_session_cannot_go_on(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    register(app, load, connection="SB", sessions=True)
    sent = [Sent(body, session_id="s") for body in (GOOD, DEAD, GOOD)]
    service.lock_lost = {sent[0].lock_token}
    invocation = host(app).invoke("load", *sent)
    assert invocation.fates == ["abandoned", "dead-lettered", "abandoned"]


def test_a_session_that_cannot_be_released_is_told(
    app: func.FunctionApp,
    host: Hosts,
    service: SettlementService,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(app, load, connection="SB", sessions=True)
    service.refuse = lambda method, token: method == "ReleaseSession"
    sent = [Sent(body, session_id="s") for body in (BAD, GOOD)]
    invocation = host(app).invoke("load", *sent)
    assert invocation.fates == ["abandoned", "left locked"]
    assert "session s of orders could not be released" in caplog.text


@BATCHES
def test_a_lost_lock_fails_the_invocation_and_no_other_message(
    app: func.FunctionApp, host: Hosts, service: SettlementService, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB")
    sent = [Sent(GOOD, message_id=f"m-{n}") for n in range(3)]
    service.lock_lost = {sent[1].lock_token}
    before = metrics.LOCKS_LOST.values().get(("orders",), 0)
    invocation = host(app).invoke(handler.__name__, *sent)
    assert invocation.fates == ["completed", "abandoned", "completed"]
    assert "1 of 3 messages of orders could not be settled" in invocation.error
    assert "m-1 (UNKNOWN" in invocation.error
    assert metrics.LOCKS_LOST.values()[("orders",)] == before + 1


def test_a_failure_names_three_messages_at_most(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    register(app, load, connection="SB")
    service.refuse = lambda method, token: True
    invocation = host(app).invoke("load", *[Sent(GOOD) for _ in range(5)])
    assert invocation.fates == ["abandoned"] * 5
    assert invocation.error.endswith("and 2 more")
    assert "at Host.Code" not in invocation.error


@BOTH
def test_one_message_that_cannot_be_dead_lettered_comes_back(
    app: func.FunctionApp, host: Hosts, service: SettlementService, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB")
    service.refuse = lambda method, token: True
    assert host(app).invoke(handler.__name__, Sent(DEAD)).fates == ["abandoned"]


@pytest.fixture
def old_host(host: Hosts, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host whose extension has no Settlement service, which answers UNIMPLEMENTED."""
    import sys

    from tests.hosts.azure_functions.conftest import uri

    bare = SettlementService(methods=())
    monkeypatch.setattr(sys, "argv", ["worker", *uri(bare.port)])
    yield lambda app: host(app, service=bare)
    bare.stop()


@BATCHES
def test_without_the_service_a_good_batch_is_completed_by_the_host(
    app: func.FunctionApp,
    old_host: Any,
    handler: Handler[Any, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(app, handler, connection="SB")
    running = old_host(app)
    for _ in range(2):
        assert running.invoke(handler.__name__, Sent(), Sent(DISCARDED)).fates == ["completed"] * 2
    warnings = [line for line in caplog.messages if "Settlement service" in line]
    assert len(warnings) == 1
    assert "extension bundle" in warnings[0]


@BATCHES
def test_without_the_service_a_failure_brings_the_whole_batch_back(
    app: func.FunctionApp, old_host: Any, handler: Handler[Any, Any]
) -> None:
    register(app, handler, connection="SB")
    running = old_host(app)
    for bad in (BAD, DEAD, b"\xff"):
        invocation = running.invoke(handler.__name__, Sent(), Sent(bad), Sent())
        assert invocation.fates == ["abandoned"] * 3
        assert "no Settlement service" in invocation.error


def test_without_the_service_a_batch_of_a_session_comes_back_and_says_why(
    app: func.FunctionApp, old_host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    register(app, load, connection="SB", sessions=True)
    sent = [Sent(GOOD, session_id="s") for _ in range(2)]
    assert old_host(app).invoke("load", *sent).fates == ["abandoned"] * 2
    assert "batches of sessions cannot be settled without it" in caplog.text


def test_without_the_service_one_message_needs_it_for_dead_letters_only(
    app: func.FunctionApp, old_host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    register(app, take, connection="SB")
    running = old_host(app)
    fates = [running.invoke("take", Sent(body)).fates[0] for body in (GOOD, BAD, DEAD)]
    assert fates == ["completed", "abandoned", "abandoned"]
    assert "retried until the queue does it" in caplog.text


def test_a_host_that_does_not_answer_is_missing_for_now(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    register(app, load, connection="SB", settlement=SettlementClient(lambda: "127.0.0.1:1"))
    running = host(app)
    assert running.invoke("load", Sent(GOOD)).fates == ["completed"]
    assert running.invoke("load", Sent(GOOD), Sent(BAD)).fates == ["abandoned"] * 2
    assert service.calls == []


def test_a_slow_host_is_not_waited_for_longer_than_the_calls_deadline(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    address = f"127.0.0.1:{service.port}"
    register(app, load, connection="SB", settlement=SettlementClient(lambda: address, seconds=0.2))
    service.hold.clear()
    invocation = host(app).invoke("load", Sent(GOOD), Sent(GOOD))
    assert not invocation.succeeded
    assert "DEADLINE_EXCEEDED" in invocation.error


def test_all_settlements_of_a_batch_are_under_way_together(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    register(app, load, connection="SB")
    service.hold.clear()
    watcher = threading.Thread(target=_release_at, args=(service, 8))
    watcher.start()
    assert host(app).invoke("load", *[Sent(GOOD) for _ in range(8)]).fates == ["completed"] * 8
    watcher.join()
    assert service.most_at_once == 8


def _release_at(service: SettlementService, calls: int) -> None:
    while len(service.calls) < calls and service.called.wait(10):
        service.called.clear()
    service.hold.set()


def test_a_raised_error_holds_no_text_of_the_handlers_own(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    register(app, take, connection="SB")
    with caplog.at_level(logging.DEBUG):
        invocation = host(app).invoke("take", Sent(BAD, message_id="m"))
    assert invocation.error == (
        "InvocationFailedError: message m of orders is given back: ValueError"
    )
    assert "a secret of the body" not in caplog.text + invocation.error


def test_sync_handlers_run_in_the_workers_threads_and_async_ones_on_its_loop(
    app: func.FunctionApp, host: Hosts
) -> None:
    seen: dict[str, object] = {}

    @queue_handler(queue="orders")
    def blocking(message: Message[bytes]) -> None:
        seen["thread"] = threading.current_thread()

    @queue_handler(queue="orders")
    async def waiting(batch: Batch[bytes]) -> None:
        seen["loop"] = asyncio.get_running_loop()

    register(app, blocking, connection="SB")
    register(app, waiting, connection="SB")
    running = host(app)
    running.invoke("blocking", Sent())
    running.invoke("waiting", Sent())
    assert seen["thread"] is not threading.main_thread()
    assert seen["loop"] is running._loop


def test_a_middleware_that_waits_runs_beside_a_blocking_handler(
    app: func.FunctionApp, host: Hosts
) -> None:
    async def patient(messages: Any, call_next: Callable[..., Any]) -> Any:
        await asyncio.sleep(0)
        return await call_next(messages)

    @queue_handler(queue="orders", delivery_middleware=[patient])
    def handler(order: dict) -> None:  # type: ignore[type-arg]
        decide(order)

    register(app, handler, connection="SB")
    running = host(app)
    fates = [running.invoke("handler", Sent(body)).fates[0] for body in (GOOD, BAD, DEAD)]
    assert fates == ["completed", "abandoned", "dead-lettered"]


def test_at_the_deadline_an_async_batch_is_cancelled_and_given_back(
    app: func.FunctionApp, host: Hosts
) -> None:
    @queue_handler(queue="orders")
    async def endless(batch: Batch[bytes]) -> None:
        await asyncio.Event().wait()

    register(app, endless, connection="SB", timeout=0.2)
    assert host(app).invoke("endless", Sent(), Sent()).fates == ["abandoned"] * 2


def test_at_the_deadline_a_session_loses_its_lock_and_no_delivery_is_counted(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    @queue_handler(queue="orders", batch_order="accept_repeats")
    async def endless(batch: Batch[bytes]) -> None:
        await asyncio.Event().wait()

    register(app, endless, connection="SB", sessions=True, timeout=0.2)
    sent = [Sent(session_id="s"), Sent(session_id="s")]
    assert host(app).invoke("endless", *sent).fates == ["left locked"] * 2
    assert service.calls == [("ReleaseSession", "s")]


def test_one_message_is_given_back_at_the_deadline(app: func.FunctionApp, host: Hosts) -> None:
    @queue_handler(queue="orders")
    async def endless(message: Message[bytes]) -> None:
        await asyncio.Event().wait()

    register(app, endless, connection="SB", timeout=0.2)
    invocation = host(app).invoke("endless", Sent())
    assert invocation.fates == ["abandoned"]
    assert "the deadline interrupted it" in invocation.error


@pytest.mark.parametrize("sessions", [False, True])
def test_locks_are_renewed_while_a_batch_runs(
    app: func.FunctionApp, host: Hosts, service: SettlementService, sessions: bool
) -> None:
    @queue_handler(queue="orders", batch_order="accept_repeats")
    def patient(batch: Batch[bytes]) -> None:
        assert service.called.wait(20)

    register(app, patient, connection="SB", sessions=sessions, renew_locks=True)
    sent = [Sent(session_id="s", locked_for=1.0), Sent(session_id="s", locked_for=1.0)]
    assert host(app).invoke("patient", *sent).fates == ["completed"] * 2
    renewals = {call for call in service.calls if call[0].startswith("Renew")}
    if sessions:
        assert renewals == {("RenewSessionLock", "s")}
    else:
        assert renewals == {("RenewMessageLock", message.lock_token) for message in sent}


def test_an_async_batch_is_renewed_although_it_blocks_the_loop(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    @queue_handler(queue="orders")
    async def rude(batch: Batch[bytes]) -> None:
        assert service.called.wait(20)

    register(app, rude, connection="SB", renew_locks=True)
    assert host(app).invoke("rude", Sent(locked_for=1.0)).fates == ["completed"]
    assert service.calls[0][0] == "RenewMessageLock"


def test_retry_after_in_a_session_is_refused_with_a_warning(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    @queue_handler(queue="orders")
    def busy(order: bytes) -> None:
        raise Retry("busy", after=30)

    register(app, busy, connection="SB", sessions=True)
    running = host(app)
    for _ in range(2):
        assert running.invoke("busy", Sent(session_id="s")).fates == ["abandoned"]
    assert [line for line in caplog.messages if "not delayed in sessions" in line] == [
        "orders: retries are not delayed in sessions, where a copy would lose its place: the "
        "message comes back at once"
    ]


def test_retry_after_in_a_batch_of_a_session_is_refused_too(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    @queue_handler(queue="orders", batch_order="accept_repeats")
    def busy(batch: Batch[bytes]) -> None:
        batch.fail(batch[0], Retry("busy", after=30))

    register(app, busy, connection="SB", sessions=True)
    sent = [Sent(session_id="s"), Sent(session_id="s")]
    assert host(app).invoke("busy", *sent).fates == ["abandoned", "left locked"]
    assert "not delayed in sessions" in caplog.text


@pytest.mark.parametrize("value", [7, {"a": 1}, [1]], ids=["number", "map", "list"])
def test_a_body_that_is_no_text_is_poison_alone_and_found_before_the_call(
    app: func.FunctionApp, host: Hosts, service: SettlementService, value: Any
) -> None:
    done: list[bytes] = []

    @queue_handler(queue="orders")
    def load(batch: Batch[bytes]) -> None:
        done.extend(message.body for message in batch)

    register(app, load, connection="SB")
    sent = [Sent(b"first"), Sent(value_body=value), Sent(b"third")]
    fates = host(app).invoke("load", *sent).fates
    assert fates == ["completed", "dead-lettered", "completed"]
    assert done == [b"first", b"third"]
