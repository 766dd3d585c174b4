"""What becomes of messages of an idempotent handler, on the Lambda host."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from queue_runtime import (
    Batch,
    DeadLetter,
    Discard,
    HandlerDefinitionError,
    Idempotency,
    Message,
    Retry,
    SettingsError,
    queue_handler,
)
from queue_runtime.config import load_settings
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.settlement.lineage import ATTRIBUTE
from queue_runtime.testing import adeliver, deliver
from tests.idempotency.rig import RealTime, Shop
from tests.lambda_rig import Rig, fifo, records


def reasons(invocation: Any) -> list[str]:
    return [outcome.reason for outcome in invocation.outcomes]


# --- done, in progress, released -----------------------------------------------------------------


def test_a_batch_of_new_messages_takes_two_requests() -> None:
    shop = Shop()
    assert shop(*records(*[{"id": n} for n in range(10)])).failed == []
    assert shop.ran == list(range(10))
    assert shop.store.calls == ["claim", "commit"]


def test_a_duplicate_is_acknowledged_without_a_call() -> None:
    shop = Shop()
    shop(*records({"id": 1}, {"id": 2}))
    again = shop(*records({"id": 1}, {"id": 2}, {"id": 3}))
    assert again.failed == []
    assert shop.ran == [1, 2, 3]
    assert reasons(again)[:2] == ["a duplicate, whose work was done before"] * 2


def test_another_sandbox_sees_the_same_claims() -> None:
    shop = Shop()
    shop(*records({"id": 1}))
    assert shop.host()(*records({"id": 1})).failed == []
    assert shop.ran == [1]


def test_one_in_progress_elsewhere_comes_back_when_the_other_s_claim_ends() -> None:
    shop = Shop()
    other = shop.host()
    inner: list[Any] = []
    shop.does = lambda body: inner.append(other(*records({"id": 1})))
    assert shop(*records({"id": 1}), seconds=30).failed == []
    (second,) = inner
    assert shop.ran == [1]
    assert second.failed == ["m1"]
    assert second.outcomes[0].unrun
    assert 29 < second.outcomes[0].delay <= 30


def test_a_duplicate_in_progress_is_never_dead_lettered_for_its_deliveries() -> None:
    shop = Shop()
    other = shop.host()
    inner: list[Any] = []
    shop.does = lambda body: inner.append(other(*records({"id": 1}, deliveries=99)))
    shop(*records({"id": 1}))
    assert inner[0].fates == ["retry"]


@pytest.mark.parametrize("error", [Retry("busy"), ValueError("no"), DeadLetter("negative")])
def test_work_that_was_not_done_can_be_done_again_at_once(error: Exception) -> None:
    shop = Shop()

    def fails(body: Any) -> None:
        raise error

    shop.does = fails
    shop(*records({"id": 1}))
    assert shop.store.calls == ["claim", "release"]
    shop.does = lambda body: None
    assert shop(*records({"id": 1})).failed == []
    assert shop.ran == [1, 1]


def test_discarded_is_done() -> None:
    shop = Shop()

    def discards(body: Any) -> None:
        raise Discard("not for us")

    shop.does = discards
    shop(*records({"id": 1}))
    shop(*records({"id": 1}))
    assert shop.ran == [1]


def test_one_failure_releases_only_its_own_claim() -> None:
    shop = Shop()

    def fails_on_two(body: Any) -> None:
        if body["id"] == 2:
            raise ValueError

    shop.does = fails_on_two
    assert shop(*records({"id": 1}, {"id": 2}, {"id": 3})).failed == ["m2"]
    assert shop.store.calls == ["claim", "commit", "release"]
    shop(*records({"id": 1}, {"id": 2}, {"id": 3}))
    assert shop.ran == [1, 2, 3, 2]


def test_poison_makes_no_claim_and_is_settled_in_its_turn() -> None:
    shop = Shop()
    done = shop(*records("not json", {"id": 2}))
    assert shop.ran == [2]
    assert [each.split(":")[0] for each in reasons(done)] == ["poison", ""]


def test_a_message_that_was_not_started_keeps_no_claim() -> None:
    shop = Shop()
    assert shop(*records({"id": 1}), seconds=0.0).failed == ["m1"]
    assert shop.ran == []
    assert shop.host()(*records({"id": 1})).failed == []


# --- for how long ---------------------------------------------------------------------------------


def test_claims_end_with_the_invocation() -> None:
    shop = Shop()
    shop(*records({"id": 1}), seconds=17)
    assert shop.store.lengths == [pytest.approx(17, abs=0.5)]


def test_results_are_kept_for_the_retention() -> None:
    shop = Shop()
    shop(*records({"id": 1}))
    shop.clock.advance(1_209_599)
    shop(*records({"id": 1}))
    assert shop.ran == [1]
    shop.clock.advance(2)
    shop(*records({"id": 1}))
    assert shop.ran == [1, 1]


def test_the_operator_s_word_goes_before_the_author_s() -> None:
    options = Idempotency(store="sqlite:///never.db", retention=60)

    @queue_handler(idempotency=options)
    def handler(order: dict[str, Any]) -> None: ...

    settings = load_settings(
        handler.definition.settings,
        environ={"QUEUE_IDEMPOTENCY_STORE": "memory://"},
    )
    assert settings.idempotency_retention_seconds == 60
    bound = handler.definition.bound(settings)
    assert len(bound.delivery_middleware) == 1
    assert handler.definition.delivery_middleware == ()


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["order.id", lambda message: message.body["order"]["id"]], ids=["path", "function"]
)
def test_a_key_from_the_body_tells_two_sends_of_the_same(key: Any) -> None:
    shop = Shop(key=key)
    shop(*records({"order": {"id": "a-1"}}))
    (second,) = records({"order": {"id": "a-1"}})
    assert shop({**second, "messageId": "another send"}).failed == []
    assert shop.ran == ["m1"]


def test_a_body_is_decoded_once() -> None:
    decoded: list[Any] = []
    shop = Shop(key="id")
    decode = shop.rig.host.definition.decode
    assert decode is not None

    def counting(payload: str | bytes) -> Any:
        decoded.append(payload)
        return decode(payload)

    shop.rig.host.definition.decode = counting
    shop.rig.host.delivery.pipeline.definition.decode = counting
    shop(*records({"id": 1}, {"id": 2}))
    assert len(decoded) == 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "its body has no id"),
        ({"id": None}, "its body has no id"),
        ({"id": ""}, "its key is empty"),
        ({"id": 1.5}, "its key is a float, not a text or a whole number"),
        ({"id": True}, "its key is a bool, not a text or a whole number"),
        ({"id": ["SECRET"]}, "its key is a list, not a text or a whole number"),
    ],
)
def test_a_message_without_a_key_is_poison(body: Any, why: str) -> None:
    shop = Shop(key="id")
    shop.rig = Rig(shop.handler, clock=RealTime(), dead_letter="orders-dlq")
    done = shop(*records(body))
    assert shop.ran == []
    assert done.fates == ["dead-letter"]
    assert reasons(done) == [f"poison: {why}"]


def test_a_key_function_that_raises_is_told_without_its_words() -> None:
    shop = Shop(key=lambda message: message.body["SECRET"])
    shop.rig = Rig(shop.handler, clock=RealTime(), dead_letter="orders-dlq")
    assert reasons(shop(*records({}))) == ["poison: its key raised KeyError"]


HOSTILE_KEYS = {
    "half of a surrogate pair": '{"id": "\\ud83d"}',
    "a number of 4,299 digits": '{"id": %s}' % ("9" * 4_299),
    "a long text": '{"id": "%s"}' % ("x" * 100_000),
    "a NUL": '{"id": "\\u0000"}',
    "an object": '{"id": {"a": 1}}',
}


@pytest.mark.parametrize("hostile", HOSTILE_KEYS.values(), ids=HOSTILE_KEYS)
@pytest.mark.parametrize("key", ["id", ("id", "id"), lambda message: message.body["id"]])
def test_a_key_fails_its_own_message_alone(key: Any, hostile: str) -> None:
    shop = Shop(key=key)
    done = shop(*records({"id": 1}, hostile, {"id": 3}))
    assert (shop.ran[0], shop.ran[-1]) == (1, 3)
    assert [done.fates[0], done.fates[2]] == ["ack", "ack"]
    assert shop(*records({"id": 1}, {"id": 3})).fates == ["ack", "ack"]


HOSTILE_IDS = ["\ud83d", "x" * 3_000, "\u00fc" * 2_000, "a\0b", "x" * 250_000]


@pytest.mark.parametrize("identity", HOSTILE_IDS, ids=lambda identity: ascii(identity[:4]))
def test_an_id_fails_its_own_message_alone(identity: str) -> None:
    shop = Shop()
    good, bad, last = records({"id": 1}, {"id": 2}, {"id": 3})
    carried = {"stringValue": json.dumps({"id": identity}), "dataType": "String"}
    bad["messageAttributes"] = {ATTRIBUTE: carried}
    for _ in range(2):
        done = shop(good, bad, last)
        assert [done.fates[0], done.fates[2]] == ["ack", "ack"]
    assert [name for name in shop.ran if name != 2] == [1, 3]


def test_a_store_that_answers_for_other_keys_is_one_that_does_not_answer() -> None:
    class Forgetful(MemoryStore):
        claims_answered = 0

        def claim(self, *arguments: Any) -> Any:
            return list(super().claim(*arguments))[: self.claims_answered]

        def commit(self, *arguments: Any) -> Any:
            super().commit(*arguments)
            return None

    store, ran = Forgetful(), []

    @queue_handler(idempotency=store)
    def take(message: Message[dict[str, Any]]) -> None:
        ran.append(message.id)

    before = Rig(take, clock=RealTime())(*records({}, {}))
    assert [outcome.reason for outcome in before.outcomes] == [
        "the idempotency store did not answer (ValueError)"
    ] * 2
    assert ran == []
    store.close()
    store.claims_answered = 2
    after = Rig(take, clock=RealTime())(*records({}, {}))
    assert ran == ["m1", "m2"]
    assert after.fates == ["retry", "retry"]
    assert all("could not be noted" in outcome.reason for outcome in after.outcomes)


def test_unprotected_runs_have_to_be_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(key="id", missing="run")
    assert shop(*records({}, {})).failed == []
    assert shop.ran == ["m1", "m2"]
    assert "unprotected" in caplog.text


@pytest.mark.parametrize("number", [7, "7"])
def test_keys_may_be_whole_numbers(number: Any) -> None:
    shop = Shop(key="id")
    shop(*records({"id": number}))
    assert shop.ran == [number]


def test_handlers_and_queues_have_scopes_of_their_own() -> None:
    store, ran = MemoryStore(), []

    @queue_handler(idempotency=store)
    def one(order: dict[str, Any]) -> None:
        ran.append("one")

    @queue_handler(idempotency=store)
    def two(order: dict[str, Any]) -> None:
        ran.append("two")

    for handler, queue in ((one, "orders"), (two, "orders"), (one, "returns"), (one, "orders")):
        Rig(handler, clock=RealTime())(*records({}, queue=queue))
    assert ran == ["one", "two", "one"]


def test_one_key_with_another_body_is_put_aside() -> None:
    shop = Shop(key="id")
    shop.rig = Rig(shop.handler, clock=RealTime(), dead_letter="orders-dlq")
    shop(*records({"id": 1, "amount": 5}))
    other = shop(*records({"id": 1, "amount": 6}))
    assert other.fates == ["dead-letter"]
    assert reasons(other) == ["its key stands for another body, whose work is done"]
    assert shop.ran == [1]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_body_that_its_producer_wrote_anew_is_the_same(is_async: bool) -> None:
    shop = Shop(key="id", is_async=is_async)
    for body in ('{"id": 1, "amount": 5}', '{"amount": 5, "id": 1}', '{"id":1,"amount":5.0}'):
        assert shop(*records(body)).fates == ["ack"]
    assert shop(*records(*['{"id": 2, "n": 1}', '{"n": 1, "id": 2}'])).fates == ["ack", "ack"]
    assert shop.ran == [1, 2]


def test_only_chosen_fields_make_another_body() -> None:
    shop = Shop(key="id", compare_body=("amount",))
    shop(*records({"id": 1, "amount": 5, "sent": 1}))
    assert shop(*records({"id": 1, "amount": 5, "sent": 2})).fates == ["ack"]
    again = shop(*records({"id": 1, "amount": 6, "sent": 1}))
    assert again.outcomes[0].reason.startswith("its key stands for another body")


def test_several_paths_are_one_key() -> None:
    shop = Shop(key=("tenant", "id"))
    shop(*records({"tenant": "a", "id": 1}))
    assert shop(*records({"tenant": "b", "id": 1}, {"tenant": "a", "id": 1})).failed == []
    assert shop.ran == [1, 1]


def test_bodies_need_not_be_compared() -> None:
    shop = Shop(key="id", compare_body=False)
    shop(*records({"id": 1, "amount": 5}))
    assert shop(*records({"id": 1, "amount": 6})).fates == ["ack"]
    assert shop.ran == [1]


def test_the_key_survives_copies_and_redrives() -> None:
    shop = Shop()
    (first,) = records({"id": 1})
    shop(first)
    copy = {
        **first,
        "messageId": "id-of-the-copy",
        "messageAttributes": {
            ATTRIBUTE: {"stringValue": '{"id":"m1","attempts":2}', "dataType": "String"}
        },
    }
    assert shop(copy).failed == []
    assert shop.ran == [1]


# --- the same key twice in one delivery -----------------------------------------------------------


def test_the_second_of_a_key_waits_for_the_first() -> None:
    shop = Shop(key="id")
    done = shop(*records({"id": 1}, {"id": 1}, {"id": 2}))
    assert done.failed == []
    assert shop.ran == [1, 2]
    assert reasons(done)[1] == "a duplicate, whose work was done before"


def test_the_second_of_a_key_comes_back_with_the_first() -> None:
    shop = Shop(key="id")

    def busy(body: Any) -> None:
        raise Retry("busy", after=40)

    shop.does = busy
    done = shop(*records({"id": 1}, {"id": 1}))
    assert done.failed == ["m1", "m2"]
    assert [outcome.delay for outcome in done.outcomes] == [40, 40]
    assert done.outcomes[1].unrun
    assert shop.ran == [1]


def test_the_second_of_a_key_with_another_body_waits_for_another_delivery() -> None:
    shop = Shop(key="id")
    done = shop(*records({"id": 1, "amount": 5}, {"id": 1, "amount": 6}))
    assert done.failed == ["m2"]
    assert done.outcomes[1].unrun


# --- ordered queues -------------------------------------------------------------------------------


def test_a_group_stops_at_a_message_in_progress_elsewhere() -> None:
    shop = Shop()
    other = shop.host()
    inner: list[Any] = []

    def meanwhile(body: Any) -> None:
        if not inner:
            inner.append(None)
            pairs = [("a", {"id": 1}), ("a", {"id": 2}), ("b", {"id": 3})]
            inner.append(other(*fifo(*pairs)))

    shop.does = meanwhile
    shop(*fifo(("a", {"id": 1})))
    assert inner[1].failed == ["m1", "m2"]
    assert inner[1].outcomes[0].delay == inner[1].outcomes[1].delay
    assert shop.ran == [1, 3]


def test_a_duplicate_after_a_failure_of_its_group_is_not_acknowledged() -> None:
    told: list[str] = []
    shop = Shop(on_duplicate=lambda message: told.append(message.id))
    first, second = fifo(("a", {"id": 1}), ("a", {"id": 2}))
    shop(second)

    def fails(body: Any) -> None:
        raise ValueError

    shop.does = fails
    assert shop(first, second).failed == ["m1", "m2"]
    assert told == []
    shop.does = lambda body: None
    assert shop(first, second).failed == []
    assert told == ["m2"]
    assert shop.ran == [2, 1, 1]


def test_one_key_in_two_groups_holds_the_second_group() -> None:
    shop = Shop(key="id")
    pairs = [("a", {"id": 1}), ("b", {"id": 1}), ("b", {"id": 2})]
    assert shop(*fifo(*pairs)).failed == ["m2", "m3"]
    assert shop.ran == [1]


# --- when the store fails -------------------------------------------------------------------------


def test_without_a_store_nothing_runs() -> None:
    shop = Shop()
    shop.store.fail["claim"] = ["before"]
    done = shop(*records({"id": 1}, {"id": 2}))
    assert done.failed == ["m1", "m2"]
    assert all(outcome.unrun for outcome in done.outcomes)
    assert shop.ran == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_fails_once_is_made_again(when: str) -> None:
    shop = Shop()
    shop.store.fail["commit"] = [when]
    assert shop(*records({"id": 1})).failed == []
    assert shop.host()(*records({"id": 1})).failed == []
    assert shop.ran == [1]


def test_done_work_that_could_not_be_noted_comes_back_when_its_claim_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop()
    shop.store.fail["commit"] = ["before", "before"]
    done = shop(*records({"id": 1}), seconds=30)
    assert done.failed == ["m1"]
    assert done.outcomes[0].unrun
    assert 29 < (done.outcomes[0].delay or 0) <= 30
    assert "message m1 of orders comes back: its work is done and could not be noted" in caplog.text
    # Elsewhere it is not run again within the claim, and is after it.
    assert shop.host()(*records({"id": 1})).failed == ["m1"]
    assert shop.ran == [1]
    shop.clock.advance(31)
    assert shop.host()(*records({"id": 1})).failed == []
    assert shop.ran == [1, 1]


def test_whoever_did_the_work_notes_it_when_the_message_is_back() -> None:
    shop = Shop()
    shop.store.fail["commit"] = ["before", "before"]
    shop(*records({"id": 1}))
    shop.clock.advance(31)
    assert shop(*records({"id": 1})).failed == []
    assert shop.ran == [1]


def test_a_release_that_fails_leaves_the_claim_to_end_by_itself() -> None:
    shop = Shop()
    shop.store.fail["release"] = ["before"]

    def fails(body: Any) -> None:
        raise ValueError

    shop.does = fails
    shop(*records({"id": 1}))
    assert shop(*records({"id": 1})).outcomes[0].unrun
    shop.clock.advance(31)
    shop.does = lambda body: None
    assert shop(*records({"id": 1})).failed == []


def test_work_that_outlasts_its_claim_is_acknowledged_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop()
    other = shop.host()

    def slow(body: Any) -> None:
        shop.does = lambda body: None
        shop.clock.advance(31)
        assert other(*records({"id": 1})).failed == []

    shop.does = slow
    assert shop(*records({"id": 1})).failed == []
    assert "outlasted its claim" in caplog.text


def test_a_crash_blocks_a_message_no_longer_than_its_claim() -> None:
    shop = Shop()

    def dies(body: Any) -> None:
        raise KeyboardInterrupt

    shop.does = dies
    with pytest.raises(KeyboardInterrupt):
        shop(*records({"id": 1}), seconds=30)
    shop.does = lambda body: None
    assert shop.host()(*records({"id": 1})).failed == ["m1"]
    shop.clock.advance(31)
    assert shop.host()(*records({"id": 1})).failed == []


def test_a_middleware_s_mistake_leaves_the_claims_to_end_by_themselves() -> None:
    class Forgets:
        blocking = True

        async def __call__(self, messages: Any, call_next: Any) -> Any:
            return (await call_next(messages))[:1]

    shop = Shop()
    definition = shop.rig.host.definition
    (claims,) = definition.delivery_middleware
    definition.delivery_middleware = (claims, Forgets())
    assert shop(*records({"id": 1}, {"id": 2})).failed == ["m1", "m2"]
    assert shop.store.calls == ["claim"]


def test_a_message_without_an_id_is_poison() -> None:
    @queue_handler(idempotency=MemoryStore())
    def handler(order: dict[str, Any]) -> None:
        raise AssertionError("it has no key")

    outcome = deliver(handler, {}, id="")
    assert outcome.reason == "poison: it has no id"


# --- options --------------------------------------------------------------------------------------


def test_commit_each_loses_nothing_to_a_crash() -> None:
    shop = Shop(commit="each")

    def dies_on_two(body: Any) -> None:
        if body["id"] == 2:
            raise KeyboardInterrupt

    shop.does = dies_on_two
    with pytest.raises(KeyboardInterrupt):
        shop(*records({"id": 1}, {"id": 2}))
    shop.clock.advance(31)
    shop.does = lambda body: None
    shop.host()(*records({"id": 1}, {"id": 2}))
    assert shop.ran == [1, 2, 2]


def test_commit_each_is_one_request_a_call_and_none_at_the_end() -> None:
    shop = Shop(commit="each")
    shop(*records({"id": 1}, {"id": 2}, {"id": 3}))
    assert shop.store.calls == ["claim", "commit", "commit", "commit"]


def test_commit_each_that_fails_gives_its_message_back() -> None:
    shop = Shop(commit="each")
    shop.store.fail["commit"] = ["before", "before"]
    assert shop(*records({"id": 1}, {"id": 2})).failed == ["m1"]
    assert shop.host()(*records({"id": 1}, {"id": 2})).failed == ["m1"]
    assert shop.ran == [1, 2]


def test_on_duplicate_is_given_the_message_before_it_is_acknowledged() -> None:
    told: list[Any] = []
    shop = Shop(key="id", on_duplicate=lambda message: told.append((message.id, message.body)))
    shop(*records({"id": 1}, {"id": 1}))
    shop(*records({"id": 1}))
    assert told == [("m2", {"id": 1}), ("m1", {"id": 1})]


def test_an_on_duplicate_that_fails_keeps_its_message() -> None:
    def broken(message: Message[Any]) -> None:
        raise ValueError

    shop = Shop(on_duplicate=broken)
    shop(*records({"id": 1}))
    assert shop(*records({"id": 1})).failed == ["m1"]
    assert shop.ran == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"key": "order..id"},
        {"commit": "all"},
        {"missing": "ignore"},
        {"on_duplicate": adeliver},
    ],
    ids=lambda options: next(iter(options)),
)
def test_wrong_options_fail_where_they_are_written(options: dict[str, Any]) -> None:
    with pytest.raises(HandlerDefinitionError):
        Idempotency(**options)


def test_a_key_is_said_once() -> None:
    with pytest.raises(HandlerDefinitionError, match="idempotency_key="):
        queue_handler(idempotency_key="id", idempotency=Idempotency(key="id"))


# --- other shapes, other callers ------------------------------------------------------------------


def test_a_batch_handler_gets_what_is_not_done() -> None:
    seen: list[list[str]] = []

    @queue_handler(idempotency=MemoryStore())
    def load(orders: Batch[dict[str, Any]]) -> None:
        seen.append([message.id for message in orders])
        for message in orders:
            if message.id == "m2":
                orders.fail(message, ValueError("no"))

    rig = Rig(load, clock=RealTime())
    assert rig(*records({}, {}, {})).failed == ["m2"]
    rig(*records({}, {}, {}))
    assert seen == [["m1", "m2", "m3"], ["m2"]]


def test_a_batch_handler_with_nothing_to_do_is_not_called() -> None:
    seen: list[int] = []

    @queue_handler(idempotency=Idempotency(store=MemoryStore(), commit="each"))
    def load(orders: Batch[dict[str, Any]]) -> None:
        seen.append(len(orders))

    rig = Rig(load, clock=RealTime())
    assert rig(*records({}, {})).failed == []
    assert rig(*records({}, {})).failed == []
    assert seen == [2]


def test_a_coroutine_handler_is_awaited_and_done_once() -> None:
    shop = Shop(is_async=True)
    assert shop(*records({"id": 1}, {"id": 2})).failed == []
    assert shop(*records({"id": 1}, {"id": 2}, {"id": 3})).failed == []
    assert shop.ran == [1, 2, 3]


def test_a_coroutine_handler_commits_each_too() -> None:
    shop = Shop(is_async=True, commit="each")
    assert shop(*records({"id": 1}, {"id": 2})).failed == []
    assert shop.store.calls == ["claim", "commit", "commit"]


def test_threads_share_a_handler() -> None:
    shop = Shop()
    start = Barrier(4)
    shop.does = lambda body: None

    def deliver_all(_: int) -> list[str]:
        rig = shop.host()
        start.wait()
        return rig(*records(*[{"id": n} for n in range(20)])).fates

    with ThreadPoolExecutor(4) as pool:
        fates = list(pool.map(deliver_all, range(4)))
    assert sorted(shop.ran) == list(range(20))
    for of_one_message in zip(*fates, strict=True):
        assert "ack" in of_one_message


def test_a_sync_handler_needs_no_event_loop() -> None:
    assert Shop().rig.host.delivery.pipeline.blocking


@queue_handler(queue="orders", max_deliveries=5, idempotency_key=lambda m: m.id)
def as_the_design_says(order: dict[str, Any]) -> None:
    """Take an order."""


def test_a_handler_without_a_store_fails_at_start() -> None:
    with pytest.raises(SettingsError, match="QUEUE_IDEMPOTENCY_STORE"):
        Rig(as_the_design_says)
    Rig(as_the_design_says, idempotency_store="memory://")


def test_switched_off_every_message_runs_and_no_store_is_needed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop(key="id")
    shop.rig = Rig(shop.handler, clock=RealTime(), idempotency=False)
    assert shop(*records({"id": 1}, {"id": 1})).fates == ["ack", "ack"]
    assert shop.ran == [1, 1]
    assert shop.store.calls == []
    assert "idempotency is off (QUEUE_IDEMPOTENCY)" in caplog.text
    Rig(as_the_design_says, idempotency=False)


def test_a_handler_s_own_tests_need_no_store() -> None:
    for _ in range(2):
        assert deliver(as_the_design_says, {"id": 1}).reason == ""


async def _in_a_loop() -> list[str]:
    shop = Shop(is_async=True)
    outcomes = [await adeliver(shop.handler, {"id": 1}) for _ in range(2)]
    return [outcome.reason for outcome in outcomes]


def test_a_store_of_the_author_s_counts_in_tests_too() -> None:
    import asyncio

    assert asyncio.run(_in_a_loop()) == ["", "a duplicate, whose work was done before"]
