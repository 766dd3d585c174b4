from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import time
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.clouds.secrets_azure import KeyVault
from queue_runtime.config.references import SecretProblem
from tests.brokers.service_bus.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "eyJ.of.the.test"


class KeyVaultServer(BaseHTTPRequestHandler):
    """Answers as Key Vault does, to whoever shows the token; `secrets` is by name."""

    secrets: dict[str, dict[str, Any]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.removeprefix("/secrets/").partition("/")[0]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": {"code": "Unauthorized"}})
        elif name == "moved":
            self.send_response(302)
            self.send_header("Location", "https://127.0.0.1:1/stolen")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name in self.secrets:
            self._answer(200, self.secrets[name])
        else:
            self._answer(404, {"error": {"code": "SecretNotFound"}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


class SignInServer(BaseHTTPRequestHandler):
    """Gives tokens to a managed identity, as App Service does in a function's own container."""

    def do_GET(self) -> None:
        body = {"access_token": TOKEN, "expires_on": str(int(time()) + 3600), "resource": "x"}
        text = json.dumps(body | {"token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    certificate = Certificate(tmp_path)
    handler = type("Server", (KeyVaultServer,), {"secrets": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = certificate.context.wrap_socket(server.socket, server_side=True)
    sign_in = ThreadingHTTPServer(("127.0.0.1", 0), SignInServer)
    threads = [Thread(target=s.serve_forever, args=(0.01,)) for s in (server, sign_in)]
    for thread in threads:
        thread.start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.authority))
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{sign_in.server_port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    handler.place = f"127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield handler
    for each in (server, sign_in):
        each.shutdown()
        each.server_close()
    for thread in threads:
        thread.join()


def test_a_secret_is_read_as_the_identity_of_the_process_with_its_end(vault: Any) -> None:
    vault.secrets["bus"] = {"value": "Endpoint=x", "attributes": {"exp": 1_900_000_000}}
    vault.secrets["plain"] = {"value": '{"a": "b"}', "attributes": {"enabled": True}}
    store = KeyVault()
    found = store.read(f"{vault.place}/bus", "")
    assert (found.text, found.ends) == ("Endpoint=x", 1_900_000_000.0)
    assert store.read(f"{vault.place}/plain", "a").text == "b"
    assert store.read(f"{vault.place}/plain/0123", "a").ends is None
    assert vault.asked[-1] == "/secrets/plain/0123?api-version=7.4"


def test_a_new_version_is_read_without_a_restart(vault: Any) -> None:
    store = KeyVault()
    for text in ("old", "new"):
        vault.secrets["key"] = {"value": text}
        assert store.read(f"{vault.place}/key", "").text == text


@pytest.mark.parametrize(("name", "status"), [("gone", 404), ("moved", 302)])
def test_what_is_no_secret_is_told_with_the_fix_and_no_redirect_is_followed(
    vault: Any, name: str, status: int
) -> None:
    with pytest.raises(SecretProblem, match=f"Key Vault answers {status}: ") as caught:
        KeyVault().read(f"{vault.place}/{name}", "")
    assert TOKEN not in str(caught.value)


def test_a_vault_that_is_not_there_and_a_process_without_an_identity_are_told(
    vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeyVault()
    with pytest.raises(SecretProblem, match="Key Vault is not reached"):
        store.read("127.0.0.1:1/bus", "")

    class Nobody:
        def get_token(self, scope: str) -> None:
            raise RuntimeError(f"no token for {scope}: hunter2")

    store._identity = Nobody()
    with pytest.raises(SecretProblem, match=r"nobody could sign in to Azure \(RuntimeError\)"):
        store.read(f"{vault.place}/bus", "")


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("shop", "https://vault.azure.net/.default"),
        ("shop.vault.azure.net", "https://vault.azure.net/.default"),
        ("shop.vault.azure.cn", "https://vault.azure.cn/.default"),
        ("shop.vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net/.default"),
    ],
)
def test_a_token_is_asked_for_the_cloud_that_the_vault_is_in(name: str, scope: str) -> None:
    asked: list[str] = []

    class Identity:
        def get_token(self, wanted: str) -> None:
            asked.append(wanted)
            raise RuntimeError

    store = KeyVault()
    store._identity = Identity()
    with pytest.raises(SecretProblem):
        store.read(f"{name}/bus", "")
    assert asked == [scope]
