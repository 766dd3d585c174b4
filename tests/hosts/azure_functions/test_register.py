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
    Backoff,
    Batch,
    HandlerDefinitionError,
    Message,
    MissingExtraError,
    SettingsError,
    queue_handler,
    register,
)
from queue_runtime.hosts.azure_functions import whole_binding
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


def test_one_app_setting_does_not_bind_several_functions_to_one_queue(
    app: func.FunctionApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_NAME", "orders")
    register(app, take, connection="SERVICEBUS")
    with pytest.raises(SettingsError, match="variable QUEUE_NAME says orders for all") as caught:
        register(app, load, connection="SERVICEBUS")
    assert f"{load.definition.name} names clicks in its decorator" in str(caught.value)
    register(app, load, connection="SERVICEBUS", queue="clicks", name="said")
    monkeypatch.setenv("QUEUE_NAME", "")
    monkeypatch.setenv("QUEUE__CLICKS__NAME", "prod-clicks")
    other = func.FunctionApp()
    register(other, take, connection="SERVICEBUS")
    register(other, load, connection="SERVICEBUS")
    assert {name: each["queueName"] for name, each in bindings(other).items()} == {
        "take": "orders",
        "load": "prod-clicks",
    }


def test_debug_tells_what_a_function_is_bound_to(
    app: func.FunctionApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_RESERVE_SECONDS", "0.25")
    with caplog.at_level("DEBUG", "queue_runtime"):
        register(app, take, connection="SERVICEBUS")
    lines = [record.getMessage() for record in caplog.records]
    assert (
        "function take is triggered by orders over the app setting SERVICEBUS, sessions False"
        in lines
    )
    assert "reserve_seconds = 0.25 (environment variable QUEUE_RESERVE_SECONDS)" in lines


@pytest.mark.parametrize(
    "text", ["Endpoint=sb://n/;SharedAccessKey=hunter2", "sb://u:hunter2@host", "a hunter2"]
)
def test_a_connection_string_is_no_name_of_an_app_setting(app: func.FunctionApp, text: str) -> None:
    with pytest.raises(HandlerDefinitionError, match="the name of an app setting") as caught:
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
        ({"queue": "servicebus:///q"}, ("q", None, None)),
        ({"queue": "servicebus://ns/q?receivers=4"}, ("q", None, None)),
        ({"queue": "servicebus://ns/team%2Fq"}, ("team/q", None, None)),
        ({"queue": "servicebus://ns/q/dead-letter"}, ("q/$DeadLetterQueue", None, None)),
        ({"queue": "servicebus://ns/t/s/dead-letter"}, (None, "t", "s/$DeadLetterQueue")),
    ],
)
def test_where_the_messages_come_from(
    app: func.FunctionApp, given: dict[str, Any], names: tuple[str | None, ...]
) -> None:
    register(app, take, connection="SB", **given)
    (found,) = bindings(app).values()
    assert names == tuple(found.get(key) for key in ("queueName", "topicName", "subscriptionName"))


def test_a_url_that_says_sessions_binds_to_sessions(app: func.FunctionApp) -> None:
    register(app, take, connection="SB", queue="servicebus://ns/carts?sessions=true")
    (found,) = bindings(app).values()
    assert found["isSessionsEnabled"] is True


@pytest.mark.parametrize(
    ("given", "delay"),
    [
        ({"queue": "team/orders"}, "copy"),
        ({"queue": "orders/$DeadLetterQueue"}, "none"),
        ({"topic": "news", "subscription": "all"}, "none"),
    ],
)
def test_a_slash_in_a_name_makes_no_subscription_of_a_queue(
    app: func.FunctionApp, given: dict[str, Any], delay: str
) -> None:
    assert register(app, take, connection="SB", **given).abilities.delay == delay


def test_a_url_without_a_queue_is_told_both_ways_to_mend_it(app: func.FunctionApp) -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        register(app, take, connection="SB", queue="servicebus://orders")
    assert "servicebus:///orders for the queue orders" in str(refused.value)
    assert "servicebus://orders/queue" in str(refused.value)


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
    with pytest.raises(HandlerDefinitionError, match=r"queue=|no Service Bus queue|names no queue"):
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
        monkeypatch.setitem(sys.modules, "queue_runtime.hosts.azure_functions.whole_binding", None)
        monkeypatch.delattr("queue_runtime.hosts.azure_functions.whole_binding", raising=False)
    else:
        monkeypatch.setattr(whole_binding, "_converter", None)


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
    found = whole_binding.decode(
        Datum("model_binding_data", Item("AzureServiceBusReceivedMessage"))
    )
    assert isinstance(found, whole_binding.ServiceBusDelivery)


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
        whole_binding.decode(datum)


@pytest.fixture
def another_converter() -> Iterator[None]:
    registry = get_binding_registry()._bindings
    yield
    assert registry["serviceBusTrigger"] is whole_binding._converter


@pytest.mark.usefixtures("another_converter")
def test_a_converter_that_is_there_already_is_left_alone() -> None:
    assert whole_binding._make_converter() is None
    assert whole_binding.taken() is False


def test_the_annotation_is_one_that_the_worker_can_index(app: func.FunctionApp) -> None:
    register(app, load, connection="SB")
    (function,) = app.get_functions()
    hints = typing.get_type_hints(function.get_user_function())
    assert hints == {"messages": typing.List[whole_binding.ServiceBusDelivery]}  # noqa: UP006


def test_the_package_has_no_other_lazy_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unregister'"):
        _ = queue_runtime.unregister


def plain(order: bytes) -> None: ...


