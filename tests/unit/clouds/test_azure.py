from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

from queue_runtime.clouds.azure import (
    AzureCredential,
    ServiceBusConnection,
    identity,
    service_bus_client,
)
from queue_runtime.config import Secret
from queue_runtime.config.references import Found, Referenced
from queue_runtime.hosts.azure_functions.host import Source
from queue_runtime.observability.span_attributes import SpanPlace

KEY = "SharedAccessKeyName=app;SharedAccessKey=c2VjcmV0="


@pytest.mark.parametrize(
    ("connection", "host"),
    [
        (ServiceBusConnection(Secret(f"Endpoint=sb://shop.example/;{KEY}")), "shop.example"),
        (ServiceBusConnection(Secret(f"{KEY};endpoint = sb://shop.example:5671")), "shop.example"),
        (ServiceBusConnection(Secret(KEY)), None),
        (ServiceBusConnection(namespace="shop.example"), "shop.example"),
        (ServiceBusConnection(), None),
    ],
)
def test_the_host_is_told_without_the_key(connection: ServiceBusConnection, host: str) -> None:
    assert connection.host == host


def test_a_trigger_on_a_subscription_tells_its_topic() -> None:
    source = Source("news/all", "SB", subscription="all")
    assert source.place == SpanPlace(topic="news", subscription="all")
    assert Source("team/orders", "SB").place is None
    assert Source("orders", "SB").place is None


class Kept:
    """What a store keeps, and the time that passes until it is asked again."""

    def __init__(self, text: str) -> None:
        self.text, self.now = text, 0.0
        self.secret = Referenced("vault://x", lambda: Found(self.text), lambda: self.now)

    def replace(self, text: str) -> None:
        self.text, self.now = text, self.now + 60.0


async def _token(client: Any) -> str:
    receiver = client.get_queue_receiver("orders")
    token = await receiver._credential.get_token("sb://host/orders")
    return str(token.token)


@pytest.mark.parametrize("emulator", ["", ";UseDevelopmentEmulator=true"])
def test_a_client_signs_each_token_with_the_key_as_it_is_then(emulator: str) -> None:
    text = f"Endpoint=sb://shop.example/;SharedAccessKeyName=app;SharedAccessKey={{}}{emulator}"
    kept = Kept(text.format("old"))
    connection = ServiceBusConnection(kept.secret)

    async def tokens() -> list[str]:
        client = service_bus_client(connection)
        first = await _token(client)
        kept.replace(text.format("new"))
        assert connection.version == 1
        assert await connection.renewed(1)
        assert connection.version == 2
        return [first, await _token(client)]

    old, new = asyncio.run(tokens())
    assert "skn=app" in old
    assert old.partition("&skn")[0] != new.partition("&skn")[0]


def test_a_client_shows_a_signature_as_it_is_then() -> None:
    signature = "SharedAccessSignature sr=x&sig={}&se=9&skn=a"
    text = f"Endpoint=sb://shop.example/;SharedAccessSignature={signature}"
    kept = Kept(text.format("old"))
    connection = ServiceBusConnection(kept.secret)

    async def tokens() -> list[str]:
        client = service_bus_client(connection)
        first = await _token(client)
        kept.replace(text.format("new"))
        assert await connection.renewed(1)
        return [first, await _token(client)]

    assert ["sig=old" in token for token in asyncio.run(tokens())] == [True, False]


def test_a_connection_that_cannot_change_is_not_asked_for_again() -> None:
    for connection in (ServiceBusConnection(namespace="ns"), ServiceBusConnection(Secret("x"))):
        assert connection.version == 0
        assert not asyncio.run(connection.renewed(0))


class App:
    """Stands for azure-identity's credential of an app: it accepts one secret."""

    accepted = "old"

    def __init__(self, tenant: str, client: str, secret: str) -> None:
        self.secret = secret

    def get_token(self, *scopes: str, **_: Any) -> str:
        if self.secret != self.accepted:
            raise ClientAuthenticationError("AADSTS7000215: Invalid client secret")
        return f"token by {self.secret}"

    def close(self) -> None: ...


def test_an_app_s_secret_that_was_refused_is_read_again_and_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("azure.identity.ClientSecretCredential", App)
    kept = Kept("old")
    connection = ServiceBusConnection(
        namespace="ns", client_id="app", tenant_id="t", client_secret=kept.secret
    )

    async def tokens() -> None:
        credential = AzureCredential(connection)
        assert await credential.get_token("x") == "token by old"
        monkeypatch.setattr(App, "accepted", "new")
        with pytest.raises(ClientAuthenticationError):
            await credential.get_token("x")
        kept.replace("new")
        assert await credential.get_token("x") == "token by new"

    asyncio.run(tokens())


def test_the_tenant_of_settings_is_that_of_a_workload_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("azure.identity.DefaultAzureCredential", lambda **said: asked.update(said))
    identity(ServiceBusConnection(namespace="ns", client_id="app", tenant_id="t"))
    assert asked["workload_identity_tenant_id"] == "t"
    assert asked["workload_identity_client_id"] == "app"
