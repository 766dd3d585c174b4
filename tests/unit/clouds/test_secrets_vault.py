from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import pytest

from queue_runtime.clouds.secrets_vault import Vault
from queue_runtime.config.references import SecretProblem
from tests.vault_server import VaultServer, vault_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLES = [
    "ADDR",
    "TOKEN",
    "TOKEN_FILE",
    "NAMESPACE",
    "CACERT",
    "ROLE",
    "ROLE_ID",
    "SECRET_ID",
    "SECRET_ID_FILE",
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    with vault_server(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture
def server(running: VaultServer, monkeypatch: pytest.MonkeyPatch) -> VaultServer:
    for name in VARIABLES:
        monkeypatch.delenv(f"VAULT_{name}", raising=False)
    monkeypatch.setenv("VAULT_ADDR", running.address)
    monkeypatch.setenv("VAULT_TOKEN", running.token(3600))
    return running


def test_a_secret_s_field_is_read_and_its_next_version_after_it(server: VaultServer) -> None:
    server.write("prod/redis", password="old", user="app")
    store = Vault()
    assert store.read("secret/prod/redis", "password").text == "old"
    server.write("prod/redis", password="new", user="app")
    assert store.read("secret/prod/redis", "password").text == "new"


def test_the_only_field_needs_no_name_and_several_do(server: VaultServer) -> None:
    server.write("one", value="a")
    assert Vault().read("secret/one", "").text == "a"
    server.write("two", a="hunter2", b="hunter2")
    with pytest.raises(SecretProblem, match="has 2 fields: choose one by #field"):
        Vault().read("secret/two", "")
    with pytest.raises(SecretProblem, match="has no field c, but a, b"):
        Vault().read("secret/two", "c")


def test_the_end_of_a_token_that_we_were_given_is_the_secret_s(server: VaultServer) -> None:
    server.write("one", value="a")
    ends = Vault().read("secret/one", "").ends
    assert ends is not None
    assert 3500 < ends - time() < 3700


def test_the_deletion_of_a_secret_is_its_end(server: VaultServer) -> None:
    server.ask("POST", "secret/metadata/brief", delete_version_after="240h")
    server.write("brief", value="a")
    ends = Vault().read("secret/brief", "").ends
    assert ends is not None
    assert 239 * 3600 < ends - time() < 241 * 3600


def test_another_token_in_the_file_is_used_from_then_on(
    server: VaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.write("one", value="a")
    (tmp_path / "token").write_text(server.token(3600))
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(tmp_path / "token"))
    store = Vault()
    assert store.read("secret/one", "").text == "a"
    server.ask("POST", "auth/token/revoke", token=(tmp_path / "token").read_text())
    with pytest.raises(SecretProblem, match="Vault answers 403: the token has ended, or"):
        store.read("secret/one", "")
    (tmp_path / "token").write_text(server.token(3600))
    assert store.read("secret/one", "").text == "a"
    (tmp_path / "token").unlink()
    with pytest.raises(SecretProblem, match="token cannot be read: No such file"):
        store.read("secret/one", "")


@pytest.fixture
def approle(server: VaultServer, monkeypatch: pytest.MonkeyPatch) -> VaultServer:
    if "approle/" not in server.ask("GET", "sys/auth")["data"]:
        server.ask("POST", "sys/auth/approle", type="approle")
    server.ask("POST", "auth/approle/role/app", token_policies="read", token_ttl="1h")
    role = server.ask("GET", "auth/approle/role/app/role-id")["data"]["role_id"]
    secret = server.ask("POST", "auth/approle/role/app/secret-id")["data"]["secret_id"]
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("VAULT_ROLE_ID", role)
    monkeypatch.setenv("VAULT_SECRET_ID", secret)
    server.write("one", value="a")
    return server


def test_a_role_logs_in_once_and_again_when_its_token_is_refused(approle: VaultServer) -> None:
    store = Vault()
    found = store.read("secret/one", "")
    assert (found.text, found.ends) == ("a", None)  # nobody has to renew it
    token = store._token
    assert store.read("secret/one", "").text == "a"
    assert store._token == token
    approle.ask("POST", "auth/token/revoke", token=token)
    assert store.read("secret/one", "").text == "a"
    assert store._token != token


def test_a_role_logs_in_again_before_its_token_ends(approle: VaultServer) -> None:
    now = [1000.0]
    store = Vault(clock=lambda: now[0])
    store.read("secret/one", "")
    token = store._token
    now[0] += 3500.0
    store.read("secret/one", "")
    assert store._token == token
    now[0] += 80.0
    store.read("secret/one", "")
    assert store._token != token


def test_a_login_that_is_refused_is_told_without_the_secret(
    approle: VaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("hunter2")
    monkeypatch.setenv("VAULT_SECRET_ID_FILE", str(tmp_path / "id"))
    with pytest.raises(SecretProblem, match=r"refuses the login \(400\): correct the role") as e:
        Vault().read("secret/one", "")
    assert "hunter2" not in str(e.value)


def test_a_namespace_is_another_place(server: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    server.write("one", value="a")
    with pytest.raises(SecretProblem, match=r"Vault answers 40[34]: "):
        Vault().read("secret/one", "")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("secret/gone", "404: there is no such secret or engine"),
        ("nowhere/a", "403: the token has ended, or no policy of it allows"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_fix(
    server: VaultServer, place: str, why: str
) -> None:
    with pytest.raises(SecretProblem, match=f"Vault answers {why}"):
        Vault().read(place, "")


def test_nobody_to_sign_in_and_nobody_to_answer_are_told(
    server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(SecretProblem, match="nobody signs in to Vault: set VAULT_TOKEN"):
        Vault().read("secret/a", "")
    monkeypatch.setenv("VAULT_ROLE", "in-kubernetes")
    with pytest.raises(SecretProblem, match="serviceaccount/token cannot be read"):
        Vault().read("secret/a", "")
    monkeypatch.setenv("VAULT_TOKEN", "hunter2")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    with pytest.raises(SecretProblem, match="Vault is not reached") as caught:
        Vault().read("secret/a", "")
    assert "hunter2" not in str(caught.value)
