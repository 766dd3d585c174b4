"""The span trees of every host and transport, kept as files:  UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import asyncio
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, DeadLetter, Message, Retry, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.hosts.azure_functions.host import FunctionsHost, Source
from queue_runtime.sending.observed_send import send_observed
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.service_bus import sessions
from tests.brokers.service_bus import Kind
from tests.hosts.poller.service_bus_rig import happened, opened, polled
from tests.lambda_rig import Rig, fifo, records
from tests.observability.rig import (
    OTHER_PRODUCER,
    PRODUCER,
    XRAY,
    poll,
    poll_on,
    service_bus_broker,
    sqs_broker,
    tree,
)
from tests.sqs_rig import open_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.hosts.poller import Poller
    from queue_runtime.transports.base import Transport
    from tests.brokers.service_bus import ServiceBusBroker

# The Service Bus SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FOLDER = Path(__file__).parents[1] / "golden"
HOST_SPAN = "00-aaaabbbbccccddddeeeeffff00001111-aaaabbbbccccdddd-01"


@queue_handler(tracing="otel", dead_letter="dlq", queue="golden")
def take(message: Message[str]) -> None:
    if message.body == "busy" and message.delivery_count == 1:
        raise Retry("busy", after=0)
    if message.body == "bad":
        raise DeadLetter("bad")
    if message.body == "broken":
        raise KeyError("k")


@queue_handler(tracing="otel", dead_letter="dlq", queue="golden", batch_order="accept_repeats")
def take_all(batch: Batch[str]) -> None:
    for message in batch:
        if message.body == "bad":
            batch.fail(message, DeadLetter("bad"))


def _records() -> list[dict[str, Any]]:
    first, second, third = records("good", "busy", "bad")
    first["messageAttributes"] = records("x", attributes={"traceparent": PRODUCER})[0][
        "messageAttributes"
    ]
    second["attributes"]["AWSTraceHeader"] = XRAY
    third["messageAttributes"] = records(
        "x", attributes={"Diagnostic-Id": OTHER_PRODUCER, "correlation_id": "c1"}
    )[0]["messageAttributes"]
    return [first, second, third]


def lambda_single() -> None:
    Rig(take)(*_records())


def lambda_batch() -> None:
    Rig(take_all)(*_records())


def lambda_fifo() -> None:
    Rig(take)(*fifo(("g", "good"), ("h", "good"), ("g", "broken")))


# Of what ends the same way there is one message a scene: whether two are settled by one request
# depends on how soon the second one ends.


def _local(body: str, group: str | None = None) -> OutgoingMessage:
    return OutgoingMessage(body=body, attributes={"traceparent": PRODUCER}, group_id=group)


def local_single() -> None:
    poll(take, _local("good"), queue="golden")


def local_dead_letter() -> None:
    poll(take, _local("bad"), queue="golden")


def local_batch() -> None:
    poll(take_all, _local("good"), _local("bad"), queue="golden")


def local_batch_of_one() -> None:
    poll(take_all, _local("good"), queue="golden")


def local_ordered() -> None:
    poll(take, _local("good", "g"), _local("bad", "g"), queue="golden-ordered", options="&ordered")


def _native(**system: str) -> dict[str, Any]:
    sent = {name: {"DataType": "String", "StringValue": text} for name, text in system.items()}
    return {"MessageSystemAttributes": sent}


def _sqs(handler: Any, *messages: OutgoingMessage, name: str = "golden", dead: str = "dlq") -> None:
    with sqs_broker() as broker:
        broker.create_queue(name)
        broker.create_queue(dead)
        settings: dict[str, Any] = {"concurrency": 1, "dead_letter": dead}
        poll_on(open_queue(name, dead_letter=dead), handler, *messages, **settings)


def sqs_single() -> None:
    good = OutgoingMessage(body="good", attributes={"traceparent": PRODUCER}, correlation_id="c1")
    _sqs(take, good, OutgoingMessage(body="busy", native=_native(AWSTraceHeader=XRAY)))


def sqs_dead_letter() -> None:
    both = {"traceparent": OTHER_PRODUCER}
    _sqs(take, OutgoingMessage(body="bad", attributes=both, native=_native(AWSTraceHeader=XRAY)))


def sqs_batch() -> None:
    bodies = {"good": PRODUCER, "bad": OTHER_PRODUCER, "good too": PRODUCER}
    _sqs(
        take_all,
        *(
            OutgoingMessage(body=body, attributes={"traceparent": of})
            for body, of in bodies.items()
        ),
    )


def sqs_fifo() -> None:
    pairs = (("g", "good"), ("h", "broken"), ("g", "bad"))
    messages = [_local(body, group) for group, body in pairs]
    _sqs(take, *messages, name="golden.fifo", dead="dlq.fifo")


def _one_by_one(
    broker: ServiceBusBroker,
    path: str,
    *lots: tuple[Sequence[OutgoingMessage], Kind],
    released: int = 0,
) -> None:
    """Send one lot after the other, each once the broker has settled the last of the one before.

    Poll on until so many sessions are released.
    """
    transport = opened(broker, path)

    async def send_and_wait(_poller: Poller) -> None:
        for lot, kind in lots:
            assert not refused(await transport.send(lot))
            await happened(broker, kind, message_id=lot[-1].deduplication_id)
        await happened(broker, Kind.SESSION_RELEASED, released)

    polled(transport, take, send_and_wait)


def _bus(body: str, **fields: Any) -> OutgoingMessage:
    attributes = {"Diagnostic-Id": PRODUCER}
    return OutgoingMessage(body=body, attributes=attributes, deduplication_id=body, **fields)


def service_bus_single() -> None:
    good, busy = _bus("good", correlation_id="c1"), _bus("busy")
    with service_bus_broker() as broker:
        broker.create_queue("golden")
        _one_by_one(broker, "golden", ([good], Kind.COMPLETED), ([busy], Kind.COMPLETED))


def service_bus_dead_letter() -> None:
    with service_bus_broker() as broker:
        broker.create_queue("golden")
        _one_by_one(broker, "golden", ([_bus("bad")], Kind.DEAD_LETTERED))


def service_bus_batch() -> None:
    async def until_both_are_settled(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED)
        await happened(broker, Kind.DEAD_LETTERED)

    with service_bus_broker() as broker:
        broker.create_queue("golden")
        sent = [_bus("good"), _bus("bad")]
        polled(opened(broker, "golden"), take_all, until_both_are_settled, send=sent)


def service_bus_sessions() -> None:
    first = [_bus("good", group_id="g"), _bus("bad", group_id="g")]
    second = [_bus("good too", group_id="h")]
    lots = (first, Kind.DEAD_LETTERED), (second, Kind.COMPLETED)
    with service_bus_broker() as broker, pytest.MonkeyPatch.context() as patch:
        # A busy machine may take longer than usual to hand over a session's first message: given
        # up as idle, the session would be accepted, and have a span, once more.
        patch.setattr(sessions, "IDLE_SECONDS", 3.0)
        broker.create_queue("golden", requires_session=True)
        _one_by_one(broker, "golden?sessions=true", *lots, released=2)


def _send(transport: Transport, *messages: OutgoingMessage) -> None:
    known = load_settings({}, environ={}, arguments={"tracing": "otel"})
    asyncio.run(send_observed(transport, messages, known))


def local_send() -> None:
    transport = open_transport("local://golden?memory", settings=load_settings({}, environ={}))
    _send(transport, OutgoingMessage(body="good"), OutgoingMessage(body="bad"))
    poll_on(transport, take_all)


def sqs_send() -> None:
    with sqs_broker() as broker:
        broker.create_queue("golden")
        transport = open_queue("golden")
        _send(transport, OutgoingMessage(body="good", attributes={"tenant": "x"}))
        poll_on(transport, take)


def sqs_send_without_room() -> None:
    crowded = {f"a{number}": "x" for number in range(9)}
    with sqs_broker() as broker:
        broker.create_queue("golden")
        transport = open_queue("golden")
        _send(transport, OutgoingMessage(body="good", attributes=crowded))
        poll_on(transport, take)


def service_bus_send() -> None:
    async def until_done(_poller: Poller) -> None:
        await happened(broker, Kind.COMPLETED)

    with service_bus_broker() as broker:
        broker.create_queue("golden")
        transport = opened(broker, "golden")
        _send(transport, OutgoingMessage(body="good", deduplication_id="m1"))
        polled(transport, take, until_done)


class Settlement:
    """Takes every settlement."""

    def call(self, calls: Sequence[Any], /) -> list[Any]:
        return [None] * len(calls)


def _service_bus(number: int, body: str, parent: str | None, session: str | None = None) -> Any:
    return SimpleNamespace(
        get_body=lambda: body.encode(),
        message_id=f"m{number}",
        lock_token=f"00000000-0000-4000-8000-00000000000{number}",
        session_id=session,
        correlation_id="c1",
        delivery_count=2,
        sequence_number=number,
        application_properties={"Diagnostic-Id": parent} if parent else {},
        enqueued_time_utc=datetime(2026, 11, 25, tzinfo=UTC),
        metadata={},
    )


def _functions(handler: Any, native: Any, *, sessions: bool = False) -> None:
    host = FunctionsHost(
        handler,
        Source("golden", "SERVICEBUS", sessions),
        settings=load_settings(handler.definition.settings, environ={}),
        settlement=Settlement(),
    )
    invocation = SimpleNamespace(
        trace_context=SimpleNamespace(trace_parent=HOST_SPAN, trace_state="")
    )
    host.run(native, invocation)


def functions_single() -> None:
    _functions(take, _service_bus(1, "good", PRODUCER))


def functions_batch() -> None:
    messages = [_service_bus(1, "good", PRODUCER), _service_bus(2, "bad", OTHER_PRODUCER)]
    _functions(take_all, messages)


def functions_session() -> None:
    bodies = ("good", "bad", "broken", "not run")
    messages = [
        _service_bus(number, body, PRODUCER, "s") for number, body in enumerate(bodies, start=1)
    ]
    _functions(take, messages, sessions=True)


SCENES: list[Callable[[], None]] = [
    lambda_single,
    lambda_batch,
    lambda_fifo,
    local_single,
    local_dead_letter,
    local_batch,
    local_batch_of_one,
    local_ordered,
    local_send,
    functions_single,
    functions_batch,
    functions_session,
    sqs_single,
    sqs_batch,
    sqs_fifo,
    sqs_dead_letter,
    sqs_send,
    sqs_send_without_room,
    service_bus_single,
    service_bus_batch,
    service_bus_sessions,
    service_bus_dead_letter,
    service_bus_send,
]
# As the local queue draws them, and as SQS does.
DRAWN = re.compile(r"\b(?<!-)[0-9a-f]{32}\b(?!-)|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def _numbered(text: str) -> str:
    """Put a number where a queue drew an id at random."""
    drawn = DRAWN.findall(text)
    for number, identity in enumerate(dict.fromkeys(drawn), start=1):
        text = text.replace(identity, f"message-{number}")
    return text


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_spans_are_the_kept_ones(scene: Callable[[], None], spans: Any) -> None:
    scene()
    found = _numbered(json.dumps(tree(spans.get_finished_spans()), indent=2)) + "\n"
    path = FOLDER / f"{scene.__name__}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found)
    assert found == path.read_text()


def test_there_is_a_scene_for_every_kept_file() -> None:
    kept = {path.stem for path in FOLDER.glob("*.json")}
    assert kept == {scene.__name__ for scene in SCENES}
