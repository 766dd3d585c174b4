"""What a message is recognised by: its id, paths into its body, or a function of the author's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.errors import BodyDecodeError, HandlerDefinitionError
from queue_runtime.idempotency.body_digests import joined
from queue_runtime.idempotency.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.message import Message

    Key: TypeAlias = Callable[[Message[Any]], str] | str | Sequence[str] | None
    Reader: TypeAlias = Callable[[Message[Any]], object]

# In bytes; with its scope a key fits into DynamoDB's 2,048, the least of all stores'
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html). No queue
# service makes longer ids; they are what a producer writes into our attribute.
_LONGEST_ID: Final = 1024
_SURELY_FITS: Final = 128
_DIGEST_BYTES: Final = 16
_NEW: Final = tuple.__new__


class MissingKeyError(Exception):
    """Says why a message has no key, without a word of its body."""


class Keys:
    """Makes a message's claim, in a scope of its own for each handler and queue.

    Every key can be stored: it is encodable, not empty, and at most 1,024 bytes and its scope long.
    Ids are kept as they are and keys of the author's as digests, since records of 0.1.0 are.

    Args:
        handler: its name.
        key: None takes the message's id.
        compare_body: whether the body's digests go with a key of the author's, or the paths of the
            fields whose digest does. An id needs none: the queue service gives it to one message
            only.
    """

    def __init__(self, handler: str, key: Key, *, compare_body: bool | Sequence[str]) -> None:
        self._handler = handler
        self._read = None if key is None else reader(key)
        self._compares = bool(compare_body)
        self._fields = None if isinstance(compare_body, bool) else _fields_reader(compare_body)
        self._scopes: dict[str, str] = {}  # by queue

    def claim(self, message: Message[Any]) -> Claim:
        """Give the claim that stands for a message.

        Raises:
            MissingKeyError: it has no key, or one that no store takes.
            BodyDecodeError: its body cannot be read.
        """
        try:
            scope = self._scopes.get(message.queue) or self._scope(message.queue)
            if self._read is None:
                # What a NamedTuple's own __new__ does, at half of its price: each message pays it.
                return _NEW(Claim, (scope + _storable(message.id), ""))
            text = _text(self._read(message))
            # A key of the author's may be an address or a name, which is nobody's business there.
            return Claim(scope + _digest(text.encode()), self._digests(message))
        except (MissingKeyError, BodyDecodeError):
            raise
        except UnicodeEncodeError:
            raise MissingKeyError("its key has half a surrogate pair, which UTF-8 lacks") from None
        except Exception as error:
            raise MissingKeyError(f"its key raised {type(error).__qualname__}") from error

    def _scope(self, queue: str) -> str:
        # The part before the number sign is the scope, and stores place rows by it.
        scope = f"{self._handler}@{queue}".replace("#", "-") + "#"
        self._scopes[queue] = scope
        return scope

    def _digests(self, message: Message[Any]) -> str:
        if not self._compares:
            return ""
        payload = message.payload
        exact = _digest(
            payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
        )
        content = self._content(message)
        return joined(exact, _digest(content.encode()) if content else "")

    def _content(self, message: Message[Any]) -> str:
        from queue_runtime.idempotency import body_content  # a handler by ids does not load it

        if self._fields is None:
            return body_content.json_content(message.payload)
        try:
            return body_content.value_content(self._fields(message))
        except ValueError:  # no JSON can be made of them: the body's bytes are compared
            return ""


def reader(key: Callable[[Message[Any]], str] | str | Sequence[str]) -> Reader:
    """Make the function that reads a key; a path such as `order.id` starts at the body.

    Raises:
        HandlerDefinitionError: it is neither a path, nor several, nor a function.
    """
    if callable(key):
        return key
    parts = [_path_reader(path) for path in key_paths(key)]
    if isinstance(key, str):
        return parts[0]

    def read(message: Message[Any]) -> object:
        from json import dumps

        # As a JSON array, in which ("a", "bc") and ("ab", "c") are not the same.
        return dumps([_text(part(message)) for part in parts], ensure_ascii=False)

    return read


def key_paths(key: object) -> tuple[str, ...]:
    """Give the paths of a key; none for a function or the id.

    Raises:
        HandlerDefinitionError: it is none of these.
    """
    if key is None or callable(key):
        return ()
    return _paths("idempotency_key takes a function of the message", key)


def compared_paths(compare_body: object) -> tuple[str, ...]:
    """Give the paths of the fields that are compared; none where all or nothing is.

    Raises:
        HandlerDefinitionError: one of them is no path.
    """
    if isinstance(compare_body, bool):
        return ()
    return _paths("compare_body takes True, False", compare_body)


def _paths(takes: str, value: object) -> tuple[str, ...]:
    paths = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not paths or not all(_is_path(path) for path in paths):
        raise HandlerDefinitionError(
            f"{takes}, names with dots between such as 'order.id', or several of them, "
            f"not {value!r}"
        )
    return tuple(paths)


def _is_path(path: object) -> bool:
    return isinstance(path, str) and all(part.isidentifier() for part in path.split("."))


def _path_reader(path: str) -> Reader:
    names = path.split(".")

    def read(message: Message[Any]) -> object:
        value = _follow(message.body, names)
        if value is None:
            raise MissingKeyError(f"its body has no {path}")
        return value

    return read


def _fields_reader(paths: Sequence[str]) -> Reader:
    """Read the fields that are compared; one that a body lacks is None, which is content too."""
    named = [(path, path.split(".")) for path in paths]
    return lambda message: {path: _follow(message.body, names) for path, names in named}


def _follow(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if value is None:
            return None
    return value


def _storable(identity: str) -> str:
    if not identity:
        raise MissingKeyError("it has no id")
    if len(identity) <= _SURELY_FITS and identity.isascii():
        return identity
    try:
        encoded = identity.encode()
    except UnicodeEncodeError:
        raise MissingKeyError("its id has half a surrogate pair, which UTF-8 lacks") from None
    return identity if len(encoded) <= _LONGEST_ID else f"digest:{_digest(encoded)}"


def _text(key: object) -> str:
    from decimal import Decimal
    from uuid import UUID

    # A float, a bool or a list is a mistake that would take different messages for the same.
    if isinstance(key, bool) or not isinstance(key, str | int | Decimal | UUID):
        raise MissingKeyError(f"its key is a {type(key).__name__}, not a text or a whole number")
    text = str(key)
    if not text:
        raise MissingKeyError("its key is empty")
    return text


def _digest(content: bytes) -> str:
    from hashlib import blake2b  # a handler that goes by ids does not load it

    return blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
