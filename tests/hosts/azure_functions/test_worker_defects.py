"""What the host and the worker do to careless functions, and that ours are not among them."""

import typing

import azure.functions as func
import pytest

from queue_runtime import Batch, Message, queue_handler, register
from tests.hosts.azure_functions.conftest import Hosts
from tests.hosts.azure_functions.encoding import Sent
from tests.hosts.azure_functions.fake_host import IndexingError
from tests.hosts.azure_functions.settlement_service import SettlementService

OVERRIDING = b'{"messageId": "theirs", "lockToken": "forged", "deliveryCount": 99, "State": "x"}'


def test_a_json_body_overrides_metadata_where_it_is_bound_as_text(
    app: func.FunctionApp, host: Hosts
) -> None:
    seen: list[str] = []

    @app.service_bus_queue_trigger(arg_name="msg", connection="SB", queue_name="orders")
    def careless(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    host(app).invoke("careless", Sent(b'{"messageId": "theirs"}', message_id="ours"))
    assert seen == ["theirs"]


def test_a_json_body_never_overrides_our_metadata(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    seen: list[tuple[str, int]] = []

    @queue_handler(queue="orders", max_deliveries=1)
    def handler(message: Message[dict[str, object]]) -> None:
        seen.append((message.id, message.delivery_count))
        raise ValueError("dead-letter it")

    register(app, handler, connection="SB")
    sent = Sent(OVERRIDING, message_id="ours")
    assert host(app).invoke("handler", sent).fates == ["dead-lettered"]
    assert seen == [("ours", 1)]
    assert list(service.dead_letters) == [sent.lock_token]


def test_a_batch_of_texts_with_an_empty_body_fails_whole(
    app: func.FunctionApp, host: Hosts
) -> None:
    @app.service_bus_queue_trigger(
        arg_name="msgs", connection="SB", queue_name="orders", cardinality="many"
    )
    def careless(msgs: typing.List[func.ServiceBusMessage]) -> None:  # noqa: UP006
        raise AssertionError("not reached")

    invocation = host(app).invoke("careless", Sent(b"a"), Sent(b""))
    assert "IndexError" in invocation.error
    assert invocation.fates == ["abandoned", "abandoned"]


def test_an_empty_body_fails_no_other_message_of_ours(app: func.FunctionApp, host: Hosts) -> None:
    seen: list[bytes] = []

    @queue_handler(queue="orders")
    def handler(batch: Batch[bytes]) -> None:
        seen.extend(message.body for message in batch)

    register(app, handler, connection="SB")
    invocation = host(app).invoke("handler", Sent(b"a"), Sent(b""), Sent(None))
    assert invocation.fates == ["completed"] * 3
    assert seen == [b"a", b"", b""]


def test_metadata_of_a_batch_slides_onto_other_messages(app: func.FunctionApp, host: Hosts) -> None:
    seen: list[str | None] = []

    @app.service_bus_queue_trigger(
        arg_name="msgs",
        connection="SB",
        queue_name="orders",
        cardinality="many",
        data_type="binary",
    )
    def careless(msgs: typing.List[func.ServiceBusMessage]) -> None:  # noqa: UP006
        seen.extend(msg.correlation_id for msg in msgs)

    host(app).invoke("careless", Sent(), Sent(correlation_id="of the second"))
    assert seen == ["of the second", None]


def test_every_field_of_our_batch_belongs_to_its_own_message(
    app: func.FunctionApp, host: Hosts
) -> None:
    seen: list[tuple[object, ...]] = []

    @queue_handler(queue="orders")
    def handler(batch: Batch[dict[str, int]]) -> None:
        for m in batch:
            seen.append((m.id, m.correlation_id, m.delivery_count, dict(m.attributes), m.body))

    register(app, handler, connection="SB")
    host(app).invoke(
        "handler",
        Sent(b'{"n": 1}', sequence_number=41),
        Sent(b'{"n": 2}', message_id="b", correlation_id="c", delivery_count=3),
        Sent(b'{"n": 3}', message_id="c", properties={"kind": "late", "size": 3}),
    )
    assert seen == [
        ("sequence-41", None, 1, {}, {"n": 1}),
        ("b", "c", 3, {}, {"n": 2}),
        ("c", None, 1, {"kind": "late", "size": 3}, {"n": 3}),
    ]


def test_a_plain_list_annotation_stops_the_whole_app(app: func.FunctionApp, host: Hosts) -> None:
    @app.service_bus_queue_trigger(
        arg_name="msgs", connection="SB", queue_name="orders", cardinality="many"
    )
    def careless(msgs: list[func.ServiceBusMessage]) -> None:
        raise AssertionError("not reached")

    with pytest.raises(IndexingError):
        host(app)


def test_a_returned_value_fails_a_careless_invocation(app: func.FunctionApp, host: Hosts) -> None:
    @app.service_bus_queue_trigger(arg_name="msg", connection="SB", queue_name="orders")
    def careless(msg: func.ServiceBusMessage) -> str:
        return "done"

    invocation = host(app).invoke("careless", Sent())
    assert "RuntimeError" in invocation.error
    assert invocation.fates == ["abandoned"]


def test_what_our_handler_returns_never_reaches_the_worker(
    app: func.FunctionApp, host: Hosts
) -> None:
    @queue_handler(queue="orders")
    def chatty(order: dict) -> None:  # type: ignore[type-arg]
        return "done"  # type: ignore[return-value]

    register(app, chatty, connection="SB")
    assert host(app).invoke("chatty", Sent()).fates == ["completed"]


def test_a_handler_object_under_the_trigger_itself_is_refused_by_the_worker(
    app: func.FunctionApp, host: Hosts
) -> None:
    @queue_handler(queue="orders")
    def handler(order: bytes) -> None:
        raise AssertionError("not reached")

    app.service_bus_queue_trigger(arg_name="order", connection="SB", queue_name="orders")(handler)
    with pytest.raises(IndexingError, match="TypeError"):
        host(app)


@pytest.mark.parametrize("auto_complete", [True, False])
def test_every_message_is_settled_whatever_auto_complete_says(
    app: func.FunctionApp, host: Hosts, service: SettlementService, auto_complete: bool
) -> None:
    @queue_handler(queue="orders")
    def handler(batch: Batch[bytes]) -> None:
        batch.fail(batch[1], ValueError("no"))

    register(app, handler, connection="SB")
    running = host(app, auto_complete=auto_complete)
    invocation = running.invoke("handler", Sent(), Sent(), Sent())
    assert invocation.fates == ["completed", "abandoned", "completed"]
    assert invocation.succeeded
    assert len(service.calls) == 3


def test_a_settlement_after_the_invocation_is_refused(service: SettlementService) -> None:
    from queue_runtime import LockLostError
    from queue_runtime.clouds.azure_settlement import SettlementClient, complete

    client = SettlementClient()
    (error,) = client.call([complete("of an earlier invocation")])
    client.close()
    assert isinstance(error, LockLostError)
    assert "not found" in str(error)
