"""The content of a body as one text: the same for all ways of writing the same JSON or fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from json import JSONDecoder, detect_encoding
from typing import Any, Final

# Exact for numbers of any length: what is rounded would make two bodies the same.
_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def json_content(payload: str | bytes) -> str:
    """Write a JSON object or array anew: members sorted, no white space, numbers by their value.

    Empty for any other body: a text is its own content. Of a repeated member the last one counts,
    as for every decoder here.
    """
    try:
        text = payload if isinstance(payload, str) else _decoded(payload)
        if text.lstrip()[:1] not in ("{", "["):
            return ""
        # ascii() tells numbers from texts, and writes half a surrogate pair so that it encodes.
        return ascii(_DECODER.decode(text))
    except (ValueError, ArithmeticError, RecursionError):  # no JSON, or no number that can be held
        return ""


def value_content(value: object) -> str:
    """Write a value of a decoded body as `json_content` would write its JSON.

    Raises:
        ValueError: it holds something that pydantic cannot write as JSON.
    """
    return ascii(_plain(value))


def _plain(value: Any) -> object:
    if value is None or isinstance(value, bool | str | bytes):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(str(value))
    if isinstance(value, Mapping):
        return _sorted([(str(name), _plain(member)) for name, member in value.items()])
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):  # whose order is another in every process
        return sorted(ascii(_plain(item)) for item in value)
    if hasattr(value, "__dataclass_fields__"):  # the module itself takes long to load
        return _plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    if hasattr(type(value), "model_fields"):
        return _plain(dict(value))
    from pydantic_core import to_jsonable_python  # dates, UUIDs, enums

    return _plain(to_jsonable_python(value))


def _decoded(payload: bytes) -> str:
    return payload.decode(detect_encoding(payload), "surrogatepass")


def _sorted(members: list[tuple[str, object]]) -> dict[str, object]:
    return dict(sorted(dict(members).items()))


def _number(text: str) -> Decimal:
    return _EXACT.create_decimal(text).normalize(_EXACT)


_DECODER: Final = JSONDecoder(
    object_pairs_hook=_sorted,
    parse_float=_number,
    parse_int=_number,
    parse_constant=_number,  # Infinity and NaN, which Python's encoder writes
)
