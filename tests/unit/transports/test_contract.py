"""The contract of transports: what it holds, where it is public, and what it costs to have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import queue_runtime
from queue_runtime import TransportError, transports
from queue_runtime.config import load_settings
from queue_runtime.config.services import BY_SCHEME, SERVICES, Service
from queue_runtime.transports import (
    CountsSessions,
    OutgoingMessage,
    Purges,
    SendResult,
    open_transport,
    queue_url,
    refused,
)
from queue_runtime.transports.base import __all__ as contract

SOURCES = sorted(Path(queue_runtime.__file__).parent.rglob("*.py"))
# Lambda's path, and what a Functions app that delays nothing loads.
PROGRAM = """
import sys
import queue_runtime.hosts.aws_lambda.host
import queue_runtime.transports
import queue_runtime.transports.sqs.delays_and_dead_letters
import queue_runtime.transports.service_bus.wire
import queue_runtime.hosts.azure_functions.settling
print(*sys.modules)
"""


def test_no_transport_is_asked_for_what_the_contract_does_not_say() -> None:
    asked = re.compile(r"getattr\(\s*(self\._)?(transport|queue)\b")
    assert not [path.name for path in SOURCES if asked.search(path.read_text())]


def test_all_of_the_contract_is_public() -> None:
    assert set(contract) <= set(transports.__all__)
    assert dir(transports) == sorted(transports.__all__)
    assert all(getattr(transports, name) is not None for name in transports.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = transports.Nothing


def _loaded(program: str) -> set[str]:
    # -S: site's own imports would hide ours.
    whole = f"import sys; sys.path[:] = {sys.path!r}\n{program}"
    ran = [sys.executable, "-S", "-c", whole]
    return {*subprocess.run(ran, capture_output=True, text=True, check=True).stdout.split()}


def test_functions_do_not_load_the_contract() -> None:
    loaded = _loaded(PROGRAM)
    assert "queue_runtime.transports" in loaded
    assert "queue_runtime.transports.services" not in loaded
    # From Python 3.14 on logging, which every host has, loads dataclasses itself.
    added = loaded - _loaded("import logging, sys; print(*sys.modules)")
    assert not {"queue_runtime.transports.base", "dataclasses", "importlib.metadata"} & added


def test_a_message_to_send_is_made_by_names_and_shows_no_body() -> None:
    message = OutgoingMessage(body="SECRET", attributes={"key": "SECRET"}, group_id="g")
    assert "SECRET" not in repr(message)
    with pytest.raises(TypeError):
        OutgoingMessage("SECRET")  # type: ignore[call-arg]  # which is the point


def test_refused_names_errors_by_the_positions_of_their_messages() -> None:
    error = TransportError("no")
    assert refused([SendResult("a"), SendResult(error=error), SendResult("c")]) == {1: error}


def test_what_only_some_transports_can_is_asked_of_each(tmp_path: Path) -> None:
    local = load_settings(environ={}, arguments={"local_directory": str(tmp_path)})
    queue = open_transport("local://orders?memory", settings=local)
    assert isinstance(queue, Purges)
    assert not isinstance(queue, CountsSessions)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.provider)
def test_a_bare_name_is_a_queue_of_the_provider(service: Service) -> None:
    provider, prefix = service.provider, service.prefix
    settings = load_settings(environ={"QUEUE_PROVIDER": provider})
    assert queue_url("orders", settings) == f"{prefix}orders"
    assert BY_SCHEME[prefix.partition("://")[0]] is service
