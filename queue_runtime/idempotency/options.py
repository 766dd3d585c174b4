"""How the author of a handler says what makes two of its messages the same."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

from queue_runtime.errors import HandlerDefinitionError, SettingsError
from queue_runtime.idempotency import open_store
from queue_runtime.idempotency.keys import compared_paths, key_paths
from queue_runtime.idempotency.middleware import ClaimMiddleware, CommitEach
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.idempotency.keys import Key
    from queue_runtime.idempotency.store import IdempotencyStore
    from queue_runtime.message import Message


class Idempotency:
    """How repeated messages of a handler are told, and what is done about them.

    Args:
        key: what makes two messages the same: a function of the message, a path into its body such
            as `order.id`, or several paths, which together are the key; None takes the message's
            id, which survives copies and redrives.
        store: a store, or its URL; None takes `QUEUE_IDEMPOTENCY_STORE`.
        retention: for how many seconds it is kept that a message is done; None takes the settings'.
        commit: "batch" notes all that is done of a delivery in one request, at its end; "each"
            after each call, which costs a request more a call and loses nothing to a crash.
        on_duplicate: called with a message whose work was done before, ahead of its acknowledgment.
        missing: what becomes of a message without a key: it is put aside, or runs unprotected.
        compare_body: whether one key with two bodies is a mistake, to be put aside; where False,
            the second one is a duplicate. Bodies are compared by their content: JSON written in
            another order is the same. Paths such as `("amount", "lines")` compare these fields
            only.

    Raises:
        HandlerDefinitionError: an option cannot work.
    """

    __slots__ = (
        "_paths",
        "commit",
        "compare_body",
        "key",
        "missing",
        "on_duplicate",
        "retention",
        "store",
    )

    def __init__(
        self,
        *,
        key: Key = None,
        store: IdempotencyStore | str | None = None,
        retention: float | None = None,
        commit: Literal["batch", "each"] = "batch",
        on_duplicate: Callable[[Message[Any]], None] | None = None,
        missing: Literal["dead-letter", "run"] = "dead-letter",
        compare_body: bool | Sequence[str] = True,
    ) -> None:
        # A wrong path fails here, not on the first message.
        self._paths = {
            "idempotency_key": key_paths(key),
            "compare_body": compared_paths(compare_body),
        }
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
        self.compare_body = self._paths["compare_body"] or bool(compare_body)

    @property
    def needs_store(self) -> bool:
        """Whether the settings have to name a store: an object of the author's is used as it is."""
        return self.store is None or isinstance(self.store, str)

    def settings(self) -> dict[str, object]:
        """Give what an operator can override."""
        url = self.store if isinstance(self.store, str) else None
        return {"idempotency_store": url, "idempotency_retention_seconds": self.retention}

    def check(self, handler: str, body_type: Any) -> None:
        """Refuse paths that no body of the handler's type has.

        Raises:
            HandlerDefinitionError: with what the body has instead.
        """
        if body_type is dict:
            return  # which has any path; a Lambda function need not load what tells
        for option, paths in self._paths.items():
            for path in paths:
                _check_path(handler, option, path, body_type)

    def bind(
        self, definition: HandlerDefinition, settings: Settings, *, fixed_locks: bool
    ) -> HandlerDefinition:
        """Put the middleware innermost, over the store that the settings name.

        Raises:
            SettingsError: no store is named.
        """
        if not settings.idempotency:
            events.say_once(
                settings.queue or definition.name,
                "idempotency",
                f"repeated messages are not told by {definition.name}, because idempotency is off "
                "(QUEUE_IDEMPOTENCY), which is for tests",
            )
            return definition
        bound = copy.copy(definition)
        bound.decodes_first = True
        claims = ClaimMiddleware(
            self._open(definition, settings),
            definition,
            definition.policy(settings),
            key=self.key,
            compare_body=self.compare_body,
            missing=self.missing,
            commit=self.commit,
            on_duplicate=self.on_duplicate,
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


def _check_path(handler: str, option: str, path: str, body_type: Any) -> None:
    from queue_runtime.idempotency.paths import why_impossible  # keys by id have none

    why = why_impossible(body_type, path, is_key=option == "idempotency_key")
    if why:
        raise HandlerDefinitionError(f"{handler}: {option} {path!r} is in no body: {why}")


def _is_async(function: Callable[..., Any]) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function)


def _one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = " or ".join(repr(choice) for choice in allowed)
        raise HandlerDefinitionError(f"{option} is {choices}, not {value!r}")
