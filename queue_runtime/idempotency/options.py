"""How the author of a handler says what makes two of its messages the same."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

from queue_runtime.errors import HandlerDefinitionError, SettingsError
from queue_runtime.idempotency import open_store
from queue_runtime.idempotency.keys import reader
from queue_runtime.idempotency.middleware import ClaimMiddleware, CommitEach

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.idempotency.keys import Key
    from queue_runtime.idempotency.store import IdempotencyStore
    from queue_runtime.message import Message


class Idempotency:
    """How repeated messages of a handler are told, and what is done about them.

    Args:
        key: what makes two messages the same: a function of the message, or a path into its body
            such as `order.id`; None takes the message's id, which survives copies and redrives.
        store: a store, or its URL; None takes `QUEUE_IDEMPOTENCY_STORE`.
        retention: for how many seconds it is kept that a message is done; None takes the settings'.
        commit: "batch" notes all that is done of a delivery in one request, at its end; "each"
            after each call, which costs a request more a call and loses nothing to a crash.
        on_duplicate: called with a message whose work was done before, ahead of its acknowledgment.
        missing: what becomes of a message without a key: it is put aside, or runs unprotected.
        compare_body: whether one key with two bodies is a mistake, to be put aside; where False,
            the second one is a duplicate.

    Raises:
        HandlerDefinitionError: an option cannot work.
    """

    __slots__ = ("commit", "compare_body", "key", "missing", "on_duplicate", "retention", "store")

    def __init__(
        self,
        *,
        key: Key = None,
        store: IdempotencyStore | str | None = None,
        retention: float | None = None,
        commit: Literal["batch", "each"] = "batch",
        on_duplicate: Callable[[Message[Any]], None] | None = None,
        missing: Literal["dead-letter", "run"] = "dead-letter",
        compare_body: bool = True,
    ) -> None:
        if key is not None:
            reader(key)  # a wrong path fails here, not on the first message
        _one_of("commit", commit, ("batch", "each"))
        _one_of("missing", missing, ("dead-letter", "run"))
        if on_duplicate is not None and _is_async(on_duplicate):
            raise HandlerDefinitionError("on_duplicate is called, not awaited: write def")
        self.key = key
        self.store = store
        self.retention = retention
        self.commit = commit
        self.on_duplicate = on_duplicate
        self.missing = missing
        self.compare_body = compare_body

    @property
    def needs_store(self) -> bool:
        """Whether the settings have to name a store: an object of the author's is used as it is."""
        return self.store is None or isinstance(self.store, str)

    def settings(self) -> dict[str, object]:
        """Give what an operator can override."""
        url = self.store if isinstance(self.store, str) else None
        return {"idempotency_store": url, "idempotency_retention_seconds": self.retention}

    def bind(
        self, definition: HandlerDefinition, settings: Settings, *, fixed_locks: bool
    ) -> HandlerDefinition:
        """Put the middleware innermost, over the store that the settings name.

        Raises:
            SettingsError: no store is named.
        """
        bound = copy.copy(definition)
        bound.decodes_first = True
        claims = ClaimMiddleware(
            self,
            self._open(definition, settings),
            definition,
            definition.policy(settings),
            retention=settings.idempotency_retention_seconds,
            fixed_locks=fixed_locks,
        )
        bound.delivery_middleware = (*definition.delivery_middleware, claims)
        if self.commit == "each":
            bound.call_middleware = (*definition.call_middleware, CommitEach(claims))
        return bound

    def _open(self, definition: HandlerDefinition, settings: Settings) -> IdempotencyStore:
        if settings.idempotency_store is not None:
            return open_store(
                settings.idempotency_store,
                secret=settings.secret("idempotency_store"),
                password=settings.secret("idempotency_password"),
            )
        if self.store is None or isinstance(self.store, str):
            raise SettingsError(
                f"{definition.name} is idempotent and has no store: set QUEUE_IDEMPOTENCY_STORE "
                "(dynamodb://table, redis://host/0, cosmos://account/database/container, "
                "sqlite:///file; memory:// for tests), or write Idempotency(store=...)"
            )
        return self.store


def combined(key: Key, idempotency: Idempotency | IdempotencyStore | str | None) -> Idempotency:
    """Put together the decorator's short forms.

    Raises:
        HandlerDefinitionError: the key is said twice.
    """
    if not isinstance(idempotency, Idempotency):
        return Idempotency(key=key, store=idempotency)
    if key is not None:
        raise HandlerDefinitionError("write the key as idempotency_key= or in Idempotency(key=)")
    return idempotency


def _is_async(function: Callable[..., Any]) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function)


def _one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = " or ".join(repr(choice) for choice in allowed)
        raise HandlerDefinitionError(f"{option} is {choices}, not {value!r}")
