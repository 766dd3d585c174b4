"""Decodes bodies into the annotated type, and describes the mistakes of those that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, TypeAlias, get_origin

from queue_runtime.errors import BodyDecodeError

# A long list of bad items has an error for each, and all of them would go into the log.
_MOST_SHOWN: Final = 10
# Of pydantic-core's schemas: those that have fields, and members in which there are no schemas.
_WITH_FIELDS: Final = ("model-fields", "typed-dict", "dataclass-args")
_NO_SCHEMAS: Final = ("metadata", "default", "expected", "serialization", "cls", "config")

Decoder: TypeAlias = Callable[[str | bytes], Any]


def body_decoder(body_type: Any) -> Decoder:
    """Build the decoder for an annotation, once, at import.

    `bytes`, `str` and plain `dict` need no pydantic, so a Lambda that uses them does not import it.
    Whatever else a pydantic TypeAdapter takes is decoded by one, in its JSON mode.

    Raises:
        TypeError: the annotation is nothing that JSON can be decoded into.
    """
    if body_type is bytes:
        return _encode_text
    if body_type is str:
        return _decode_text
    if body_type is dict or body_type == dict[str, Any]:
        return _decode_object
    return _model_decoder(body_type)


def _encode_text(payload: str | bytes) -> bytes:
    if isinstance(payload, bytes):
        return payload
    try:
        return payload.encode()
    except UnicodeEncodeError:
        raise BodyDecodeError("the body has half a surrogate pair, which UTF-8 lacks") from None


def _decode_text(payload: str | bytes) -> str:
    if isinstance(payload, str):
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise BodyDecodeError(f"the body is not UTF-8 (byte {error.start})") from None


def _decode_object(payload: str | bytes) -> dict[str, Any]:
    from json import loads

    try:
        value = loads(payload)
    except UnicodeDecodeError as error:
        raise BodyDecodeError(f"the body is not UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        # A JSONDecodeError's own text is a position and a phrase, but keeps the whole document.
        where = f" (character {error.pos})" if hasattr(error, "pos") else ""
        raise BodyDecodeError(f"the body is not JSON{where}") from None
    if not isinstance(value, dict):
        raise BodyDecodeError(f"the body is a JSON {_json_name(value)}, not an object")
    return value


def _json_name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _model_decoder(body_type: Any) -> Decoder:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(body_type)
    except PydanticUserError as error:
        # Its first line tells a user of Python 3.11 that a TypedDict has to be typing_extensions'.
        why = str(error).partition("\n")[0]
        raise TypeError(f"pydantic cannot decode a body into {_shown(body_type)}: {why}") from error
    if not adapter.pydantic_complete:  # it would fail on each message instead
        raise TypeError(
            f"{_shown(body_type)} names a type that is not defined: define it before the handler"
        )
    validate = adapter.validate_json
    names = cache(lambda: frozenset(_field_names(adapter.core_schema)))  # for poison alone

    def decode(payload: str | bytes) -> Any:
        try:
            return validate(payload)
        except ValidationError as error:
            raise BodyDecodeError(_explain(error, names())) from None

    return decode


def _shown(body_type: Any) -> str:
    if isinstance(body_type, type) and get_origin(body_type) is None:
        return body_type.__qualname__
    return str(body_type)


def _explain(error: Any, known: frozenset[str]) -> str:
    """Give location and type of each error: never the input, nor a key that came with it."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    problems = [f"{_location(item['loc'], known)}: {item['type']}" for item in items[:_MOST_SHOWN]]
    if len(items) > _MOST_SHOWN:
        problems.append(f"and {len(items) - _MOST_SHOWN} more")
    return f"the body does not fit {error.title}: " + "; ".join(problems)


def _location(loc: tuple[int | str, ...], known: frozenset[str]) -> str:
    # Keys of a free-form mapping are the producer's data; only names of the model may be shown.
    parts = (str(part) if isinstance(part, int) or part in known else "*" for part in loc)
    return ".".join(parts) or "body"


def _field_names(schema: Any) -> Iterator[str]:
    """Give the names and aliases of all fields in a schema of pydantic-core.

    Not by way of a JSON schema: that takes 40 ms for 400 fields, and some types have none.
    """
    if isinstance(schema, dict):
        if schema.get("type") in _WITH_FIELDS:
            yield from _names_of(schema["fields"])
        for key, value in schema.items():
            if key not in _NO_SCHEMAS:
                yield from _field_names(value)
    elif isinstance(schema, list | tuple):
        for value in schema:
            yield from _field_names(value)


def _names_of(fields: Any) -> Iterator[str]:
    named = (
        fields.items() if isinstance(fields, dict) else ((each["name"], each) for each in fields)
    )
    for name, field in named:
        yield name
        yield from _texts(field.get("validation_alias"))


def _texts(alias: Any) -> Iterator[str]:
    # An alias is a name, a path of names and positions, or a list of such paths.
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, list):
        for part in alias:
            yield from _texts(part)
