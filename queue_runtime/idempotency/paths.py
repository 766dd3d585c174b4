"""Whether a path such as `order.id` can be in a body, judged at import by the body's type.

In doubt it can: a path is refused only where no body of that type has it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

_KEYS: Final = (str, int, Decimal, UUID)
_NO_KEYS: Final = (bool, float, complex, bytes, list, tuple, set, frozenset, Mapping)
_WITHOUT_MEMBERS: Final = (str, bytes, int, float, complex, list, tuple, set, frozenset)


class _ImpossibleError(Exception):
    """Says why no body has a path."""


def why_impossible(body: Any, path: str, *, is_key: bool) -> str:
    """Say why no body of a type has anything under a path; empty where one may.

    `is_key` asks besides whether it can be a key, which is a text or a whole number.
    """
    try:
        _check(body, path.split("."), is_key=is_key)
    except _ImpossibleError as error:
        return str(error)
    return ""


def _check(kind: Any, names: Sequence[str], *, is_key: bool) -> None:
    """Raise where none of the types that a value may be of leads on."""
    problems = []
    for each in _alternatives(kind):
        try:
            if names:
                _check(_member(each, names[0]), names[1:], is_key=is_key)
            elif is_key:
                _check_key(each)
        except _ImpossibleError as error:
            problems.append(error)
        else:
            return
    if problems:
        raise problems[0]


def _alternatives(kind: Any) -> Iterator[Any]:
    """Give the types that a value may be of, without what is written around them; None is none."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from (Any,) if _changes(kind.__metadata__) else _alternatives(arguments[0])
    elif origin is Union or origin is types.UnionType:
        for each in arguments:
            if each is not type(None):
                yield from _alternatives(each)
    elif origin is Literal:
        yield from {type(each) for each in arguments}
    elif hasattr(kind, "__supertype__"):  # NewType
        yield from _alternatives(kind.__supertype__)
    elif hasattr(kind, "__value__"):  # type X = ...
        yield from _alternatives(kind.__value__)
    elif origin is not None and not isinstance(origin, type):  # Required[X], ReadOnly[X]
        yield from _alternatives(arguments[0])
    else:
        yield kind


def _member(kind: Any, name: str) -> Any:
    """Give the type of a member, or Any where it is not known."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or issubclass(origin, Enum):
        return Any
    if issubclass(origin, Mapping) and not _is_typed_dict(origin):
        return get_args(kind)[1] if len(get_args(kind)) == 2 else Any
    members = _members(origin)
    if members is None:
        if issubclass(origin, _WITHOUT_MEMBERS) and not hasattr(origin, name):
            kind = origin.__name__
            raise _ImpossibleError(f"{kind} has no {name}; write a function of the message")
        return Any
    if name in members:
        return members[name]
    if _is_typed_dict(origin) or not _is_attribute(origin, name):
        raise _ImpossibleError(f"{origin.__name__} has no {name}{_hint(origin, members, name)}")
    return Any


def _members(origin: type) -> Mapping[str, Any] | None:
    """Give the members of a type that declares them all, or None."""
    declared = getattr(origin, "model_fields", None)
    if isinstance(declared, dict):
        if getattr(origin, "model_config", {}).get("extra") == "allow":
            return None
        return {
            name: Any if _changes(field.metadata) else field.annotation
            for name, field in declared.items()
        }
    if (
        _is_typed_dict(origin)
        or hasattr(origin, "__dataclass_fields__")
        or hasattr(origin, "_fields")
    ):
        try:
            return get_type_hints(origin, include_extras=True)
        except Exception:  # a name that is only there for type checkers
            return None
    return None


def _is_attribute(origin: type, name: str) -> bool:
    """Tell whether a property or the like is there; a method is no value."""
    if name in getattr(origin, "__private_attributes__", ()):
        return True
    return getattr(origin, name, None) is not None and not callable(getattr(origin, name))


def _hint(origin: type, members: Mapping[str, Any], name: str) -> str:
    for own, field in getattr(origin, "model_fields", {}).items():
        if name in (field.alias, field.validation_alias):
            return f": {name} is the alias of its field {own}, which is what a path takes"
    from difflib import get_close_matches

    close = get_close_matches(name, members, 1)
    return f"; did you mean {close[0]}?" if close else f"; it has {', '.join(members) or 'nothing'}"


def _check_key(kind: Any) -> None:
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or (issubclass(origin, _KEYS) and origin is not bool):
        return
    if issubclass(origin, _NO_KEYS) or _is_typed_dict(origin) or _members(origin) is not None:
        raise _ImpossibleError(
            f"it leads to {origin.__name__}, and a key is a text or a whole number"
        )


def _is_typed_dict(origin: type) -> bool:
    # typing's own is_typeddict() does not know those of typing_extensions.
    return issubclass(origin, dict) and hasattr(origin, "__total__")


def _changes(metadata: Sequence[Any]) -> bool:
    """Tell whether a validator may make a value of another type."""
    return any(hasattr(each, "func") for each in metadata)
