"""What `register` puts on an app, and what it refuses to."""

import json
import logging
import sys
import typing
from collections.abc import Iterator
from typing import Any

import azure.functions as func
import pytest
from azurefunctions.extensions.base import get_binding_registry

import queue_runtime
from queue_runtime import (
    Batch,
    HandlerDefinitionError,
    Message,
    MissingExtraError,
    SettingsError,
    queue_handler,
    register,
)
from queue_runtime.hosts.azure_functions import batch_binding
from tests.hosts.azure_functions.conftest import Hosts
from tests.hosts.azure_functions.encoding import Sent
from tests.hosts.azure_functions.settlement_service import SettlementService


@queue_handler(queue="orders")
def take(order: Message[bytes]) -> None: ...


@queue_handler(queue="orders")
async def take_async(order: bytes) -> None: ...


@queue_handler(queue="clicks")
def load(clicks: Batch[bytes]) -> None:
    for click in clicks:
        _ = (click.id, click.correlation_id)


@queue_handler(queue="clicks", batch_order="accept_repeats")
async def load_in_order(clicks: Batch[bytes]) -> None: ...


@queue_handler
def homeless(order: bytes) -> None: ...


def bindings(app: func.FunctionApp) -> dict[str, dict[str, Any]]:
    return {
        str(each.get_function_name()): json.loads(each.get_raw_bindings()[0])
        for each in app.get_functions()
    }


def test_a_queue_trigger_for_one_message(app: func.FunctionApp) -> None:
    register(app, take, connection="SERVICEBUS")
    assert bindings(app) == {
        "take": {
            "type": "serviceBusTrigger",
            "direction": "IN",
            "name": "message",
            "connection": "SERVICEBUS",
            "queueName": "orders",
            "dataType": "BINARY",
            "cardinality": "ONE",
            "isSessionsEnabled": False,
            "autoCompleteMessages": True,
        }
    }


def test_a_topic_trigger_for_batches_of_sessions(app: func.FunctionApp) -> None:
    register(
        app,
        load_in_order,
        connection="SERVICEBUS",
        topic="sales",
        subscription="mail",
        sessions=True,
        name="mail",
        max_batch=20,
    )
    assert bindings(app) == {
        "mail": {
            "type": "serviceBusTrigger",
            "direction": "IN",
            "name": "messages",
            "connection": "SERVICEBUS",
            "topicName": "sales",
            "subscriptionName": "mail",
            "dataType": "BINARY",
            "cardinality": "MANY",
            "isSessionsEnabled": True,
            "autoCompleteMessages": False,
            "maxMessageBatchSize": 20,
        }
    }


@pytest.mark.parametrize(
    ("handler", "sessions", "auto"),
    [(take, False, True), (take, True, True), (load, False, True), (load_in_order, True, False)],
)
def test_auto_complete_is_off_for_batches_of_sessions_alone(
    app: func.FunctionApp, handler: Any, sessions: bool, auto: bool
) -> None:
    register(app, handler, connection="SB", sessions=sessions)
    (found,) = bindings(app).values()
    assert found["autoCompleteMessages"] is auto


def test_any_number_of_handlers_run_in_one_app(app: func.FunctionApp, host: Hosts) -> None:
    for handler in (take, take_async, load):
        register(app, handler, connection="SB")
    register(app, take, connection="SB", queue="others", name="take_others")
    running = host(app)
    assert set(running.functions) == {"take", "take_async", "load", "take_others"}
    for name in running.functions:
        assert running.invoke(name, Sent()).fates == ["completed"]


def test_a_blueprint_takes_handlers_too(app: func.FunctionApp) -> None:
    blueprint: Any = func.Blueprint()  # type: ignore[no-untyped-call]  # the library's own
    register(blueprint, take, connection="SB")
    app.register_functions(blueprint)
    assert set(bindings(app)) == {"take"}


