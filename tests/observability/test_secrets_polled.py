"""Pollers of the clouds with everything on: no error path shows a body, a key or a text."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import DeadLetter, Retry, queue_handler
from queue_runtime.errors import TransportError
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.transports.base import OutgoingMessage, refused
from tests.brokers.service_bus import Condition, Error, Kind, Point
from tests.brokers.sqs import Cut, Fail, FailEntries
from tests.hosts.aws_lambda.test_secrets import CASES, SECRET, fails
from tests.hosts.aws_lambda.test_secrets import attributes as reads_attributes
from tests.hosts.poller.rig import settings_for, until_true
from tests.hosts.poller.service_bus_rig import happened, opened, polled
from tests.observability.rig import poll_on, service_bus_broker, sqs_broker
from tests.observability.shown import EVERYTHING_ON, TOLD, Shown, attributes
from tests.sqs_rig import open_queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.transports.base import Transport
    from tests.brokers.service_bus import ServiceBusBroker
    from tests.brokers.sqs import SqsBroker

# The Service Bus SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

IN_ITS_WORDS = f"it was signed with SharedAccessKey={TOLD}"


@queue_handler
def asks_for_another_try(body: str) -> None:
    raise Retry("busy", after=0)


@queue_handler
def gives_up(body: str) -> None:
    raise DeadLetter("no such customer")


@queue_handler(max_deliveries=2)
async def does_as_told(body: str) -> None:
    if body.startswith("broken"):
        raise RuntimeError(body)
    if body.startswith("later"):
        raise Retry("busy", after=30)
    if body.startswith("dead"):
        raise DeadLetter("no such customer")


# What a handler does that reads an unreadable attribute is left out: neither queue takes such one.
HANDLED = [
    *(case for case in CASES if case[0] is not reads_attributes),
    (asks_for_another_try, SECRET),
    (gives_up, SECRET),
]


def _by_handler() -> list[tuple[Any, list[str]]]:
    bodies: dict[Any, list[str]] = {}
    for handler, body in HANDLED:
        bodies.setdefault(handler, []).append(body)
    return list(bodies.items())


def _is_never_done(handler: Any) -> bool:
    # What a middleware breaks is retried without end.
    return bool(handler.definition.delivery_middleware or handler.definition.call_middleware)


DEAD_IN_THE_END = [handler for handler, _ in HANDLED if not _is_never_done(handler)]


def _message(body: str, group: str | None = None) -> OutgoingMessage:
    return OutgoingMessage(body=body, attributes=attributes(), group_id=group)


def _settings(handler: Any, **others: Any) -> Any:
    return settings_for(handler, **EVERYTHING_ON, max_deliveries=2, backoff_seconds=0, **others)


# --- SQS -----------------------------------------------------------------------------------------


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsBroker]:
    with sqs_broker() as broker:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", SECRET)
        yield broker


async def _consumed(transport: Transport, handler: Any, messages: list[OutgoingMessage]) -> None:
    assert not refused(await transport.send(messages))
    poller = Poller(handler, transport, settings=_settings(handler))
    await poller.run(Until.ONCE if _is_never_done(handler) else Until.EMPTY)
    await transport.aclose()


@pytest.mark.parametrize("ordered", [False, True])
def test_nothing_that_a_handler_does_on_sqs_shows_a_secret(
    ordered: bool, sqs: SqsBroker, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, group = (".fifo", "g") if ordered else ("", None)
    sqs.create_queue(f"dead{suffix}")

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, (handler, bodies) in enumerate(_by_handler()):
                monkeypatch.setattr(handler.definition, "batch_order", "accept_repeats")
                sqs.create_queue(f"q{number}{suffix}")
                queue = open_queue(f"q{number}{suffix}", dead_letter=f"dead{suffix}")
                messages = [_message(body, group) for body in bodies]
                tasks.create_task(_consumed(queue, handler, messages))

    asyncio.run(run())
    assert sqs.counts(f"dead{suffix}").visible == len(DEAD_IN_THE_END)
    said = ["poison: ", "to be retried", "failed on delivery 2 of 2", "no such customer"]
    assert shown.hides_secrets(*said, "process q1", 'queue="q1')


@pytest.mark.parametrize(
    ("fault", "call", "said"),
    [
        (Fail("InternalFailure", 500, TOLD), "DeleteMessageBatch", "could not be settled"),
        (FailEntries("ReceiptHandleIsInvalid", message=TOLD), "DeleteMessageBatch", "its lock"),
        (FailEntries(message=TOLD), "SendMessageBatch", "not dead-lettered: "),
        (Fail("AccessDenied", 403, TOLD), "ChangeMessageVisibilityBatch", "AccessDenied"),
        (Cut(), "DeleteMessageBatch", "could not be settled"),
    ],
)
def test_no_request_that_fails_at_sqs_shows_a_secret(
    fault: Any, call: str, said: str, sqs: SqsBroker, shown: Shown
) -> None:
    sqs.create_queue("dead")
    sqs.create_queue("orders")
    queue = open_queue("orders", dead_letter="dead")
    bodies = ("good", "broken", "dead")
    asyncio.run(queue.send([_message(f"{body} {SECRET}") for body in bodies]))
    sqs.faults.add(fault, calls=[call], times=1)
    poll_on(queue, does_as_told, **EVERYTHING_ON, backoff_seconds=0)
    assert shown.hides_secrets(said)


def _asked_of(transport: Transport, shown: Shown) -> int:
    """Make every request that can be made without a message; give how many failed."""

    async def run() -> None:
        message = _message(SECRET, "g")
        for request in (transport.receive(1, 0), transport.depth(), transport.send([message])):
            try:
                answer: Any = await request
            except Exception as error:
                shown.raised(error)
            else:
                for failure in answer if isinstance(answer, list) else ():
                    shown.raised(failure.error)
        await transport.aclose()

    asyncio.run(run())
    return len(shown.errors)


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "ExpiredToken"])
def test_no_refusal_of_sqs_shows_a_secret(code: str, sqs: SqsBroker, shown: Shown) -> None:
    sqs.create_queue("orders")
    sqs.faults.add(Fail(code, 403, f"x-amz-security-token:{TOLD}"))
    assert _asked_of(open_queue("orders"), shown) == 3
    with pytest.raises(TransportError) as caught:
        poll_on(open_queue("orders"), does_as_told, **EVERYTHING_ON)
    shown.raised(caught.value)
    assert shown.hides_secrets(code)


def test_an_sqs_that_is_not_there_shows_no_secret(sqs: SqsBroker, shown: Shown) -> None:
    sqs.stop()
    assert _asked_of(open_queue("orders"), shown) == 3
    assert shown.hides_secrets("EndpointConnectionError")


@pytest.mark.parametrize(
    "message",
    [
        OutgoingMessage(body=f"{SECRET}\0"),
        OutgoingMessage(body=f"{SECRET}\ud800"),
        OutgoingMessage(body=SECRET.encode() + b"\xff"),
        OutgoingMessage(body={"body": SECRET}),  # type: ignore[arg-type]  # as a caller may who has no types
        OutgoingMessage(body=SECRET * 100_000),
        OutgoingMessage(body="x", attributes={"a": [SECRET]}),
        OutgoingMessage(body="x", attributes={"a": f"{SECRET}\ud800"}),
        OutgoingMessage(body="x", attributes={f"a{number}": SECRET for number in range(11)}),
        OutgoingMessage(body="x", attributes=attributes(), delay=10**6),
        OutgoingMessage(body="x", attributes=attributes(), group_id="g" * 200),
    ],
)
def test_no_message_that_sqs_does_not_take_is_shown(
    message: OutgoingMessage, sqs: SqsBroker, shown: Shown
) -> None:
    sqs.create_queue("orders")
    queue = open_queue("orders")

    async def run() -> None:
        (result,) = await queue.send([message])
        assert result.error is not None
        shown.raised(result.error)
        await queue.aclose()

    asyncio.run(run())
    assert shown.hides_secrets("entry 0 was not sent to SQS queue orders")


# --- Service Bus ---------------------------------------------------------------------------------


@pytest.fixture
def bus(shown: Shown) -> Iterator[ServiceBusBroker]:
    with service_bus_broker() as broker:
        shown.secrets.append(_key_of(broker.connection_string))
        yield broker


def _key_of(connection_string: str) -> str:
    return connection_string.partition("SharedAccessKey=")[2].partition(";")[0]


async def _polled_until(
    bus: ServiceBusBroker, transport: Transport, handler: Any, bodies: list[str]
) -> None:
    group = "g" if transport.ordered else None
    assert not refused(await transport.send([_message(body, group) for body in bodies]))
    poller = Poller(handler, transport, settings=_settings(handler))
    run = asyncio.create_task(poller.run())
    if _is_never_done(handler):
        await happened(bus, Kind.ABANDONED, entity=transport.queue)
    else:
        await happened(bus, Kind.DEAD_LETTERED, len(bodies), entity=transport.queue)
    poller.stop()
    await run
    await transport.aclose()


@pytest.mark.parametrize("ordered", [False, True])
def test_nothing_that_a_handler_does_on_service_bus_shows_a_secret(
    ordered: bool, bus: ServiceBusBroker, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = "?sessions=true" if ordered else ""

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, (handler, bodies) in enumerate(_by_handler()):
                monkeypatch.setattr(handler.definition, "batch_order", "accept_repeats")
                bus.create_queue(f"q{number}", requires_session=ordered)
                transport = opened(bus, f"q{number}{option}")
                tasks.create_task(_polled_until(bus, transport, handler, bodies))

    asyncio.run(run())
    number = [handler for handler, _ in _by_handler()].index(fails)
    (entry,) = bus.messages(f"q{number}/$DeadLetterQueue")
    assert SECRET in str(entry.application_properties)
    said = ["poison: ", "to be retried", "failed on delivery 2 of 2", "no such customer"]
    assert shown.hides_secrets(*said, "process q1", 'queue="q1')


@pytest.mark.parametrize(
    ("body", "point", "operation", "said"),
    [
        ("good", Point.SETTLE, "complete", "could not be settled"),
        ("broken", Point.SETTLE, "abandon", "could not be settled"),
        ("dead", Point.SETTLE, "dead-letter", "not dead-lettered: "),
        ("later", Point.SEND, None, "not delayed: "),
    ],
)
def test_no_request_that_fails_at_service_bus_shows_a_secret(
    body: str,
    point: Point,
    operation: str | None,
    said: str,
    bus: ServiceBusBroker,
    shown: Shown,
) -> None:
    bus.create_queue("orders")
    transport = opened(bus, "orders")
    asyncio.run(transport.send([_message(f"{body} {SECRET}")]))
    refused = Error(Condition.SERVER_BUSY, IN_ITS_WORDS)
    fault = bus.fail(point, refused, operation=operation)

    async def until_it_was_said(_poller: Poller) -> None:
        await until_true(lambda: shown.said(said))

    polled(transport, does_as_told, until_it_was_said, **EVERYTHING_ON)
    assert fault.struck == 1
    assert shown.hides_secrets(said)


def test_a_lock_that_is_lost_shows_no_secret(bus: ServiceBusBroker, shown: Shown) -> None:
    bus.create_queue("orders")
    started, go_on = asyncio.Event(), asyncio.Event()

    @queue_handler
    async def waits(body: str) -> None:
        started.set()
        await go_on.wait()
        raise RuntimeError(body)

    async def take_it_away(_poller: Poller) -> None:
        await started.wait()
        bus.expire_locks("orders")
        go_on.set()
        await until_true(lambda: shown.said("its lock ended"))

    polled(opened(bus, "orders"), waits, take_it_away, send=[_message(SECRET)], **EVERYTHING_ON)
    assert shown.hides_secrets("its lock ended")


@pytest.mark.parametrize(
    "wrong",
    [
        f"Endpoint=sb://127.0.0.1:{{port}};SharedAccessKeyName=n;SharedAccessKey={SECRET}",
        f"Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey={SECRET}",
        f"Endpoint=sb://127.0.0.1:{{port}};SharedAccessKey={SECRET}",
        f"Endpoint=sb://127.0.0.1:{{port}}/,SharedAccessKeyName=n,SharedAccessKey={SECRET}",
        f"Endpoint=127.0.0.1:{{port}};SharedAccessKeyName=n;SharedAccessKey={SECRET}",
        f"SharedAccessKeyName=n;SharedAccessKey={SECRET}",
        SECRET,
    ],
)
def test_no_connection_string_that_is_wrong_is_shown(
    wrong: str, bus: ServiceBusBroker, shown: Shown
) -> None:
    bus.create_queue("orders")
    string = wrong.format(port=bus.port)
    if "=" in string:
        string += ";UseDevelopmentEmulator=true"
    assert _asked_of(opened(bus, "orders", string), shown) == 3
    assert shown.hides_secrets()


@pytest.mark.parametrize("claim", ["Send", "Listen"])
def test_a_key_that_may_not_do_all_is_not_shown(
    claim: str, bus: ServiceBusBroker, shown: Shown
) -> None:
    bus.create_queue("orders")
    string = bus.add_policy("some", claim)
    shown.secrets.append(_key_of(string))
    assert _asked_of(opened(bus, "orders", string), shown) > 0
    assert shown.hides_secrets("AccessDeniedError")
