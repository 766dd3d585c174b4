from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.config import Secret, load_settings
from queue_runtime.config import references as module
from queue_runtime.config.references import (
    Found,
    Referenced,
    SecretProblem,
    end_of,
    field_of,
    is_reference,
    open_reference,
)
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

CONNECTION = "Endpoint=sb://prod/;SharedAccessKeyName=app;SharedAccessKey="


class Store:
    """A store of one secret, which counts how often it is asked."""

    def __init__(self, text: str) -> None:
        self.text, self.asked, self.error = text, 0, ""
        self.now = 0.0

    def read(self) -> Found:
        self.asked += 1
        if self.error:
            raise SecretProblem(self.error)
        return Found(self.text)

    def opened(self) -> Referenced:
        return Referenced("vault://s/x", self.read, lambda: self.now)


def test_a_secret_is_read_once_and_again_after_its_period() -> None:
    store = Store("a")
    secret = store.opened()
    store.text = "b"
    secret.refresh(300.0)
    assert (secret.reveal(), secret.version, store.asked) == ("a", 1, 1)
    store.now = 300.0
    secret.refresh(300.0)
    assert (secret.reveal(), secret.version, store.asked) == ("b", 2, 2)


def test_a_refused_secret_is_read_again_at_once_and_only_a_change_is_worth_a_try() -> None:
    store = Store("a")
    secret = store.opened()
    store.now = 20.0
    assert not secret.renew(secret.version)
    store.now, store.text = 40.0, "b"
    assert secret.renew(1)
    assert secret.reveal() == "b"
    # Others that were refused with the first one, and come later, need no request of theirs.
    assert secret.renew(1)
    assert store.asked == 3


def test_a_store_is_not_asked_twice_within_ten_seconds() -> None:
    store = Store("a")
    secret = store.opened()
    store.text = "b"
    for now in (1.0, 5.0, 9.9):
        store.now = now
        assert not secret.renew(1)
    assert store.asked == 1
    store.now = 10.0
    assert secret.renew(1)


def test_many_that_are_refused_at_once_share_one_request() -> None:
    store = Store("a")
    secret = store.opened()
    store.now, store.text = 60.0, "b"
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(secret.renew(1))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 20
    assert store.asked == 2


def test_a_store_that_fails_leaves_the_last_value_and_is_told() -> None:
    store = Store("a")
    secret = store.opened()
    told: list[str] = []
    secret.on_failure = lambda ref, error: told.append(f"{ref.reference} {error}")
    store.now, store.error = 400.0, "sealed"
    secret.refresh(300.0)
    assert not secret.renew(1)
    assert (secret.reveal(), told, store.asked) == ("a", ["vault://s/x sealed"], 2)


def test_a_referenced_secret_shows_nothing() -> None:
    secret = Store("hunter2").opened()
    for shown in (repr(secret), str(secret), f"{secret:>9}", repr([secret])):
        assert "hunter2" not in shown
    assert secret == Secret("hunter2")


def test_a_plain_secret_has_no_other_value() -> None:
    assert not Secret("a").renew(0)
    assert Secret("a").version == 0


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("vault://secret/a#b", True),
        ("aws-secretsmanager://a", True),
        ("azure-keyvault://v/a", True),
        ("env://A", True),
        ("file:///run/a", True),
        ("secret://a", True),
        ("sqs://a", False),
        ("redis://a", False),
        ("vault", False),
        (CONNECTION, False),
    ],
)
def test_a_reference_is_known_by_its_scheme(text: str, is_one: bool) -> None:
    assert is_reference(text) is is_one


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("a", "", "a"),
        ('{"url": "redis://h"}', "url", "redis://h"),
        ('{"port": 5}', "port", "5"),
    ],
)
def test_a_field_of_a_secret_is_given(text: str, field: str, value: str) -> None:
    assert field_of(text, field) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hunter2", "is no JSON object; leave out #a"),
        ("[1]", "is no JSON object"),
        ('{"b": "hunter2", "c": 1}', "has no field a, but b, c; correct #a"),
        ("{}", "has no field a, but none at all"),
    ],
)
def test_a_field_that_is_not_there_is_told_without_the_secret(text: str, why: str) -> None:
    with pytest.raises(SecretProblem) as caught:
        field_of(text, "a")
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_signature_tells_when_it_ends() -> None:
    signature = "SharedAccessSignature sr=x&sig=y&se=1800000000&skn=z"
    text = f"Endpoint=sb://n/;SharedAccessSignature={signature}"
    assert end_of(text) == 1_800_000_000.0
    assert end_of(text.replace("1800000000", "soon")) is None
    assert end_of(CONNECTION) is None
    store = Store(text)
    assert Referenced("x", store.read).ends is None  # the store's own word counts
    assert open_reference_of(text).ends == 1_800_000_000.0


