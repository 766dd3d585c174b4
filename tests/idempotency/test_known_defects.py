"""Defects that Powertools' idempotency is known for, each shown not to be ours."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Idempotency, Message, queue_handler
from queue_runtime.idempotency.store import Claim
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.idempotency.stores.redis import RedisStore
from queue_runtime.testing import sqs_event
from tests.idempotency.rig import RealTime, Shop
from tests.lambda_rig import Rig, records
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


def test_a_slow_owner_that_fails_does_not_delete_what_a_newer_one_has_done() -> None:
    """There, updates and deletes are unconditional, and the next duplicate ran again."""
    shop = Shop()
    other = shop.host()

    def slow_and_then_fails(body: Any) -> None:
        shop.does = lambda body: None
        shop.clock.advance(31)  # its claim is over, and the message is delivered elsewhere
        assert other(*records({"id": 1})).failed == []
        raise ValueError

    shop.does = slow_and_then_fails
    assert shop(*records({"id": 1})).failed == ["m1"]
    assert shop(*records({"id": 1})).failed == []
    assert shop.ran == [1, 1]  # the slow one and the newer one; nobody after them


@pytest.mark.parametrize("result", [object(), {1, 2}, b"\xff", "x" * 500_000])
def test_what_a_handler_returns_cannot_keep_its_work_from_being_noted(result: Any) -> None:
    """There, results are stored as JSON in an item of at most 400 KB, or the work is repeated."""
    ran: list[int] = []

    @queue_handler(idempotency=MemoryStore())
    def handler(order: dict[str, Any]) -> Any:
        ran.append(1)
        return result

    rig = Rig(handler, clock=RealTime())
    for _ in range(2):
        assert rig(*records({})).failed == []
    assert ran == [1]


def test_a_coroutine_handler_is_awaited_before_it_is_noted() -> None:
    """There, the coroutine itself reaches the serialiser, and its row is stuck."""
    steps: list[str] = []
    store = MemoryStore()

    @queue_handler(idempotency=store)
    async def handler(order: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        steps.append("done")

    rig = Rig(handler, clock=RealTime())
    for _ in range(2):
        assert rig(*records({})).failed == []
    assert steps == ["done"]


def test_a_killed_sandbox_blocks_a_message_for_its_invocation_and_not_for_the_retention() -> None:
    """There, without a registered context, every retry is refused for an hour."""
    shop = Shop()

    def killed(body: Any) -> None:
        raise KeyboardInterrupt

    shop.does = killed
    with pytest.raises(KeyboardInterrupt):
        shop(*records({"id": 1}), seconds=5)
    shop.clock.advance(5.1)
    shop.does = lambda body: None
    assert shop.host()(*records({"id": 1})).failed == []


def test_even_without_a_context_a_claim_ends_soon() -> None:
    shop = Shop()

    def killed(body: Any) -> None:
        raise KeyboardInterrupt

    shop.does = killed
    event = {"Records": records({"id": 1})}
    with pytest.raises(KeyboardInterrupt):
        shop.rig.host(event, None)
    assert shop.store.lengths == [60]


def test_one_store_serves_two_handlers_with_options_of_their_own() -> None:
    """There, the second function's options are ignored, and it got the first one's result."""
    store, ran = MemoryStore(), []

    @queue_handler(idempotency=Idempotency(store=store, key="id", compare_body=False))
    def first(order: dict[str, Any]) -> None:
        ran.append(("first", order["id"]))

    @queue_handler(idempotency=Idempotency(store=store, key="number"))
    def second(order: dict[str, Any]) -> None:
        ran.append(("second", order["number"]))

    for body in ({"id": 1, "number": 10}, {"id": 1, "number": 11}):
        Rig(first, clock=RealTime())(*records(body))
        Rig(second, clock=RealTime())(*records(body))
    assert ran == [("first", 1), ("second", 10), ("second", 11)]


def test_one_store_serves_two_handlers_in_threads() -> None:
    """There, the function's name is an attribute that threads share: rows of both are mixed up."""
    store, start = MemoryStore(), Barrier(2)
    ran: list[str] = []

    def make(name: str) -> Rig:
        def handler(message: Message[bytes]) -> None:
            ran.append(name)

        handler.__qualname__ = name
        return Rig(queue_handler(idempotency=store)(handler), clock=RealTime())

    def run(rig: Rig) -> None:
        start.wait()
        for n in range(100):
            (record,) = records({})
            assert rig({**record, "messageId": f"m{n}"}).failed == []

    rigs = [make("a"), make("b")]
    for _ in range(2):  # the second time all are duplicates
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, rigs))
    assert (ran.count("a"), ran.count("b")) == (100, 100)


def test_redis_still_knows_the_body_after_a_commit(redis_url: str) -> None:
    """There, completion drops the payload's hash, and every honest duplicate is refused."""
    store = RedisStore(redis_url)
    claim = Claim("known@defects#1", "digest")
    store.claim([claim], "first", 30)
    store.commit([claim], "first", 30)
    (found,) = store.claim([claim], "second", 30)
    assert (found.state, found.payload) == ("done", "digest")
    store.close()


def test_redis_never_takes_a_live_claim_for_an_orphan(redis_url: str) -> None:
    """There, live records were reclaimed."""
    store = RedisStore(redis_url)
    claim = Claim("known@defects#2")
    store.claim([claim], "first", 30)
    assert [store.claim([claim], f"rival-{n}", 30)[0].state for n in range(5)] == [
        "in progress"
    ] * 5
    store.close()


def test_a_missing_key_runs_nothing() -> None:
    """There, it runs unprotected, with a warning."""
    shop = Shop(key="id")
    shop(*records({"other": 1}))
    assert shop.ran == []


def test_a_duplicate_in_progress_is_no_failure() -> None:
    """There, it is an error of its record, which uses up deliveries until it is dead-lettered."""
    shop = Shop()
    other = shop.host()
    inner: list[Any] = []
    shop.does = lambda body: inner.append(other(*records({"id": 1}, deliveries=50)))
    shop(*records({"id": 1}))
    (outcome,) = inner[0].outcomes
    assert outcome.unrun
    assert outcome.delay == pytest.approx(30, abs=1)


def test_ten_messages_are_two_requests() -> None:
    """There, they are twenty, one after the other."""
    shop = Shop()
    shop(*sqs_event(*[{"id": n} for n in range(10)])["Records"])
    assert shop.store.calls == ["claim", "commit"]


def test_work_that_a_deadline_kept_from_starting_is_not_marked() -> None:
    """There, nothing knows the deadline; the sandbox is killed among its rows in progress."""
    shop = Shop()
    shop(*records({"id": 1}, {"id": 2}), seconds=0)
    assert shop.host()(*records({"id": 1}, {"id": 2})).failed == []
    assert shop.ran == [1, 2]
