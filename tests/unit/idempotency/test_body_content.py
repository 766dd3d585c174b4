"""One content, whichever way it is written; another content, however alike it looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from queue_runtime.idempotency.body_content import json_content, value_content


class Line(BaseModel):
    sku: str
    price: Decimal


@dataclass
class Row:
    at: datetime
    tags: frozenset[str]


SAME = [
    ('{"a": 1, "b": {"c": 2, "d": 3}}', '{"b":{"d":3,"c":2},"a":1}'),
    ('{"a": 1}', ' \n{ "a" : 1 }\n'),
    ('{"a": 1.10}', '{"a": 1.1}'),
    ('{"a": 1.0, "b": 100}', '{"b": 1e2, "a": 1}'),
    ('{"a": "\u00fc\\/"}', '{"a": "\\u00fc/"}'),
    ('{"a": 1, "a": 2}', '{"a": 2}'),
    ('[{"a": 1, "b": 2}]', '[{"b": 2, "a": 1}]'),
]
DIFFERENT = [
    ('{"a": 1}', '{"a": "1"}'),
    ('{"a": 1}', '{"a": true}'),
    ('{"a": null}', "{}"),
    ("[1, 2]", "[2, 1]"),
    ('{"a": [1]}', '{"a": {"1": 1}}'),
    ('{"a": "Decimal(\'1\')"}', '{"a": 1}'),
    ('{"a": 0.1}', '{"a": 0.1000000000000000055}'),
    ('{"a": %s}' % ("9" * 5000), '{"a": %s8}' % ("9" * 4999)),
    ('{"a": "\\ud83d"}', '{"a": "?"}'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_json_written_another_way_is_the_same(one: str, other: str) -> None:
    assert json_content(one) == json_content(other) != ""
    assert json_content(one.encode()) == json_content(other.encode("utf-16"))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_json_of_another_content_is_another(one: str, other: str) -> None:
    assert "" != json_content(one) != json_content(other) != ""


@pytest.mark.parametrize(
    "body",
    [
        "",
        "order-1",
        "5",
        '"text"',
        "{",
        "{]",
        "[" * 100_000,
        b"\xff{",
        '{"a": 1e9999999999999999999}',
    ],
    ids=lambda body: str(body[:8]),
)
def test_what_is_no_json_object_or_array_has_no_content_but_its_bytes(body: str | bytes) -> None:
    assert json_content(body) == ""


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), values))
def test_content_of_any_json_can_be_digested_and_is_that_of_its_values(
    value: dict[str, Any],
) -> None:
    content = json_content(json.dumps(value))
    content.encode()
    assert content == value_content(value)


def test_models_and_dataclasses_are_their_fields() -> None:
    line = Line(sku="a", price=Decimal("1.50"))
    assert value_content(line) == value_content({"price": 1.5, "sku": "a"})
    row = Row(datetime(2026, 1, 1, tzinfo=UTC), frozenset("ab"))
    assert value_content(row) == value_content(Row(row.at, frozenset("ba")))
    assert value_content([row]) != value_content([Row(row.at, frozenset("c"))])
    assert value_content((b"\xff", {"a"})) == value_content([b"\xff", {"a"}])


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="serialize"):
        value_content({"a": object()})
