"""A dead letter is the same entry, and is read back alike, wherever its message failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from queue_runtime import DeadLetterRecord, Message, queue_handler
from queue_runtime.clouds.azure_settlement import SettlementClient
from queue_runtime.config import load_settings
from queue_runtime.hosts.aws_lambda import LambdaHost
from queue_runtime.hosts.azure_functions import FunctionsHost, Source
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.testing import deliver, lambda_context
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.service_bus.functions_wire import Delivery
from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers.sqs import SqsBroker
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.hosts.azure_functions.encoding import Sent, amqp
from tests.hosts.azure_functions.settlement_service import SettlementService
from tests.hosts.poller import service_bus_rig, sqs_rig
from tests.lambda_rig import Sqs, records
from tests.sqs_rig import aws_environment, open_queue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from queue_runtime.transports.base import Transport

# The SDK leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WRITTEN = DeadLetterRecord(
    reason="failed on delivery 1 of 1: ValueError",
    error_type="ValueError",
    error="-3",
    queue="orders",
    handler="tests.hosts.test_dead_letters_everywhere.fail",
    deliveries=1,
)


@queue_handler(queue="orders", max_deliveries=1)
def fail(order: dict[str, Any]) -> None:
    raise ValueError("-3")


def reader(found: list[DeadLetterRecord | None]) -> Any:
    @queue_handler
    def look(message: Message[bytes]) -> None:
        found.append(message.dead_letter)
        assert message.attributes == {}

    return look


async def consumed(queue: Transport, handler: Any) -> None:
    settings = load_settings(handler.definition.settings, environ={})
    try:
        await Poller(handler, queue, settings=settings).run(Until.EMPTY)
    finally:
        await queue.aclose()


def on_local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[DeadLetterRecord | None]:
    settings = load_settings(environ={}, arguments={"local_directory": str(folder)})
    found: list[DeadLetterRecord | None] = []

    async def run() -> None:
        queue = open_transport("local://orders", settings=settings)
        assert not refused(await queue.send([OutgoingMessage(body="{}")]))
        await consumed(queue, fail)
        await consumed(open_transport("local://orders/dead-letter", settings=settings), look)

    look = reader(found)
    asyncio.run(run())
    return found


def on_sqs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[DeadLetterRecord | None]:
    found: list[DeadLetterRecord | None] = []
    with SqsBroker() as broker:
        aws_environment(monkeypatch, broker.endpoint_url)
        sqs_rig.with_dead_letters(broker)

        async def run() -> None:
            queue = open_queue("orders")
            assert not refused(await queue.send([OutgoingMessage(body="{}")]))
            await consumed(queue, fail)
            await consumed(open_queue("dead"), reader(found))

        asyncio.run(run())
    return found


def on_service_bus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[DeadLetterRecord | None]:
    found: list[DeadLetterRecord | None] = []
    with ServiceBusBroker() as broker:
        broker.create_queue("orders")

        async def run() -> None:
            queue = service_bus_rig.opened(broker, "orders")
            assert not refused(await queue.send([OutgoingMessage(body="{}")]))
            await consumed(queue, fail)
            await consumed(service_bus_rig.opened(broker, "orders/dead-letter"), reader(found))

        asyncio.run(run())
    collect_leaks()
    return found


def on_lambda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[DeadLetterRecord | None]:
    found: list[DeadLetterRecord | None] = []
    sqs = Sqs()
    settings = load_settings(fail.definition.settings, environ={}, arguments={"dead_letter": "dlq"})
    LambdaHost(fail, settings=settings, clients=sqs)({"Records": records("{}")}, lambda_context())
    (entry,) = sqs.sent
    (record,) = records(entry["MessageBody"], queue="dlq")
    record["messageAttributes"] = {
        name: {"dataType": value["DataType"], "stringValue": value["StringValue"]}
        for name, value in entry["MessageAttributes"].items()
    }
    LambdaHost(reader(found), settings=load_settings(environ={}))(
        {"Records": [record]}, lambda_context()
    )
    return found


def on_functions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[DeadLetterRecord | None]:
    found: list[DeadLetterRecord | None] = []
    service = SettlementService()
    client = SettlementClient(lambda: f"127.0.0.1:{service.port}")
    sent = Sent(b"{}", lock_token="00000000-0000-0000-0000-000000000001")
    service.begin([sent.lock_token])
    try:
        host = FunctionsHost(fail, Source("orders", "SB"), settlement=client)
        host.run(sent_to_the_worker(sent))
        reason, description = service.dead_letters[sent.lock_token]
    finally:
        client.close()
        service.stop()
    told = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
    entry = Sent(b"{}", properties=told)
    FunctionsHost(reader(found), Source("orders/$deadletterqueue", "SB")).run(
        sent_to_the_worker(entry)
    )
    return found


def sent_to_the_worker(sent: Sent) -> Delivery:
    return Delivery(UUID(sent.lock_token).bytes_le + amqp(sent))


@pytest.mark.parametrize("consume", [on_local, on_sqs, on_service_bus, on_lambda, on_functions])
def test_the_entry_is_the_same_and_read_back_alike(
    consume: Callable[..., list[DeadLetterRecord | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (record,) = consume(tmp_path, monkeypatch)
    assert record is not None
    assert record.failed_at is not None
    assert record._replace(failed_at=None) == WRITTEN


def test_a_handlers_test_shows_what_production_shows() -> None:
    found: list[DeadLetterRecord | None] = []
    deliver(reader(found), b"{}", dead_letter=WRITTEN)
    deliver(reader(found), b"{}")
    assert found == [WRITTEN, None]
