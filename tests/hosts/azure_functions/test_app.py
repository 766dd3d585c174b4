"""The app at the project's root, as it is deployed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from queue_runtime.hosts.azure_functions.timeouts import invocation_seconds
from tests.hosts.azure_functions.encoding import Sent

if TYPE_CHECKING:
    import pytest

    from tests.hosts.azure_functions.conftest import Hosts
    from tests.hosts.azure_functions.settlement_service import SettlementService

ROOT = Path(__file__).resolve().parents[3]


def test_the_root_app_runs_the_very_handler_that_lambda_runs(
    host: Hosts, service: SettlementService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVICEBUS", raising=False)
    running = host(folder=ROOT)
    assert running.functions["take_order"]["queueName"] == "orders"

    def fate(body: str, count: int = 1) -> str:
        return running.invoke("take_order", Sent(body, delivery_count=count)).fates[0]

    assert fate('{"id": "order-1", "amount": "12.50"}') == "completed"
    assert fate('{"id": "order-2", "amount": "-1"}') == "dead-lettered"
    assert fate('{"id": "order-3"}') == "dead-lettered"
    assert fate('{"id": "offline-4", "amount": "1"}') == "abandoned"
    assert fate('{"id": "offline-4", "amount": "1"}', count=5) == "dead-lettered"
    assert fate('{"id": "busy-9-x", "amount": "1"}') == "abandoned"


def test_importing_the_app_imports_no_grpc_and_no_service_bus() -> None:
    program = (
        "import sys, function_app; "
        "print([m for m in sys.modules if m.split('.')[0] == 'grpc' "
        "or m.startswith(('azure.servicebus', 'azure.identity', 'google.protobuf'))])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


def test_a_batch_handler_brings_neither_until_it_is_called() -> None:
    program = (
        "import sys, azure.functions as func\n"
        "from queue_runtime import Batch, queue_handler, register\n"
        "@queue_handler(queue='clicks')\n"
        "def load(batch: Batch[bytes]) -> None: ...\n"
        "register(func.FunctionApp(), load, connection='SB')\n"
        "print([m for m in ('grpc', 'azure.servicebus') if m in sys.modules])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


def test_host_json_is_what_the_docs_explain() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    page = (ROOT / "docs" / "hosts" / "azure-functions.md").read_text()
    settings = host["extensions"]["serviceBus"]
    for name in (*settings, "functionTimeout", "extensionBundle", "logging"):
        assert f"`{name}`" in page
    assert settings["prefetchCount"] == 0
    assert settings["maxConcurrentCallsPerSession"] == 1
    assert invocation_seconds({}, [ROOT]) == 300


def test_the_examples_of_settings_are_json() -> None:
    example = json.loads((ROOT / "local.settings.json.example").read_text())
    assert example["Values"]["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert "SERVICEBUS__fullyQualifiedNamespace" in example["Values"]


def test_what_is_not_deployed() -> None:
    lines = (ROOT / ".funcignore").read_text().split()
    assert {"tests/", "local.settings.json", "docs/"} <= set(lines)
    for needed in ("queue_runtime/", "functions/", "function_app.py", "host.json"):
        assert needed not in lines