SECRET = "c2VjcmV0"
WRONG_VALUES: list[tuple[Any, dict[str, Any], str]] = [
    (take, {"connection": ""}, "it is empty"),
    (take, {"connection": "  "}, "it is empty"),
    (take, {"connection": None}, "it is empty or no text"),
    (take, {"connection": f"Endpoint=sb://x/;SharedAccessKey={SECRET}="}, "not the connection str"),
    (take, {"connection": f"{SECRET}="}, "not the connection string itself"),
    (take, {"connection": "shop.servicebus.windows.net"}, "SERVICEBUS__fullyQualifiedNamespace"),
    (take, {"connection": "%SERVICEBUS%"}, "without % or blanks"),
    (load, {"max_batch": 0}, "1 or more, not 0"),
    (load, {"max_batch": True}, "1 or more, not True"),
    (load, {"max_batch": "50"}, "1 or more, not '50'"),
    (take, {"timeout": 0}, "above 0, not 0"),
    (take, {"timeout": -5.0}, "above 0, not -5.0"),
    (take, {"timeout": float("nan")}, "above 0, not nan"),
    (take, {"timeout": "00:05:00"}, "above 0, not '00:05:00'"),
    (take, {"name": ""}, "cannot be a function's name"),
    (take, {"name": "take order"}, "cannot be a function's name"),
    (take, {"name": "1take"}, "cannot be a function's name"),
    (take, {"name": "host"}, "cannot be a function's name"),
    (take, {"sessions": "yes"}, "sessions= is True or False"),
    (load, {"renew_locks": 1}, "renew_locks= is True or False"),
    (take, {"queue": ""}, "no queue is named"),
    (take, {"queue": " orders "}, "cannot be a queue name"),
    (take, {"queue": "o" * 261}, "cannot be a queue name"),
    (take, {"topic": "t", "subscription": "a b"}, "cannot be a subscription name"),
    (take, {"topic": "", "subscription": ""}, "topic= and subscription= together"),
    (take, {"settings": {"queue": "orders"}}, "load_settings"),
    (plain, {}, "put @queue_handler on it"),
    ("take", {}, "a str is no handler"),
]


@pytest.mark.parametrize(("handler", "given", "sentence"), WRONG_VALUES)
def test_a_value_that_cannot_work_is_refused_where_it_is_said(
    handler: Any, given: dict[str, Any], sentence: str, app: func.FunctionApp
) -> None:
    with pytest.raises(HandlerDefinitionError) as refused:
        register(app, handler, **{"connection": "SERVICEBUS", **given})
    assert sentence in str(refused.value)
    assert SECRET not in str(refused.value)
    assert bindings(app) == {}


@pytest.mark.parametrize(("arguments", "fix"), [("swapped", "comes first"), ("none", "make one")])
def test_an_app_that_is_none_is_refused(arguments: str, fix: str, app: func.FunctionApp) -> None:
    first, second = (take, app) if arguments == "swapped" else (object(), take)
    with pytest.raises(HandlerDefinitionError, match=fix):
        register(first, second, connection="SERVICEBUS")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["orders", "team/orders", "%QUEUE%", "Orders.2-a_b"])
def test_names_that_a_queue_can_have_are_taken(name: str, app: func.FunctionApp) -> None:
    register(app, take, connection="shop:Bus", queue=name, timeout=float("inf"))
    assert bindings(app)["take"]["queueName"] == name


def test_a_backoff_without_delayed_retries_is_said_to_have_no_effect(
    app: func.FunctionApp, caplog: pytest.LogCaptureFixture
) -> None:
    @queue_handler(queue="slow", backoff=Backoff(30))
    def slow(order: bytes) -> None: ...

    register(app, slow, connection="SERVICEBUS")
    assert "the backoff of" in caplog.text
    assert "delayed_retries=True" in caplog.text


@pytest.mark.parametrize("name", ["SERVICEBUS", "AZURE_SERVICE_BUS_CONNECTION_STRING"])
def test_a_connection_string_beside_the_trigger_is_said_to_have_no_effect(
    name: str,
    app: func.FunctionApp,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_SERVICE_BUS_CONNECTION_STRING", "Endpoint=sb://x/;SharedAccessKey=k")
    register(app, take, connection=name)
    assert ("connection_string = ***" in caplog.text) is (name == "SERVICEBUS")


@pytest.mark.parametrize("body", ["text of a JMS message", b"\xff"], ids=["text", "bytes"])
@pytest.mark.parametrize("batch", [False, True], ids=["one", "batch"])
def test_a_value_body_is_read_from_single_messages_as_from_batches(
    app: func.FunctionApp, host: Hosts, service: SettlementService, body: Any, batch: bool
) -> None:
    seen: list[bytes] = []

    @queue_handler(queue="orders")
    def one(message: Message[bytes]) -> None:
        seen.append(message.body)

    @queue_handler(queue="orders")
    def many(messages: Batch[bytes]) -> None:
        seen.extend(message.body for message in messages)

    register(app, many if batch else one, connection="SB", name="take")
    running = host(app)
    assert running.functions["take"]["properties"]["SupportsDeferredBinding"]
    assert running.invoke("take", Sent(value_body=body)).fates == ["completed"]
    assert seen == [body.encode() if isinstance(body, str) else body]


@pytest.mark.usefixtures("no_binding")
def test_single_messages_come_by_the_workers_own_type_where_ours_cannot_be_had(
    app: func.FunctionApp, host: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    register(app, take, connection="SB")
    assert "whose body is an AMQP value" in caplog.text
    assert host(app).invoke("take", Sent(b"{}")).fates == ["completed"]
