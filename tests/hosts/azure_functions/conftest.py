"""A Settlement service and a host for each test, closed afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import azure.functions as func
import pytest

from queue_runtime.observability.events import events
from tests.hosts.azure_functions.fake_host import FakeHost
from tests.hosts.azure_functions.settlement_service import SettlementService

if TYPE_CHECKING:
    from pathlib import Path

Hosts: TypeAlias = Callable[..., FakeHost]


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once a process is said once a test."""
    monkeypatch.setattr(events, "_said", set())


@pytest.fixture
def app() -> func.FunctionApp:
    return func.FunctionApp()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[SettlementService]:
    """The service, at the address that the host starts its worker with."""
    running = SettlementService()
    monkeypatch.setattr(sys, "argv", ["worker", *uri(running.port)])
    yield running
    running.stop()


@pytest.fixture
def host(tmp_path: Path, service: SettlementService) -> Iterator[Hosts]:
    """Makes hosts that have the Settlement service."""
    made: list[FakeHost] = []

    def make(app: Any = None, folder: Path = tmp_path, **options: Any) -> FakeHost:
        made.append(FakeHost(folder, options.pop("service", service), app=app, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def uri(port: int) -> list[str]:
    return ["--functions-uri", f"http://127.0.0.1:{port}/"]
