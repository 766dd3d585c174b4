"""What a servicebus:// URL names, and how its namespace is reached."""

from __future__ import annotations

import pytest

from queue_runtime.config import load_settings
from queue_runtime.errors import (
    MissingExtraError,
    QueueNotFoundError,
    QueueRuntimeError,
    SettingsError,
    TransportError,
)
from queue_runtime.transports import open_transport
from queue_runtime.transports.service_bus.address import (
    ServiceBusAddress,
    connection_to,
    read_address,
)

KEYED = (
    "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=app;SharedAccessKey=c2VjcmV0"
)
EMULATED = (
    "Endpoint=sb://localhost;SharedAccessKeyName=app;SharedAccessKey=c2VjcmV0;"
    "UseDevelopmentEmulator=true;"
)


@pytest.mark.parametrize(
    ("url", "address", "queue"),
    [
        ("servicebus://shop/orders", ServiceBusAddress("shop", "orders"), "orders"),
        ("servicebus:///orders", ServiceBusAddress("", "orders"), "orders"),
        (
            "servicebus://shop.servicebus.windows.net/news/all",
            ServiceBusAddress("shop.servicebus.windows.net", "news", "all"),
            "news/all",
        ),
        (
            "servicebus://shop/orders/dead-letter",
            ServiceBusAddress("shop", "orders", dead_letters=True),
            "orders/dead-letter",
        ),
        (
            "servicebus://shop/news/all/dead-letter?sessions=true",
            ServiceBusAddress("shop", "news", "all", dead_letters=True),
            "news/all/dead-letter",
        ),
        (
            "servicebus://shop/carts?sessions",
            ServiceBusAddress("shop", "carts", sessions=True),
            "carts",
        ),
        (
            "servicebus://shop/a%2Fb?receivers=4&sessions=false",
            ServiceBusAddress("shop", "a/b", receivers=4),
            "a/b",
        ),
        ("servicebus://shop/dead-letter", ServiceBusAddress("shop", "dead-letter"), "dead-letter"),
    ],
)
def test_url_is_read(url: str, address: ServiceBusAddress, queue: str) -> None:
    assert read_address(url) == address
    assert read_address(url).queue == queue


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("servicebus://shop", "names no queue"),
        ("servicebus://shop/a/b/c", "names no queue"),
        ("servicebus://shop/%DEAD%", "names no queue"),
        ("servicebus://orders", "servicebus:///orders for the queue orders"),
        ("servicebus://shop//a", "names no queue"),
        ("servicebus://user:c2VjcmV0@shop/orders", "names no queue"),
        ("servicebus://shop/orders?lock=3", "no option 'lock'"),
        ("servicebus://shop/orders?sessions=maybe", "true or false"),
        ("servicebus://shop/orders?receivers=0", "from 1 to 32"),
        ("servicebus://shop/orders?receivers=many", "from 1 to 32"),
    ],
)
def test_what_is_no_queue_is_refused(url: str, what: str) -> None:
    with pytest.raises(QueueNotFoundError, match=what) as caught:
        read_address(url)
    assert "c2VjcmV0" not in str(caught.value)


def test_short_name_and_identity() -> None:
    chosen = load_settings(environ={"AZURE_CLIENT_ID": "me", "AZURE_TENANT_ID": "here"})
    connection = connection_to(read_address("servicebus://shop/orders"), chosen)
    assert connection.connection_string is None
    assert connection.namespace == "shop.servicebus.windows.net"
    assert (connection.client_id, connection.tenant_id) == ("me", "here")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("servicebus://shop/orders", KEYED),
        ("servicebus://shop.servicebus.windows.net/orders", KEYED),
        ("servicebus:///orders", KEYED),
        ("servicebus:///orders", EMULATED),
        ("servicebus://anything/orders", EMULATED),
    ],
)
def test_connection_string(url: str, text: str) -> None:
    chosen = load_settings(environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": text})
    secret = connection_to(read_address(url), chosen).connection_string
    assert secret is not None
    assert secret.reveal() == text


def test_another_namespace_than_the_connection_strings() -> None:
    chosen = load_settings(environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": KEYED})
    with pytest.raises(SettingsError, match=r"names the namespace other\.servicebus") as caught:
        connection_to(read_address("servicebus://other/orders"), chosen)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Endpoint=sb://shop.servicebus.windows.net/", "has no SharedAccessKeyName"),
        ("Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKey=c2VjcmV0", "KeyName"),
        (
            "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=a",
            "has no SharedAccessKey",
        ),
        (f"{KEYED};c2VjcmV0", "has no ="),
        (f"{KEYED};EntityPath=news", "for news alone"),
    ],
)
def test_a_connection_string_that_is_not_whole(text: str, what: str) -> None:
    chosen = load_settings(environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": text})
    with pytest.raises(SettingsError, match=what) as caught:
        connection_to(read_address("servicebus:///orders"), chosen)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"{KEYED};EntityPath=orders",
        "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessSignature=sr=x",
    ],
)
def test_a_connection_string_of_the_queue_or_signed_already(text: str) -> None:
    chosen = load_settings(environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": text})
    assert connection_to(read_address("servicebus:///orders"), chosen).connection_string


def test_neither_namespace_nor_connection_string() -> None:
    with pytest.raises(SettingsError, match="names no namespace"):
        connection_to(read_address("servicebus:///orders"), load_settings(environ={}))


def test_opening_does_not_connect() -> None:
    chosen = load_settings(environ={})
    transport = open_transport("servicebus://shop/carts?sessions=true", settings=chosen)
    assert (transport.queue, transport.ordered, transport.batch_size) == ("carts", True, 100)


def test_sdk_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "azure.servicebus", None)
    with pytest.raises(MissingExtraError, match=r"queue-runtime\[azure\]"):
        open_transport("servicebus://shop/orders", settings=load_settings(environ={}))


def test_sdk_that_does_not_confirm_settlements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.servicebus.__version__", "7.14.3")
    with pytest.raises(TransportError, match=r"7\.15") as caught:
        open_transport("servicebus://shop/orders", settings=load_settings(environ={}))
    assert isinstance(caught.value, QueueRuntimeError)