def open_reference_of(text: str) -> Referenced:
    import os

    os.environ["QR_TEST_SIGNATURE"] = text
    try:
        return open_reference("env://QR_TEST_SIGNATURE")
    finally:
        del os.environ["QR_TEST_SIGNATURE"]


def test_variables_and_files_are_stores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret").write_text(f"{CONNECTION}hunter2\n")
    monkeypatch.setenv("STORE_URL", json.dumps({"url": "redis://u:p@h/0"}))
    settings = load_settings(
        {"idempotency_store": "env://STORE_URL#url"},
        environ={"AZURE_SERVICE_BUS_CONNECTION_STRING": f"file://{folder}/secret"},
    )
    assert settings.connection_string == Secret(f"{CONNECTION}hunter2")
    assert settings.idempotency_store == "redis://u:p@h/0"
    assert set(settings.secrets) == {"connection_string", "idempotency_store"}
    rows = {row.name: row for row in settings.explain()}
    assert rows["connection_string"].value == "***"
    assert rows["idempotency_store"].value == "***"
    assert rows["idempotency_store"].source == (
        "decorator argument idempotency_store by env://STORE_URL#url"
    )
    secret = settings.secret("connection_string")
    assert secret is not None
    (folder / "secret").write_text(f"{CONNECTION}other\n")
    assert isinstance(secret, Referenced)
    secret.refresh(0.0)
    assert secret.reveal() == f"{CONNECTION}other"
    assert settings.replace(concurrency=3).secret("connection_string") is secret


def _problem(reference: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings({"connection_string": reference}, environ=environ)
    return str(caught.value).splitlines()[1].strip()


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env://QR_NOT_SET", "there is no environment variable QR_NOT_SET; set it"),
        ("file:///nowhere/secret", "the file cannot be read: No such file or directory; correct"),
        ("vault://secret", "no name of one follows; write vault://mount/path#field"),
        ("azure-keyvault://v", "no name of one follows; write azure-keyvault://vault/secret"),
        (
            "azure-keyvault://evil.example/x",
            "evil.example is no vault: write its name, or its host",
        ),
        ("vault://secret/a", "VAULT_ADDR says no server: set it"),
    ],
)
def test_a_reference_that_cannot_be_read_is_one_sentence_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, reference: str, why: str
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hunter2")
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    line = _problem(reference)
    assert line.startswith(
        f"decorator argument connection_string by {reference}: cannot be resolved"
    )
    assert why in line


def test_an_empty_secret_is_refused(folder: Path) -> None:
    (folder / "empty").write_text(" \n")
    assert "it resolves to nothing: put a value there" in _problem(f"file://{folder}/empty")


def test_a_store_of_one_s_own_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def read(self, place: str, field: str) -> Found:
            return Found(f"{CONNECTION}{place}-{field}")

    class Entry:
        def load(self) -> Any:
            return Own

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry()])
    try:
        settings = load_settings({"connection_string": "secret://a/b#c"}, environ={})
    finally:
        module._opened.pop("secret", None)
    assert settings.connection_string == Secret(f"{CONNECTION}a/b-c")