def test_a_second_function_of_the_same_name_is_refused(app: func.FunctionApp) -> None:
    register(app, take, connection="SB")
    with pytest.raises(HandlerDefinitionError, match=r"has a function TAKE already.*name="):
        register(app, take_async, connection="SB", name="TAKE")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("data_type", "always binary"),
        ("cardinality", "annotation decides"),
        ("auto_complete_messages", "register sets it"),
        ("access_rights", "takes no notice"),
        ("retry", "ignores retry policies"),
        ("max_concurrent_calls", "host.json alone"),
        ("nonsense", "no such option"),
    ],
)
def test_options_that_would_be_ignored_are_refused_with_the_reason(
    app: func.FunctionApp, option: str, why: str
) -> None:
    options: dict[str, Any] = {option: "x"}
    with pytest.raises(HandlerDefinitionError, match=f"does not take {option}: .*{why}"):
        register(app, take, connection="SB", **options)
    assert bindings(app) == {}


@pytest.mark.parametrize(
    "text", ["Endpoint=sb://n/;SharedAccessKey=hunter2", "sb://u:hunter2@host", "a hunter2"]
)
def test_a_connection_string_is_no_name_of_an_app_setting(app: func.FunctionApp, text: str) -> None:
    with pytest.raises(HandlerDefinitionError, match="takes the name of an app setting") as caught:
        register(app, take, connection=text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", [{"max_batch": 5}, {"renew_locks": True}])
def test_options_of_batches_are_refused_for_single_messages(
    app: func.FunctionApp, option: dict[str, Any]
) -> None:
    with pytest.raises(HandlerDefinitionError, match=f"{next(iter(option))} has no effect"):
        register(app, take, connection="SB", **option)


def test_a_batch_of_a_session_has_to_be_asked_for(app: func.FunctionApp) -> None:
    with pytest.raises(HandlerDefinitionError, match="accept_repeats"):
        register(app, load, connection="SB", sessions=True)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ("orders", None, None)),
        ({"queue": "q"}, ("q", None, None)),
        ({"queue": "servicebus://ns/q"}, ("q", None, None)),
        ({"queue": "servicebus://ns/t/s"}, (None, "t", "s")),
    ],
)
def test_where_the_messages_come_from(
    app: func.FunctionApp, given: dict[str, Any], names: tuple[str | None, ...]
) -> None:
    register(app, take, connection="SB", **given)
    (found,) = bindings(app).values()
    assert names == tuple(found.get(key) for key in ("queueName", "topicName", "subscriptionName"))


@pytest.mark.parametrize(
    "given",
    [
        {"topic": "t"},
        {"subscription": "s"},
        {"queue": "q", "topic": "t", "subscription": "s"},
        {"queue": "sqs://orders"},
        {"queue": "servicebus://ns"},
    ],
)
def test_what_names_no_queue_is_refused(app: func.FunctionApp, given: dict[str, Any]) -> None:
    with pytest.raises(HandlerDefinitionError, match=r"queue=|no Service Bus queue"):
        register(app, take, connection="SB", **given)


