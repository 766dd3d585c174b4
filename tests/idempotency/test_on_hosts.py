"""Idempotent handlers in the poller."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Batch, Idempotency, Message, queue_handler
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.memory import MemoryStore
from tests.hosts.poller.rig import ScriptedQueue, polled, until_true
from tests.idempotency.rig import Watched

if TYPE_CHECKING:
    from collections.abc import Sequence


def sent(*names: str, **fields: Any) -> list[Message[bytes]]:
    made = [Message.of(b'{"id": 1}', id=name, queue="orders", **fields) for name in names]
    for message in made:
        del message.body  # as on a host: read from the payload
    return made


@pytest.fixture
def store() -> Watched:
    return Watched(MemoryStore())


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("commit", ["batch", "each"])
def test_a_polled_message_is_done_once(store: Watched, is_async: bool, commit: Any) -> None:
    ran: list[str] = []
    options = Idempotency(store=store, commit=commit)
    handler: Any
    if is_async:

        @queue_handler(idempotency=options)
        async def take_async(message: Message[dict[str, Any]]) -> None:
            await asyncio.sleep(0)
            ran.append(message.id)

        handler = take_async
    else:

        @queue_handler(idempotency=options)
        def take(message: Message[dict[str, Any]]) -> None:
            ran.append(message.id)

        handler = take
    for _ in range(2):
        queue = ScriptedQueue(*sent("m1", "m2", "m3"))
        polled(handler, queue)
        assert queue.fates() == {"m1": "ack", "m2": "ack", "m3": "ack"}
    assert sorted(ran) == ["m1", "m2", "m3"]


def test_a_polled_batch_handler_gets_what_is_not_done(store: Watched) -> None:
    sizes: list[int] = []

    @queue_handler(idempotency=store)
    def load(orders: Batch[dict[str, Any]]) -> None:
        sizes.append(len(orders))

    polled(load, ScriptedQueue(*sent("m1", "m2")))
    polled(load, ScriptedQueue(*sent("m1", "m2", "m3")))
    assert sizes == [2, 1]


def test_the_store_is_never_asked_on_the_poller_s_loop() -> None:
    loops: list[int] = []
    asked: list[int] = []

    class Where(MemoryStore):
        def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Any:
            asked.append(threading.get_ident())
            return super().claim(claims, owner, seconds)

    @queue_handler(idempotency=Where())
    async def take(message: Message[bytes]) -> None:
        loops.append(threading.get_ident())

    polled(take, ScriptedQueue(*sent("m1")))
    assert asked
    assert set(asked).isdisjoint(loops)


def test_claims_end_with_the_lock(store: Watched) -> None:
    @queue_handler(idempotency=store)
    def take(message: Message[bytes]) -> None: ...

    polled(take, ScriptedQueue(*sent("m1"), lock=60))
    assert store.lengths == [pytest.approx(60, abs=5)]


def test_a_claim_is_extended_while_its_lock_is_renewed(store: Watched) -> None:
    second: list[str] = []

    @queue_handler(idempotency=store)
    def take(message: Message[bytes]) -> None:
        for _ in range(600):
            if store.calls.count("extend") >= 3:
                return
            threading.Event().wait(0.02)
        second.append("never extended")

    queue = ScriptedQueue(*sent("m1"), lock=1.2)
    polled(take, queue)
    assert not second
    assert queue.fates() == {"m1": "ack"}


def test_a_handler_that_could_not_be_stopped_keeps_its_claim(store: Watched) -> None:
    started, end = threading.Event(), threading.Event()

    @queue_handler(idempotency=store)
    def stuck(message: Message[bytes]) -> None:
        started.set()
        end.wait(20)

    async def stop(poller: Any) -> None:
        await until_true(started.is_set)
        poller.stop()

    queue = ScriptedQueue(*sent("m1", "m2"))
    polled(stuck, queue, meanwhile=stop, drain_seconds=0.05, concurrency=1)
    fates = queue.fates()
    end.set()
    assert fates == {"m1": "retry", "m2": "retry"}
    assert "release" in store.calls  # of the one that had not started
    scope = f"{stuck.definition.name}@orders"
    still = store.claim([Claim(f"{scope}#m1"), Claim(f"{scope}#m2")], "next", 10)
    assert [found.state for found in still] == ["in progress", "fresh"]
