"""How long an invocation may take, and when a batch is called late."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from math import inf
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, SettingsError, queue_handler
from queue_runtime.clouds.azure_settlement import SettlementMissingError
from queue_runtime.errors import LockLostError, TransportError
from queue_runtime.hosts.azure_functions import FunctionsHost, Source, host
from queue_runtime.hosts.azure_functions.lock_renewal import LockRenewal, lock_seconds_left
from queue_runtime.hosts.azure_functions.timeouts import (
    CONSUMPTION_SECONDS,
    DEFAULT_SECONDS,
    app_folders,
    invocation_seconds,
    parse_time_span,
)
from queue_runtime.message import Message
from queue_runtime.observability import metrics
from queue_runtime.transports.service_bus.wire import RECEIVED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from queue_runtime.clouds.azure_settlement import Call

VARIABLE = "AzureFunctionsJobHost__functionTimeout"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:05:00", 300),
        (" 00:05:00 ", 300),
        ("01:00:01", 3601),
        ("0:5:0", 300),
        ("00:10", 600),
        ("00:05:00.5", 300.5),
        ("00:00:00.0000001", 1e-7),
        ("1.00:00:00", 86_400),
        ("1.00:00", 86_400),
        ("1:00:00:00", 86_400),
        ("1:00:00:00.25", 86_400.25),
        ("2", 2 * 86_400),
        ("24:00:00", 24 * 86_400),
        ("-1", inf),
        (" -1 ", inf),
    ],
)
def test_a_time_span_is_read_as_the_host_reads_it(text: str, seconds: float) -> None:
    assert parse_time_span(text, "host.json") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:b:c",
        "00:00:00",
        "0",
        "x.00:01:00",
        "-00:01:00",
        "-2",
        "24:00",
        "1.24:00:00",
        "00:60:00",
        "00:00:60",
        "00:05:00.12345678",
        "99:99:99",
        "1.1.00:00:00",
        "\u0661:00:00",
        "9" * 5000,
        "10675200",
    ],
)
def test_what_is_no_time_span(text: str) -> None:
    with pytest.raises(SettingsError, match=r"host\.json: .* is no time span"):
        parse_time_span(text, "host.json")


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ('{"functionTimeout": "00:10:00"}', 600),
        ('\ufeff{"functionTimeout": "00:10:00"}', 600),
        ("{}", DEFAULT_SECONDS),
        ('{"functionTimeout": 7}', 7 * 86_400),
        ('{"functionTimeout": null}', DEFAULT_SECONDS),
        ('{ // the longest call\n "functionTimeout": "00:10:00" }', 600),
        ('{/* "functionTimeout": "00:01:00", */ "functionTimeout": "00:10:00",}', 600),
        ('{"a": "// no comment", "FunctionTimeout": "00:10", // x\n}', 600),
        ('{"a": "\\", // in a text", "FUNCTIONTIMEOUT": "00:10:00"}', 600),
        ("[" * 100_000, DEFAULT_SECONDS),
        ("[]", DEFAULT_SECONDS),
        ("no JSON", DEFAULT_SECONDS),
    ],
)
def test_host_json_says_it_unless_the_environment_does(
    tmp_path: Path, content: str, seconds: float
) -> None:
    (tmp_path / "host.json").write_text(content, "utf-8")
    assert invocation_seconds({}, [tmp_path / "missing", tmp_path]) == seconds
    assert invocation_seconds({VARIABLE: "00:01:00"}, [tmp_path]) == 60


@pytest.mark.parametrize(
    "name",
    [
        VARIABLE,
        "AzureFunctionsJobHost__FunctionTimeout",
        "AZUREFUNCTIONSJOBHOST__FUNCTIONTIMEOUT",
        "AzureFunctionsJobHost:functionTimeout",
    ],
)
def test_the_app_setting_is_read_in_every_spelling_that_the_host_reads(name: str) -> None:
    assert invocation_seconds({"PATH": "/bin", name: "00:10:00"}, []) == 600


@pytest.mark.parametrize(
    ("sku", "seconds"),
    [
        ("Dynamic", CONSUMPTION_SECONDS),
        ("FlexConsumption", DEFAULT_SECONDS),
        ("ElasticPremium", DEFAULT_SECONDS),
        ("", DEFAULT_SECONDS),
    ],
)
def test_without_a_word_the_plan_says_it(sku: str, seconds: float) -> None:
    assert invocation_seconds({"WEBSITE_SKU": sku, VARIABLE: ""}, []) == seconds


def test_where_host_json_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("function_app")
    module.__file__ = str(tmp_path / "function_app.py")
    monkeypatch.setitem(sys.modules, "function_app", module)
    root = str(tmp_path / "root")
    assert [str(each) for each in app_folders({"AzureWebJobsScriptRoot": root})] == [
        root,
        str(tmp_path),
        ".",
    ]
    monkeypatch.delitem(sys.modules, "function_app")
    assert [str(each) for each in app_folders({})] == ["."]


def held(until: datetime | None) -> Message[Any]:
    native = SimpleNamespace(
        locked_until_utc=until,
        message_id="m",
        lock_token="t",
        sequence_number=1,
        session_id="s",
        application_properties={},
        delivery_count=0,
    )
    message: Message[Any] = Message(native, RECEIVED, "orders")
    message.receipt = "t"
    return message


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_how_long_a_lock_lasts() -> None:
    assert lock_seconds_left(held(None)) is None
    left = lock_seconds_left(held(soon(30)))
    assert left is not None
    assert 20 < left <= 30
    naive = lock_seconds_left(held(soon(30).replace(tzinfo=None)))
    assert naive is not None
    assert 20 < naive <= 30


class Locks:
    """Answers renewals, one list after the other; then it says so."""

    def __init__(self, *answers: list[TransportError | None]) -> None:
        from threading import Event

        self.answers = list(answers)
        self.calls: list[list[str]] = []
        self.done = Event()

    def call(self, calls: Sequence[Call]) -> list[TransportError | None]:
        self.calls.append([call.method for call in calls])
        answer = self.answers.pop(0)
        if not self.answers:
            self.done.set()
        return answer


def test_a_lock_that_is_lost_is_renewed_no_more() -> None:
    before = metrics.LOCKS_LOST.values().get(("orders",), 0)
    locks = Locks([LockLostError("gone"), None], [LockLostError("gone")])
    renewal = LockRenewal([held(soon(0.1)), held(soon(0.1))], locks, session=False)
    assert locks.done.wait(20)
    renewal.stop()
    assert locks.calls == [["RenewMessageLock"] * 2, ["RenewMessageLock"]]
    assert metrics.LOCKS_LOST.values()[("orders",)] == before + 2


def test_without_the_service_no_lock_is_renewed(caplog: pytest.LogCaptureFixture) -> None:
    locks = Locks([SettlementMissingError("too old")])
    renewal = LockRenewal([held(soon(0.1))], locks, session=True)
    assert locks.done.wait(20)
    renewal.stop()
    assert locks.calls == [["RenewSessionLock"]]
    assert "locks cannot be renewed: too old" in caplog.text


@pytest.mark.parametrize(
    ("left", "late"), [(-1.0, True), (1.0, True), (60.0, False), (None, False)]
)
def test_a_batch_that_ends_near_its_locks_end_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    left: float | None,
    late: bool,
) -> None:
    @queue_handler(queue="orders")
    def slow(batch: Batch[bytes]) -> None:
        clock[0] += 20

    class Settled:
        def call(self, calls: Sequence[Call]) -> list[TransportError | None]:
            return [None] * len(calls)

    clock = [100.0]
    monkeypatch.setattr(host, "monotonic", lambda: clock[0])
    ours = FunctionsHost(slow, Source("orders", "SB"), settlement=Settled())
    native = held(None if left is None else soon(left)).native
    native.body, native.body_type = [b""], SimpleNamespace(value="data")
    ours.run([native])
    assert ("before its locks end" in caplog.text) is late