def test_a_handler_without_a_queue_needs_one(
    app: func.FunctionApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUEUE_NAME", raising=False)
    with pytest.raises(HandlerDefinitionError, match="no queue is named"):
        register(app, homeless, connection="SB")


def test_a_name_that_is_an_app_setting_is_shown_as_what_it_means(
    app: func.FunctionApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHICH", "orders-eu")
    monkeypatch.delenv("OTHER", raising=False)
    ours = register(app, take, connection="SB", queue="%WHICH%")
    assert ours.source.name == "orders-eu"
    other = register(app, take_async, connection="SB", queue="a-%OTHER%")
    assert other.source.name == "a-%OTHER%"
    assert {each["queueName"] for each in bindings(app).values()} == {"%WHICH%", "a-%OTHER%"}


def test_a_value_that_the_host_cannot_use_is_said(
    app: func.FunctionApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QUEUE_VISIBILITY_TIMEOUT_SECONDS", "60")
    with caplog.at_level(logging.WARNING):
        register(app, take, connection="SB")
    assert "visibility_seconds = 60" in caplog.text


def test_a_wrong_time_limit_stops_the_start(
    app: func.FunctionApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AzureFunctionsJobHost__functionTimeout", "soon")
    with pytest.raises(SettingsError, match="'soon' is no time span"):
        register(app, take, connection="SB")


def test_without_azure_functions_it_says_what_to_install(
    app: func.FunctionApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "azure.functions", None)
    with pytest.raises(MissingExtraError, match=r"queue-runtime\[functions\]"):
        register(app, take, connection="SB")


@pytest.fixture(params=["not installed", "taken by another package"])
def no_binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "not installed":
        monkeypatch.setitem(sys.modules, "queue_runtime.hosts.azure_functions.batch_binding", None)
        monkeypatch.delattr("queue_runtime.hosts.azure_functions.batch_binding", raising=False)
    else:
        monkeypatch.setattr(batch_binding, "_converter", None)


@pytest.mark.usefixtures("no_binding")
def test_batches_come_as_arrays_where_our_type_cannot_be_had(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    register(app, load, connection="SB")
    running = host(app)
    assert "SupportsDeferredBinding" not in str(running.functions)
    assert "batches come as arrays" in caplog.text
    sent = [Sent(b"a", message_id="a"), Sent(b"", message_id="b", correlation_id="of b")]
    for _ in range(2):
        assert running.invoke("load", *sent).fates == ["completed"] * 2
    slid = [line for line in caplog.messages if "some messages have no correlation_id" in line]
    assert len(slid) == 1


@pytest.mark.usefixtures("no_binding")
def test_a_neighbours_id_is_never_taken_for_a_messages_own(
    app: func.FunctionApp, host: Hosts, service: SettlementService
) -> None:
    seen: list[str] = []

    @queue_handler(queue="clicks")
    def look(clicks: Batch[bytes]) -> None:
        seen.extend(click.id for click in clicks)

    register(app, look, connection="SB")
    host(app).invoke("look", Sent(sequence_number=1), Sent(message_id="second", sequence_number=2))
    assert seen == ["sequence-1", "sequence-2"]


def test_the_sdks_own_messages_are_taken_as_well(service: SettlementService) -> None:
    from azure.servicebus import ServiceBusReceivedMessage

    from queue_runtime.hosts.azure_functions import FunctionsHost, Source
    from tests.hosts.azure_functions.encoding import amqp

    received = ServiceBusReceivedMessage.from_bytes(amqp(Sent(b"body", message_id="m")))
    seen: list[str] = []
    host = FunctionsHost(
        take,
        Source("orders", "SB"),
        observe=lambda messages, outcomes: seen.extend(message.id for message in messages),
    )
    host.run(received)
    host.run([])
    assert seen == ["m"]


class Datum:
    def __init__(self, type: str, value: Any) -> None:
        self.type, self.value = type, value


class Item:
    def __init__(self, source: str, content: bytes = b"x" * 16) -> None:
        self.source, self.content = source, content


def test_our_type_reads_one_message() -> None:
    found = batch_binding.decode(
        Datum("model_binding_data", Item("AzureServiceBusReceivedMessage"))
    )
    assert isinstance(found, batch_binding.ServiceBusDelivery)


@pytest.mark.parametrize(
    ("datum", "why"),
    [
        (None, "sent None"),
        (Datum("string", "text"), "sent string"),
        (Datum("model_binding_data", Item("AzureStorageBlobs")), "AzureStorageBlobs"),
    ],
)
def test_our_type_refuses_what_it_did_not_ask_for(datum: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        batch_binding.decode(datum)


@pytest.fixture
def another_converter() -> Iterator[None]:
    registry = get_binding_registry()._bindings
    yield
    assert registry["serviceBusTrigger"] is batch_binding._converter


@pytest.mark.usefixtures("another_converter")
def test_a_converter_that_is_there_already_is_left_alone() -> None:
    assert batch_binding._make_converter() is None
    assert batch_binding.taken() is False


def test_the_annotation_is_one_that_the_worker_can_index(app: func.FunctionApp) -> None:
    register(app, load, connection="SB")
    (function,) = app.get_functions()
    hints = typing.get_type_hints(function.get_user_function())
    assert hints == {"messages": typing.List[batch_binding.ServiceBusDelivery]}  # noqa: UP006


def test_the_package_has_no_other_lazy_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unregister'"):
        _ = queue_runtime.unregister
