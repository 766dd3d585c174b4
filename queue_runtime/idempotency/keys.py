"""What a message is recognised by: its id, a path into its body, or a function of the author's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.errors import HandlerDefinitionError
from queue_runtime.idempotency.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.message import Message

    Key: TypeAlias = Callable[[Message[Any]], str] | str | None

_DIGEST_BYTES: Final = 16
_NEW: Final = tuple.__new__


class MissingKeyError(Exception):
    """Says why a message has no key, without a word of its body."""


class Keys:
    """Makes a message's claim, in a scope of its own for each handler and queue.

    Args:
        handler: its name.
        key: None takes the message's id.
        payload: whether the body's digest goes with a key of the author's. An id needs none: the
            queue service gives it to one message only.
    """

    def __init__(self, handler: str, key: Key, *, payload: bool) -> None:
        self._handler = handler
        self._read = None if key is None else reader(key)
        self._payload = payload
        self._scopes: dict[str, str] = {}  # by queue

    def claim(self, message: Message[Any]) -> Claim:
        """Give the claim that stands for a message.

        Raises:
            MissingKeyError: it has no key.
        """
        scope = self._scopes.get(message.queue) or self._scope(message.queue)
        if self._read is None:
            if identity := message.id:
                # What a NamedTuple's own __new__ does, at half of its price: each message pays it.
                return _NEW(Claim, (scope + identity, ""))
            raise MissingKeyError("it has no id")
        try:
            key = self._read(message)
        except MissingKeyError:
            raise
        except Exception as error:
            raise MissingKeyError(f"its key raised {type(error).__qualname__}") from error
        # A key of the author's may be an address or a name, which is nobody's business in a store.
        return Claim(scope + _digest(_text(key).encode()), self._digest_of(message.payload))

    def _scope(self, queue: str) -> str:
        # The part before the number sign is the scope, and stores place rows by it.
        scope = f"{self._handler}@{queue}".replace("#", "-") + "#"
        self._scopes[queue] = scope
        return scope

    def _digest_of(self, payload: str | bytes) -> str:
        if not self._payload:
            return ""
        return _digest(payload.encode() if isinstance(payload, str) else payload)


def reader(key: Callable[[Message[Any]], str] | str) -> Callable[[Message[Any]], object]:
    """Make the function that reads a key; a path such as `order.id` starts at the body.

    Raises:
        HandlerDefinitionError: it is neither a path nor a function.
    """
    if callable(key):
        return key
    if not all(part.isidentifier() for part in str(key).split(".")):
        raise HandlerDefinitionError(
            f"idempotency_key takes a function of the message, or names with dots between such as "
            f"'order.id', not {key!r}"
        )
    names = key.split(".")

    def read(message: Message[Any]) -> object:
        value: Any = message.body
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            if value is None:
                raise MissingKeyError(f"its body has no {key}")
        return value

    return read


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
