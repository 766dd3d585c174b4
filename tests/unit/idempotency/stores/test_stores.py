"""What every store promises, by the same tests for all; each test has a scope of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import pytest

from queue_runtime.idempotency.keys import Keys
from queue_runtime.idempotency.store import Claim
from queue_runtime.message import Message

if TYPE_CHECKING:
    from queue_runtime.idempotency.store import Found, IdempotencyStore
    from tests.lambda_rig import Clock
    from tests.unit.idempotency.stores.conftest import MakeStore

_scopes = count()


@pytest.fixture
def keys() -> list[Claim]:
    scope = f"shop.take_order@orders-{next(_scopes)}"  # one redis serves all tests
    return [Claim(f"{scope}#order {n}/ü", f"payload-{n}") for n in range(4)]


def states(found: object) -> list[str]:
    assert isinstance(found, list)
    return [each.state for each in found]


def only(store: IdempotencyStore, claim: Claim, owner: str, seconds: float = 10) -> Found:
    (found,) = store.claim([claim], owner, seconds)
    return found


def test_a_batch_is_fresh_and_then_in_progress(store: IdempotencyStore, keys: list[Claim]) -> None:
    assert states(store.claim(keys, "first", 10)) == ["fresh"] * 4
    assert states(store.claim(keys, "second", 10)) == ["in progress"] * 4


def test_a_claim_in_progress_tells_its_remaining_time(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys, "first", 10)
    clock.advance(4)
    assert only(store, keys[0], "second").remaining == pytest.approx(6, abs=0.01)


def test_done_work_is_told_with_what_it_was_done_on(
    store: IdempotencyStore, keys: list[Claim]
) -> None:
    store.claim(keys, "first", 10)
    assert store.commit(keys, "first", 100) == [True] * 4
    again = store.claim([Claim(claim.key, "other") for claim in keys], "second", 10)
    assert states(again) == ["done"] * 4
    assert [each.payload for each in again] == [claim.payload for claim in keys]


def test_some_taken_keys_do_not_keep_the_others_from_being_claimed(
    store: IdempotencyStore, keys: list[Claim]
) -> None:
    store.claim(keys[1:3], "first", 10)
    store.commit(keys[1:2], "first", 100)
    assert states(store.claim(keys, "second", 10)) == ["fresh", "done", "in progress", "fresh"]
    assert store.commit([keys[0], keys[3]], "second", 100) == [True, True]


def test_a_claim_ends_by_itself(store: IdempotencyStore, keys: list[Claim], clock: Clock) -> None:
    store.claim(keys, "crashed", 10)
    clock.advance(9.9)
    assert only(store, keys[0], "second").state == "in progress"
    clock.advance(0.2)
    assert states(store.claim(keys, "second", 10)) == ["fresh"] * 4


def test_what_is_done_is_forgotten_after_its_retention(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys, "first", 10)
    store.commit(keys, "first", 100)
    clock.advance(99)
    assert only(store, keys[0], "second").state == "done"
    clock.advance(1.1)
    assert states(store.claim(keys, "second", 10)) == ["fresh"] * 4


def test_every_call_may_be_repeated_when_its_reply_was_lost(
    store: IdempotencyStore, keys: list[Claim]
) -> None:
    assert states(store.claim(keys, "first", 10)) == ["fresh"] * 4
    assert states(store.claim(keys, "first", 10)) == ["fresh"] * 4
    assert store.commit(keys[:2], "first", 100) == [True, True]
    assert store.commit(keys[:2], "first", 100) == [True, True]
    store.release(keys[2:], "first")
    store.release(keys[2:], "first")
    assert states(store.claim(keys, "second", 10)) == ["done", "done", "fresh", "fresh"]


def test_released_keys_can_be_claimed_at_once(store: IdempotencyStore, keys: list[Claim]) -> None:
    store.claim(keys, "first", 10)
    store.release(keys[:2], "first")
    assert states(store.claim(keys, "second", 10)) == ["fresh", "fresh"] + ["in progress"] * 2


def test_what_is_done_cannot_be_released_or_extended(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys, "first", 10)
    store.commit(keys, "first", 100)
    store.release(keys, "first")
    store.extend(keys, "first", 1)
    clock.advance(50)
    assert states(store.claim(keys, "second", 10)) == ["done"] * 4


@pytest.mark.parametrize("newer", ["in progress", "done"])
def test_a_late_owner_touches_nothing_of_a_newer_one(
    store: IdempotencyStore, keys: list[Claim], clock: Clock, newer: str
) -> None:
    store.claim(keys, "late", 10)
    clock.advance(11)
    store.claim(keys, "newer", 50)
    if newer == "done":
        store.commit(keys, "newer", 50)
    assert store.commit(keys, "late", 1_000) == [False] * 4
    store.release(keys, "late")
    store.extend(keys, "late", 1_000)
    assert states(store.claim(keys, "third", 10)) == [newer] * 4
    clock.advance(51)
    assert states(store.claim(keys, "third", 10)) == ["fresh"] * 4


def test_a_late_owner_may_commit_what_nobody_took(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys, "late", 10)
    clock.advance(60)
    assert store.commit(keys, "late", 100) == [True] * 4
    assert states(store.claim(keys, "second", 10)) == ["done"] * 4


def test_a_late_owner_may_commit_what_was_given_up(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys[:1], "late", 10)
    clock.advance(11)
    store.claim(keys[:1], "newer", 10)
    store.release(keys[:1], "newer")
    assert store.commit(keys[:1], "late", 100) == [True]
    assert only(store, keys[0], "third").state == "done"


def test_a_commit_with_strangers_among_its_keys_commits_the_rest(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys, "first", 10)
    clock.advance(11)
    store.claim(keys[1:3], "second", 50)
    assert store.commit(keys, "first", 100) == [True, False, False, True]
    assert states(store.claim(keys, "third", 10)) == ["done", "in progress", "in progress", "done"]


def test_an_extension_moves_the_end(
    store: IdempotencyStore, keys: list[Claim], clock: Clock
) -> None:
    store.claim(keys, "first", 10)
    clock.advance(8)
    store.extend(keys, "first", 10)
    clock.advance(8)
    assert states(store.claim(keys, "second", 10)) == ["in progress"] * 4
    clock.advance(3)
    assert states(store.claim(keys, "second", 10)) == ["fresh"] * 4


def test_more_keys_than_one_request_takes(store: IdempotencyStore, keys: list[Claim]) -> None:
    scope = keys[0].key.partition("#")[0]
    many = [Claim(f"{scope}#{n}") for n in range(130)]
    store.claim(many[::20], "other", 10)
    taken = states(store.claim(many, "first", 10))
    assert [n for n, state in enumerate(taken) if state != "fresh"] == list(range(0, 130, 20))
    ours = [claim for claim, state in zip(many, taken, strict=True) if state == "fresh"]
    assert all(store.commit(ours, "first", 100))


def test_a_store_takes_every_key_that_is_made(store: IdempotencyStore) -> None:
    identities = ["m-1", "x" * 1_024, "x" * 250_000, "\u00fc" * 2_000, "a\0b\n\x1b", "#", "}", "~"]
    made = Keys(f"shop.take_order_{'x' * 500}", None, compare_body=True)
    claims = [made.claim(Message.of("{}", id=each, queue="orders")) for each in identities]
    assert states(store.claim(claims, "first", 10)) == ["fresh"] * len(claims)
    assert store.commit(claims, "first", 100) == [True] * len(claims)
    assert states(store.claim(claims, "second", 10)) == ["done"] * len(claims)


def test_no_keys_are_no_request(store: IdempotencyStore) -> None:
    assert list(store.claim([], "first", 10)) == []
    assert list(store.commit([], "first", 10)) == []


def test_of_many_threads_one_gets_each_key(
    make_store: MakeStore, keys: list[Claim], request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["make_store"] == "dynamodb":
        pytest.skip("moto runs transactions side by side without isolating them")
    stores = [make_store() for _ in range(6)]

    def claim(number: int) -> list[str]:
        order = keys if number % 2 else keys[::-1]
        found = stores[number].claim(order, f"owner-{number}", 10)
        return [c.key for c, each in zip(order, found, strict=True) if each.state == "fresh"]

    with ThreadPoolExecutor(len(stores)) as pool:
        won = [key for each in pool.map(claim, range(len(stores))) for key in each]
    assert sorted(won) == sorted(claim.key for claim in keys)
