"""What a trigger's `connection` means."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from queue_runtime import MissingExtraError, SettingsError
from queue_runtime.clouds.azure import (
    AzureCredential,
    ServiceBusConnection,
    functions_connection,
    service_bus_client,
)
from queue_runtime.config import Secret

STRING = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0"
NAMESPACE = "ns.servicebus.windows.net"


@pytest.mark.parametrize("variable", ["SB", "AzureWebJobsSB"])
def test_a_connection_string(variable: str) -> None:
    found = functions_connection("SB", {variable: f" {STRING} "})
    assert found.connection_string == Secret(STRING)
    assert "c2VjcmV0" not in repr(found)


@pytest.mark.parametrize("separator", ["__", ":"])
def test_a_namespace_with_an_identity(separator: str) -> None:
    environ = {
        f"SB{separator}fullyQualifiedNamespace": NAMESPACE,
        f"SB{separator}clientId": "id",
        f"SB{separator}tenantId": "tenant",
        f"SB{separator}clientSecret": "hush",
    }
    found = functions_connection("SB", environ)
    assert found == ServiceBusConnection(
        namespace=NAMESPACE, client_id="id", tenant_id="tenant", client_secret=Secret("hush")
    )
    assert "hush" not in repr(found)


@pytest.mark.parametrize("environ", [{}, {"SB": " "}, {"SB__credential": "managedidentity"}])
def test_nothing_is_refused_with_what_to_add(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="SB__fullyQualifiedNamespace"):
        functions_connection("SB", environ)


def test_clients_try_once_and_in_time() -> None:
    for connection in (
        ServiceBusConnection(Secret(STRING)),
        ServiceBusConnection(namespace=NAMESPACE),
        ServiceBusConnection(
            namespace=NAMESPACE, client_id="i", tenant_id="t", client_secret=Secret("s")
        ),
    ):
        client = service_bus_client(connection, seconds=3.0)
        assert client.fully_qualified_namespace == NAMESPACE
        assert client._config.retry_total == 0
        assert client._config.try_timeout == 3.0


def test_an_identity_is_asked_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    asked: list[Any] = []

    class Credential:
        def __init__(self, **options: Any) -> None:
            asked.append(options["managed_identity_client_id"])

        def get_token(self, *scopes: str, **options: Any) -> str:
            asked.append(threading.current_thread() is threading.main_thread())
            return "token"

        def get_token_info(self, *scopes: str, options: Any) -> str:
            asked.append(scopes)
            return "info"

        def close(self) -> None:
            asked.append("closed")

    monkeypatch.setattr("azure.identity.DefaultAzureCredential", Credential)

    async def use() -> list[str]:
        async with AzureCredential(ServiceBusConnection(namespace="ns", client_id="id")) as made:
            return [await made.get_token("scope"), await made.get_token_info("scope")]

    assert asyncio.run(use()) == ["token", "info"]
    assert asked == ["id", False, ("scope",), "closed"]


@pytest.mark.parametrize(
    ("module", "connection"),
    [
        ("azure.servicebus.aio", ServiceBusConnection(Secret(STRING))),
        ("azure.identity", ServiceBusConnection(namespace=NAMESPACE)),
    ],
)
def test_a_missing_sdk_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, connection: ServiceBusConnection
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"queue-runtime\[azure\]"):
        service_bus_client(connection)
