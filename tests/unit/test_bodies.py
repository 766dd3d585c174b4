from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
)
from typing_extensions import TypedDict  # pydantic takes typing's from Python 3.12 on

from queue_runtime import bodies
from queue_runtime.bodies import body_decoder
from queue_runtime.errors import BodyDecodeError

SECRET = "4111-SECRET-1111"


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    amount: Decimal
    lines: list[int] = []
    notes: dict[str, int] = {}
    due: Annotated[date | None, Field(alias="dueDate")] = None


@dataclass
class Click:
    page: str
    times: int = 1


class Visit(TypedDict):
    page: str


class Picky(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _ask_a_service(cls, value: str) -> str:
        raise RuntimeError(f"service down for {value}")


class NoSchema(RootModel[Any]):
    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        raise RuntimeError("no schema")


def _decode(body_type: Any, payload: str | bytes) -> Any:
    return body_decoder(body_type)(payload)


def _reason(body_type: Any, payload: str | bytes) -> str:
    with pytest.raises(BodyDecodeError) as caught:
        _decode(body_type, payload)
    return str(caught.value)


def test_bytes_stay_as_they_are_and_text_becomes_utf8() -> None:
    assert _decode(bytes, b"\xff") == b"\xff"
    assert _decode(bytes, "caf\u00e9") == b"caf\xc3\xa9"
    assert _reason(bytes, "\ud800") == "the body has half a surrogate pair, which UTF-8 lacks"


@pytest.mark.parametrize("text", ["caf\u00e9", ""])
def test_text_comes_as_text_or_as_utf8(text: str) -> None:
    assert _decode(str, text) == _decode(str, text.encode()) == text


@pytest.mark.parametrize("body_type", [dict, dict[str, Any]])
def test_a_dict_is_any_json_object(body_type: Any) -> None:
    assert _decode(body_type, '{"a": [1]}') == {"a": [1]}
    assert _decode(body_type, b"{}") == {}


@pytest.mark.parametrize(
    ("body_type", "payload", "body"),
    [
        (Order, '{"id": "1", "amount": "2.50"}', Order(id="1", amount=Decimal("2.50"))),
        (Click, b'{"page": "/"}', Click("/")),
        (Visit, '{"page": "/"}', {"page": "/"}),
        (list[int], "[1, 2]", [1, 2]),
        (int, "7", 7),
        (Mapping[str, int], '{"a": 1}', {"a": 1}),
        (Order | Click, '{"page": "/", "times": 2}', Click("/", 2)),
    ],
)
def test_whatever_pydantic_takes_is_decoded_from_json(
    body_type: Any, payload: str | bytes, body: Any
) -> None:
    assert _decode(body_type, payload) == body


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", r"the body is not JSON (character 0)"),
        ('{"a": ', "the body is not JSON (character 6)"),
        (b"{}\xff", "the body is not UTF-8 (byte 2)"),
        ("[1]", "the body is a JSON array, not an object"),
        ('"x"', "the body is a JSON string, not an object"),
        ("true", "the body is a JSON boolean, not an object"),
        ("1", "the body is a JSON number, not an object"),
        ("1.5", "the body is a JSON number, not an object"),
        ("null", "the body is a JSON null, not an object"),
        ("[" * 200_000, "the body is not JSON"),
        ("1" * 5_000, "the body is not JSON"),
    ],
)
def test_a_body_that_is_no_object_says_where_it_breaks(payload: str | bytes, reason: str) -> None:
    assert _reason(dict, payload) == reason


def test_text_that_is_not_utf8_says_where_it_breaks() -> None:
    assert _reason(str, b"ab\xff") == "the body is not UTF-8 (byte 2)"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("{}", "id: missing; amount: missing"),
        ("", "body: json_invalid"),
        (f'{{"id": "{SECRET}", "amount": "{SECRET}"}}', "amount: decimal_parsing"),
        (
            f'{{"id": "1", "amount": 1, "lines": [1, "{SECRET}"]}}',
            "lines.1: int_parsing",
        ),
        (f'{{"id": "1", "amount": 1, "{SECRET}": 1}}', "*: extra_forbidden"),
        (f'{{"id": "1", "amount": 1, "notes": {{"{SECRET}": "x"}}}}', "notes.*: int_parsing"),
        ('{"id": "1", "amount": 1, "dueDate": "x"}', "dueDate: date_from_datetime_parsing"),
    ],
)
def test_poison_says_location_and_type_of_each_error_and_never_the_input(
    payload: str, reason: str
) -> None:
    assert _reason(Order, payload) == f"the body does not fit Order: {reason}"


def test_the_error_itself_shows_no_input_when_it_is_printed() -> None:
    import traceback

    with pytest.raises(BodyDecodeError) as caught:
        _decode(Order, f'{{"id": "{SECRET}", "amount": "{SECRET}"}}')
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_long_list_of_bad_items_is_cut_short() -> None:
    reason = _reason(list[int], "[" + ",".join(['"x"'] * 1000) + "]")
    assert reason.endswith("9: int_parsing; and 990 more")


def test_a_type_without_a_json_schema_has_the_names_of_its_fields_all_the_same() -> None:
    class Box(BaseModel):
        inner: NoSchema
        count: int

    assert _reason(Box, '{"inner": 1, "count": "x"}').endswith(": count: int_parsing")


class Shipment(BaseModel):
    weight: Annotated[int, Field(validation_alias=AliasPath("parcel", 0, "grams"))]
    parts: list["Shipment"] = []
    click: Click | None = None
    visit: Visit | None = None
    place: Annotated[int, Field(validation_alias=AliasChoices("place", "where"))] = 0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"parcel": [{"grams": "x"}]}', "parcel.0.grams: int_parsing"),
        ('{"parcel": [{"grams": 1}], "click": {}}', "click.page: missing"),
        ('{"parcel": [{"grams": 1}], "visit": {"page": 1}}', "visit.page: string_type"),
        ('{"parcel": [{"grams": 1}], "where": "x"}', "where: int_parsing"),
        ('{"parcel": [{"grams": 1}], "parts": [{}]}', "parts.0.parcel.0.grams: missing"),
    ],
)
def test_poison_names_fields_however_deep_and_by_the_name_that_was_sent(
    payload: str, reason: str
) -> None:
    assert _reason(Shipment, payload) == f"the body does not fit Shipment: {reason}"


def test_the_names_of_a_model_are_gathered_once_and_not_for_each_poison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = body_decoder(Order)
    walked = []
    names = bodies._names_of

    def counted(fields: Any) -> Any:
        walked.append(fields)
        return names(fields)

    monkeypatch.setattr(bodies, "_names_of", counted)
    for _ in range(3):
        with pytest.raises(BodyDecodeError, match="id: missing"):
            decode("{}")
    assert len(walked) == 1


def test_a_validator_that_breaks_is_not_taken_for_poison() -> None:
    with pytest.raises(RuntimeError, match="service down"):
        _decode(Picky, '{"name": "x"}')


@pytest.mark.parametrize("body_type", [memoryview, type("Plain", (), {}), list[memoryview]])
def test_a_type_that_json_cannot_hold_is_refused_at_once(body_type: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot decode a body into .+: Unable to generate"):
        body_decoder(body_type)


def test_a_model_that_is_not_whole_yet_is_refused_at_once_and_not_on_each_message() -> None:
    class Half(BaseModel):
        other: "NeverDefined"  # type: ignore[name-defined]  # noqa: F821 - that is the point

    with pytest.raises(TypeError, match="Half names a type that is not defined"):
        body_decoder(Half)
