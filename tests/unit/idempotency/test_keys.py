"""Every key that is made can be stored; what has none says so of its own message alone."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from queue_runtime import BodyDecodeError, HandlerDefinitionError, Idempotency, Message
from queue_runtime.idempotency.body_digests import is_same_body
from queue_runtime.idempotency.keys import Keys, MissingKeyError

SURROGATE = "\ud83d"


def repr_of_type(value: object) -> str:
    return type(value).__name__  # the value itself cannot be shown


def claim(body: object = None, *, key: Any = None, id: str = "m-1", compare: Any = True) -> Any:
    message: Message[Any] = Message.of(json.dumps(body, default=str), id=id, queue="orders")
    message.body = body
    return Keys("shop.take", key, compare_body=compare).claim(message)


def test_ids_are_kept_as_0_1_0_kept_them() -> None:
    assert claim(id="m-1") == ("shop.take@orders#m-1", "")
    assert claim(id="caf\u00e9") == ("shop.take@orders#caf\u00e9", "")
    assert claim(id="x" * 1024).key.endswith("x" * 1024)


@pytest.mark.parametrize("identity", ["x" * 3_000, "\u00fc" * 600, "\0" * 300_000])
def test_an_id_longer_than_any_store_takes_is_a_digest(identity: str) -> None:
    made = claim(id=identity)
    assert len(made.key.encode()) < 100
    assert made != claim(id=identity + "x")
    assert made == claim(id=identity)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (None, SURROGATE, "its id has half a surrogate pair, which UTF-8 lacks"),
        (None, "x" * 200 + SURROGATE, "its id has half a surrogate pair, which UTF-8 lacks"),
        (None, "", "it has no id"),
        ("id", SURROGATE, "its key has half a surrogate pair, which UTF-8 lacks"),
        (("id", "id"), SURROGATE, "its key has half a surrogate pair, which UTF-8 lacks"),
        (("id", "other"), "a", "its body has no other"),
        (("id", "id"), 1.5, "its key is a float, not a text or a whole number"),
        (("id", "id"), "", "its key is empty"),
        ("id", 10**5000, "its key raised ValueError"),
    ],
    ids=repr_of_type,
)
def test_a_key_that_no_store_takes_is_none(key: Any, value: Any, why: str) -> None:
    message: Message[Any] = Message.of("{}", id=value if key is None else "m", queue="orders")
    message.body = {"id": value}
    with pytest.raises(MissingKeyError, match=f"^{why}$"):
        Keys("shop.take", key, compare_body=True).claim(message)


def test_a_body_that_cannot_be_read_is_told_as_such() -> None:
    def unreadable(message: Message[Any]) -> str:
        raise BodyDecodeError("the body is an AMQP value")

    with pytest.raises(BodyDecodeError):
        claim({}, key=unreadable)


def test_keys_of_the_author_s_are_digests_of_any_length() -> None:
    made = claim({"id": "ada@example.com"}, key="id")
    assert "ada" not in made.key
    assert len(claim({"id": "x" * 100_000}, key="id").key) == len(made.key)


def test_several_paths_are_one_key() -> None:
    key = ("tenant", "order.id")

    def of(tenant: Any, order: Any) -> str:
        made: str = claim({"tenant": tenant, "order": {"id": order}}, key=key).key
        return made

    assert of("t", 1) == of("t", 1) == of("t", Decimal(1))
    assert len({of("t", "bc"), of("tb", "c"), of("t", "b"), of("t,b", "c")}) == 4


@pytest.mark.parametrize("key", [(), ("a", ""), ("a", 7), "a..b", "", 7, [["a"]]])
def test_what_is_neither_a_path_nor_several_nor_a_function_is_refused(key: Any) -> None:
    with pytest.raises(HandlerDefinitionError, match="idempotency_key takes"):
        Idempotency(key=key)


@pytest.mark.parametrize("compare", [("a", "b..c"), (), 7, "a b", len])
def test_fields_to_compare_are_paths(compare: Any) -> None:
    with pytest.raises(HandlerDefinitionError, match="compare_body takes"):
        Idempotency(compare_body=compare)


def _same(one: object, other: object, compare: Any) -> bool:
    return is_same_body(*(claim(body, key="id", compare=compare).payload for body in (one, other)))


def test_chosen_fields_alone_are_compared() -> None:
    one = {"id": 1, "order": {"amount": 5}, "sent_at": "10:00"}
    again = {"id": 1, "order": {"amount": 5}, "sent_at": "10:01"}
    other = {"id": 1, "order": {"amount": 6}, "sent_at": "10:00"}
    assert not _same(one, again, True)
    for compare in ("order.amount", ("order.amount", "note")):
        assert _same(one, again, Idempotency(compare_body=compare).compare_body)
        assert not _same(one, other, Idempotency(compare_body=compare).compare_body)
    assert claim(one, key="id", compare=False).payload == ""


def test_a_chosen_field_that_a_body_lacks_is_not_one_that_it_has() -> None:
    assert not _same({"id": 1}, {"id": 1, "note": "n"}, ("note",))


def test_fields_that_no_json_can_be_made_of_are_compared_by_the_bytes() -> None:
    message: Message[Any] = Message.of('{"id": 1}', queue="orders")
    message.body = SimpleNamespace(id=1, at=object())
    keys = Keys("shop.take", "id", compare_body=("at",))
    assert ":" not in keys.claim(message).payload


def test_a_body_with_half_a_surrogate_pair_has_digests() -> None:
    message: Message[Any] = Message.of("\ud83d", queue="orders")
    message.body = {"id": 1}
    assert Keys("shop.take", "id", compare_body=True).claim(message).payload
