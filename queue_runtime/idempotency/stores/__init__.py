"""Where it is kept which messages are being worked on, and which are done: one module a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from queue_runtime.config import Secret
    from queue_runtime.idempotency.store import IdempotencyStore


def open_store(
    url: str, *, secret: Secret | None = None, password: Secret | None = None
) -> IdempotencyStore:
    """Open the store that a URL names; its module, and no other, is imported for it.

    `secret` is the URL where a store of secrets keeps it, and `password` one that the URL leaves
    out; Redis takes another value of either without a restart.

    - `memory://`: this process only; a new, empty one each time.
    - `sqlite:///claims.db`, `sqlite:////var/lib/claims.db`: a file, for this machine's processes.
    - `dynamodb://table`, `dynamodb://table?region=eu-west-1`
    - `redis://host:6379/0`, `rediss://…`
    - `cosmos://account/database/container`

    Raises:
        SettingsError: the URL names no store that can be opened; the text says why.
        MissingExtraError: the store's client library is not installed.
    """
    scheme, separator, rest = url.partition("://")
    opener = _SCHEMES.get(scheme) if separator else None
    if opener is None:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise SettingsError(
            f"idempotency_store: {_without_credentials(url)!r} is no store: it has to start with "
            f"one of {known}"
        )
    try:
        if opener is _redis:
            return _redis(url, rest, secret, password)
        return opener(url, rest)
    except SettingsError as error:
        # It says what was given, which may have a password in it.
        raise SettingsError(_without_credentials(str(error))) from None


def _memory(url: str, rest: str) -> IdempotencyStore:
    from queue_runtime.idempotency.stores.memory import MemoryStore

    return MemoryStore()


def _sqlite(url: str, rest: str) -> IdempotencyStore:
    from queue_runtime.idempotency.stores.sqlite import SqliteStore

    if not rest.startswith("/") or not rest.strip("/"):
        raise SettingsError(f"idempotency_store: {url!r} names no file: write sqlite:///claims.db")
    return SqliteStore(rest[1:])


def _dynamodb(url: str, rest: str) -> IdempotencyStore:
    from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore

    table, _, query = rest.partition("?")
    name, _, region = query.partition("=")
    if not table or (query and (name != "region" or not region)):
        raise SettingsError(
            f"idempotency_store: {url!r} names no table: write dynamodb://table, or "
            "dynamodb://table?region=eu-west-1"
        )
    return DynamoDbStore(table, region=region or None)


def _redis(
    url: str, rest: str, secret: Secret | None = None, password: Secret | None = None
) -> IdempotencyStore:
    from queue_runtime.idempotency.stores.redis import RedisStore

    if not rest.strip("/"):
        raise SettingsError("idempotency_store: no host is named: write redis://host:6379/0")
    try:
        return RedisStore(url, secret=secret, password=password)
    except ValueError as error:  # a port that is none
        raise SettingsError(
            f"idempotency_store: {url!r} is no URL of Redis ({error}): write redis://host:6379/0"
        ) from None


def _cosmos(url: str, rest: str) -> IdempotencyStore:
    from queue_runtime.idempotency.stores.cosmos import CosmosStore, open_container

    parts = rest.split("/")
    if len(parts) != 3 or not all(parts):
        raise SettingsError(
            f"idempotency_store: {url!r} does not name account, database and container: write "
            "cosmos://account/database/container"
        )
    return CosmosStore(open_container(*parts))


def _without_credentials(url: str) -> str:
    from queue_runtime.config import redact

    return redact(url)


_SCHEMES: Final[dict[str, Callable[[str, str], IdempotencyStore]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "dynamodb": _dynamodb,
    "redis": _redis,
    "rediss": _redis,
    "cosmos": _cosmos,
}
