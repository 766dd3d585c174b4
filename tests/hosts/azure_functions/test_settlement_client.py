"""The Settlement client: where it finds the host, what it sends, and what it makes of answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.clouds import azure_settlement as settlement
from queue_runtime.clouds.azure_settlement import (
    SettlementClient,
    SettlementMissingError,
    address_of,
    host_address,
)
from queue_runtime.errors import LockLostError, TransportError
from tests.hosts.azure_functions.protocol import settlement as protobuf
from tests.hosts.azure_functions.settlement_service import SettlementService

if TYPE_CHECKING:
    from collections.abc import Iterator


TOKEN = "6d9b1b4e-62b6-4b64-9c2b-1d6e1d2f3a4b"


@pytest.fixture
def client(service: SettlementService) -> Iterator[SettlementClient]:
    made = SettlementClient(lambda: f"127.0.0.1:{service.port}", seconds=5.0)
    yield made
    made.close()
    made.close()


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (settlement.complete(TOKEN), {"locktoken": TOKEN}),
        (settlement.abandon(TOKEN), {"locktoken": TOKEN}),
        (settlement.renew_message(TOKEN), {"locktoken": TOKEN}),
        (settlement.renew_session("sess\u00efon"), {"session_id": "sess\u00efon"}),
        (settlement.release_session("s" * 128), {"session_id": "s" * 128}),
    ],
)
def test_requests_are_what_protobuf_reads(call: settlement.Call, fields: dict[str, str]) -> None:
    request = getattr(protobuf, call.method).FromString(call.request)
    assert {field.name: value for field, value in request.ListFields()} == fields


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 1024, 20_000])
def test_a_dead_letter_has_reason_and_description_of_any_length(length: int) -> None:
    call = settlement.dead_letter(TOKEN, "r" * length, "\u00e9" * length)
    request = protobuf.Deadletter.FromString(call.request)
    assert request.locktoken == TOKEN
    assert request.deadletter_reason.value == "r" * length
    assert request.deadletter_error_description.value == "\u00e9" * length
    assert request.properties_to_modify == b""


def test_a_reason_with_half_of_a_surrogate_pair_is_sent_escaped() -> None:
    call = settlement.dead_letter(TOKEN, "unknown sku \ud800", "ValueError: \udfff")
    request = protobuf.Deadletter.FromString(call.request)
    assert request.deadletter_reason.value == "unknown sku \\ud800"
    assert request.deadletter_error_description.value == "ValueError: \\udfff"


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--functions-uri", "http://127.0.0.1:4711/"], "127.0.0.1:4711"),
        (["--functions-uri=http://127.0.0.1:4711/"], "127.0.0.1:4711"),
        (["--host", "127.0.0.1", "--port", "12"], "127.0.0.1:12"),
        (["--host=h", "--port=12", "--functions-uri", "http://u:1"], "u:1"),
        (["--host", "127.0.0.1"], None),
        (["--functions-uri"], None),
        (["--functions-uri", "nothing"], None),
        ([], None),
    ],
)
def test_the_address_in_arguments(arguments: list[str], address: str | None) -> None:
    assert address_of(arguments) == address


def test_an_embedded_interpreter_looks_at_the_process_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [""])
    monkeypatch.setattr(settlement, "_command_line", lambda: ["w", "--functions-uri=http://h:1"])
    assert host_address() == "h:1"


def test_the_command_line_is_that_of_this_process() -> None:
    with open("/proc/self/cmdline", "rb") as file:  # mutable titles too: it is read anew
        assert settlement._command_line() == file.read().decode().split("\0")


def test_without_a_command_line_there_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: Any) -> Any:
        raise OSError

    monkeypatch.setattr("builtins.open", gone)
    assert settlement._command_line() == []


def test_outside_of_a_host_every_call_is_answered_with_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(settlement, "_command_line", list)
    client = SettlementClient()
    for _ in range(2):
        errors = client.call([settlement.complete("a"), settlement.complete("b")])
        assert [type(error) for error in errors] == [SettlementMissingError] * 2
        assert "not started by a Functions host" in str(errors[0])


def test_without_grpc_every_call_is_answered_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    (error,) = SettlementClient(lambda: "127.0.0.1:1").call([settlement.complete("a")])
    assert isinstance(error, SettlementMissingError)
    assert "queue-runtime[functions]" in str(error)


@pytest.mark.parametrize("count", [1, 3])
def test_answers_come_in_the_order_of_the_calls(
    client: SettlementClient, service: SettlementService, count: int
) -> None:
    tokens = [str(number) for number in range(count)]
    service.begin(tokens)
    service.lock_lost = {"0"}
    errors = client.call([settlement.complete(token) for token in tokens])
    assert isinstance(errors[0], LockLostError)
    assert errors[1:] == [None] * (count - 1)


def test_an_unknown_token_and_a_failure_are_told_apart(
    client: SettlementClient, service: SettlementService
) -> None:
    service.begin(["known"])
    service.refuse = lambda method, token: token == "known"
    unknown, refused = client.call([settlement.abandon("unknown"), settlement.abandon("known")])
    assert isinstance(unknown, LockLostError)
    assert type(refused) is TransportError
    assert str(refused) == "UNKNOWN: The service is busy."


def test_an_older_service_without_renewals_settles_all_the_same() -> None:
    old = SettlementService(methods=("Complete", "Abandon", "Deadletter"))
    old.begin(["a", "b"])
    client = SettlementClient(lambda: f"127.0.0.1:{old.port}")
    for _ in range(2):
        (error,) = client.call([settlement.renew_message("a")])
        assert isinstance(error, SettlementMissingError)
        assert "RenewMessageLock" in str(error)
    calls = [settlement.complete("a"), settlement.renew_message("a"), settlement.abandon("b")]
    errors = client.call(calls)
    client.close()
    old.stop()
    assert [type(error) for error in errors] == [type(None), SettlementMissingError, type(None)]
    assert sorted(old.calls) == [("Abandon", "b"), ("Complete", "a")]


def test_the_address_is_asked_for_once_and_on_the_first_call(service: SettlementService) -> None:
    asked: list[int] = []

    def find() -> str:
        asked.append(1)
        return f"127.0.0.1:{service.port}"

    client = SettlementClient(find)
    assert asked == []
    client.call([settlement.release_session("s")])
    client.call([settlement.renew_session("s")])
    client.close()
    assert asked == [1]
    assert service.calls == [("ReleaseSession", "s"), ("RenewSessionLock", "s")]


def test_no_calls_need_no_service() -> None:
    assert SettlementClient(lambda: "127.0.0.1:1").call([]) == []
