"""A path that no body of a handler's type has fails at import; one that it may have does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal  # noqa: TC003 - pydantic reads it
from enum import Enum, StrEnum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypeVar,
)
from uuid import UUID  # noqa: TC003 - pydantic reads it

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, RootModel
from typing_extensions import TypeAliasType
from typing_extensions import TypedDict as TypedDictFor311

from queue_runtime import Batch, HandlerDefinitionError, Idempotency, Message, queue_handler
from queue_runtime.idempotency.paths import why_impossible

T = TypeVar("T")
OrderId = NewType("OrderId", str)
Alias = TypeAliasType("Alias", "Address")


class Kind(StrEnum):
    NEW = "new"


class Colour(Enum):
    RED = 1


class Address(BaseModel):
    zip_code: str = Field(alias="zipCode")
    lines: list[str] = []


class Order(BaseModel):
    id: str
    number: int
    uuid: UUID
    amount: Decimal
    price: float
    paid: bool
    kind: Kind
    literal: Literal["a", 1]
    named: OrderId
    address: Address
    maybe: Address | None = None
    old_maybe: Optional[Address] = None  # noqa: UP045 - as older code writes it
    either: Address | dict[str, str]
    by_name: dict[str, Address]
    anything: Any = None
    alias: Alias
    rounded: Annotated[float, AfterValidator(str)]
    _private: str = "p"

    @property
    def full_id(self) -> str:
        return self.id


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Box(BaseModel, Generic[T]):
    content: T


class Root(RootModel[str]): ...


@dataclass
class Row:
    id: str
    address: Address


@dataclass
class ForCheckers:
    id: OnlyForTypeCheckers  # type: ignore[name-defined]  # noqa: F821


class Typed(TypedDictFor311):
    id: NotRequired[str]
    address: Address


class Tuple(NamedTuple):
    id: str


POSSIBLE = [
    *((Order, path) for path in (
        "id", "number", "uuid", "amount", "kind", "literal", "named", "full_id", "_private",
        "address.zip_code", "maybe.zip_code", "old_maybe.zip_code", "either.zip_code",
        "either.other", "by_name.first.zip_code", "anything.at.all", "alias.zip_code", "rounded",
    )),
    (dict, "id"), (dict[str, Any], "a.b"), (dict[str, str], "a"), (Mapping[str, Order], "a.id"),
    (Open, "extra"), (Box[str], "content"), (Box, "content.x"), (Root, "root"),
    (Row, "id"), (Row, "address.zip_code"), (Typed, "id"), (Typed, "address.zip_code"),
    (Tuple, "id"), (Order | Row, "number"), (Any, "x"), (object, "x"), (ForCheckers, "id"),
    (EmailStr, "x"), (Colour, "name"),
]  # fmt: skip

IMPOSSIBLE = [
    (Order, "nummer", "Order has no nummer; did you mean number?"),
    (Order, "zzz", "Order has no zzz; it has id, number"),
    (Order, "address.zipCode", "zipCode is the alias of its field zip_code"),
    (Order, "id.x", "str has no x"),
    (Order, "maybe.x", "Address has no x"),
    (Order, "either.zip_code.x", "str has no x"),
    (Order, "by_name.first.x", "Address has no x"),
    (Order, "model_dump", "Order has no model_dump"),
    (Order, "price", "it leads to float"),
    (Order, "paid", "it leads to bool"),
    (Order, "address", "it leads to Address"),
    (Order, "address.lines", "it leads to list"),
    (Order, "by_name", "it leads to dict"),
    (Row, "x", "Row has no x"),
    (Typed, "x", "Typed has no x"),
    (Typed, "keys", "Typed has no keys"),
    (Tuple, "x", "Tuple has no x"),
    (Box[str], "content.x", "str has no x"),
    (str, "id", "str has no id"),
    (bytes, "id", "bytes has no id"),
    (int, "id", "int has no id"),
    (list[Order], "id", "list has no id"),
    (dict[str, str], "a.b", "str has no b"),
]


@pytest.mark.parametrize(("body", "path"), POSSIBLE)
def test_a_path_that_a_body_may_have_is_taken(body: Any, path: str) -> None:
    assert why_impossible(body, path, is_key=True) == ""


@pytest.mark.parametrize(("body", "path", "why"), IMPOSSIBLE)
def test_a_path_that_no_body_has_is_told(body: Any, path: str, why: str) -> None:
    assert why in why_impossible(body, path, is_key=True)


def test_a_compared_field_may_be_anything_that_is_there() -> None:
    assert why_impossible(Order, "address.lines", is_key=False) == ""
    assert "has no x" in why_impossible(Order, "address.x", is_key=False)


@pytest.mark.parametrize("options", [{"key": "oder_id"}, {"key": ("id", "oder_id")}])
@pytest.mark.parametrize("shape", [Order, Message[Order], Batch[Order]])
def test_a_handler_with_such_a_key_fails_at_import(options: dict[str, Any], shape: Any) -> None:
    def take(order: Any) -> None: ...

    take.__annotations__["order"] = shape
    with pytest.raises(HandlerDefinitionError, match=r"take: idempotency_key 'oder_id' is in no"):
        queue_handler(idempotency=Idempotency(**options))(take)


def test_a_handler_that_compares_such_a_field_fails_at_import() -> None:
    def take(order: Order) -> None: ...

    with pytest.raises(HandlerDefinitionError, match="compare_body 'amnt' is in no body"):
        queue_handler(idempotency=Idempotency(compare_body=("amnt",)))(take)
