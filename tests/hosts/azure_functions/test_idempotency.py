"""Duplicates through the real worker library: completed when done, abandoned when in progress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, queue_handler, register
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.memory import MemoryStore
from tests.hosts.azure_functions.encoding import Sent

if TYPE_CHECKING:
    import azure.functions as func

    from tests.hosts.azure_functions.conftest import Hosts

RAN: list[str] = []
STORE = MemoryStore()


@pytest.fixture(autouse=True)
def forget() -> None:
    RAN.clear()
    STORE.close()


@queue_handler(queue="orders", idempotency=STORE)
def once(order: dict) -> None:  # type: ignore[type-arg]
    RAN.append("once")


@queue_handler(queue="orders", idempotency=STORE)
async def once_async(order: dict) -> None:  # type: ignore[type-arg]
    await asyncio.sleep(0)
    RAN.append("once")


@queue_handler(queue="orders", idempotency=STORE)
def once_each(orders: Batch[dict]) -> None:  # type: ignore[type-arg]
    RAN.extend(message.id for message in orders)


@pytest.mark.parametrize("handler", [once, once_async], ids=["sync", "async"])
def test_a_duplicate_is_completed_unrun(app: func.FunctionApp, host: Hosts, handler: Any) -> None:
    register(app, handler, connection="SB")
    worker = host(app)
    for _ in range(2):
        assert worker.invoke(handler.__name__, Sent(b"{}", message_id="m")).fates == ["completed"]
    assert RAN == ["once"]


@pytest.mark.parametrize("handler", [once, once_async], ids=["sync", "async"])
def test_one_in_progress_is_abandoned(app: func.FunctionApp, host: Hosts, handler: Any) -> None:
    register(app, handler, connection="SB")
    STORE.claim([Claim(f"{handler.definition.name}@orders#m")], "another", 60)
    assert host(app).invoke(handler.__name__, Sent(b"{}", message_id="m")).fates == ["abandoned"]
    assert RAN == []


def test_a_batch_runs_what_is_neither(app: func.FunctionApp, host: Hosts) -> None:
    register(app, once_each, connection="SB")
    STORE.claim([Claim(f"{once_each.definition.name}@orders#m2")], "another", 60)
    worker = host(app)
    worker.invoke("once_each", Sent(b"{}", message_id="m1"))
    sent = [Sent(b"{}", message_id=f"m{n}") for n in (1, 2, 3)]
    fates = worker.invoke("once_each", *sent).fates
    assert fates == ["completed", "abandoned", "completed"]
    assert RAN == ["m1", "m3"]
