"""Claims in an Azure Cosmos DB container: a delivery's claims and commits are one batch each.

The container's partition key is `/scope` and its time to live is on without a default (-1). A batch
is of one logical partition, and a handler's keys for one queue are one scope, so that about a
thousand new messages a second are the most for each.
"""

from __future__ import annotations

import os
from hashlib import sha256
from json import dumps
from time import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.errors import MissingExtraError
from queue_runtime.idempotency import body_digests
from queue_runtime.idempotency.store import FRESH, Found, found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from queue_runtime.idempotency.store import Claim, Clock

Operation: TypeAlias = "tuple[Any, ...]"

# What one transactional batch takes
# (https://learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch).
_MOST_ITEMS: Final = 100
_MOST_ROUNDS: Final = 6
_ABSENT, _EXISTS, _CHANGED = 404, 409, 412
# Somebody is writing this key right now; who it is will be known a moment later.
_CONTESTED: Final = Found("in progress", remaining=1.0)
_NOBODY: Final = '""'
_QUERY: Final = "SELECT * FROM c WHERE ARRAY_CONTAINS(@ids, c.id)"


class CosmosStore:
    """A container of an account with one write region: with several, two claims could both win.

    Args:
        container: the SDK's container proxy, such as `open_container` makes.
        clock: the wall clock that claims end by; it must agree between all who use the container.
    """

    def __init__(self, container: Any, *, clock: Clock = time) -> None:
        self._container = container
        self._clock = clock

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        """Create all rows by one batch; where some are there, read them and take what has ended."""
        answers: list[Found] = [FRESH] * len(claims)
        for scope, left in _parts(claims):
            rows: dict[str, Any] = {}
            for _ in range(_MOST_ROUNDS):
                if self._attempt(scope, [self._taking(claims[at], owner, seconds, rows)
                                         for at in left]) is None:  # fmt: skip
                    left = []
                    break
                rows = self._read(scope, [claims[at] for at in left])
                taken = {at: self._judge(rows.get(_id(claims[at])), owner) for at in left}
                answers = [taken.get(at) or answer for at, answer in enumerate(answers)]
                left = [at for at in left if taken[at] is None]
                if not left:
                    break
            for at in left:
                answers[at] = _CONTESTED
        return answers

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        """Move the ends of what is the owner's and unfinished."""
        self._patch_unfinished(claims, owner, self._ends(seconds))

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        """Mark as done what is the owner's, or nobody's."""
        changes = {"owner": owner, "done": True, **self._ends(retention)}
        condition = f"FROM c WHERE c.owner = {dumps(owner)} OR c.owner = {_NOBODY}"
        return self._patch(claims, changes, condition, lambda claim: _item(claim, changes))

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        """End what is the owner's and unfinished; a batch has no conditional delete by content."""
        self._patch_unfinished(claims, owner, {"owner": "", "ends_ms": 0, "ttl": 1})

    def close(self) -> None:
        """Do nothing: the SDK's client belongs to whoever made the container."""

    def _taking(self, claim: Claim, owner: str, seconds: float, rows: dict[str, Any]) -> Operation:
        item = _item(claim, {"owner": owner, "done": False, **self._ends(seconds)})
        row = rows.get(item["id"])
        if row is None:
            return ("create", (item,))
        return ("replace", (item["id"], item), {"if_match_etag": row["_etag"]})

    def _judge(self, row: dict[str, Any] | None, owner: str) -> Found | None:
        """Give what stands in the way of a claim, or None."""
        if row is None or row["owner"] == owner:
            return None
        left = row["ends_ms"] / 1000 - self._clock()
        if left <= 0:
            return None
        payload = body_digests.read(row["payload"], row.get("body_digests"))
        return found(done=row["done"], remaining=left, payload=payload)

    def _read(self, scope: str, claims: Sequence[Claim]) -> dict[str, Any]:
        ids = [_id(claim) for claim in claims]
        parameters = [{"name": "@ids", "value": ids}]
        rows = self._container.query_items(_QUERY, parameters=parameters, partition_key=scope)
        return {row["id"]: row for row in rows}

    def _patch_unfinished(
        self, claims: Sequence[Claim], owner: str, changes: dict[str, Any]
    ) -> None:
        condition = f"FROM c WHERE c.owner = {dumps(owner)} AND c.done = false"
        self._patch(claims, changes, condition, None)

    def _patch(
        self,
        claims: Sequence[Claim],
        changes: dict[str, Any],
        condition: str,
        missing: Callable[[Claim], dict[str, Any]] | None,
    ) -> list[bool]:
        """Change the rows that fulfil a condition; `missing` makes those that are not there."""
        answers = [True] * len(claims)
        for scope, left in _parts(claims):
            creating: set[int] = set()
            # A refused batch names one row only, so that each may take a round.
            for _ in range(2 * len(left) + _MOST_ROUNDS):
                operations: list[Operation] = [
                    ("create", (missing(claims[at]),))
                    if missing and at in creating
                    else _changing(claims[at], changes, condition)
                    for at in left
                ]
                refusal = self._attempt(scope, operations)
                if refusal is None:
                    break
                at, status = left[refusal[0]], refusal[1]
                if status == _ABSENT and missing:
                    creating.add(at)
                elif status == _EXISTS:
                    creating.discard(at)
                else:
                    answers[at] = False
                    left.remove(at)
                if not left:
                    break
            else:
                raise TimeoutError("rows were being written by others all the time")
        return answers

    def _attempt(self, scope: str, operations: Sequence[Operation]) -> tuple[int, int] | None:
        """Carry out all or nothing; gives position and status of what was refused, or None."""
        from azure.cosmos.exceptions import CosmosBatchOperationError

        try:
            self._container.execute_item_batch(operations, partition_key=scope)
        except CosmosBatchOperationError as error:
            if error.status_code in (_ABSENT, _EXISTS, _CHANGED):
                return error.error_index, error.status_code
            raise
        return None

    def _ends(self, seconds: float) -> dict[str, Any]:
        # A second more, since the server counts from the last change by its own clock.
        return {"ends_ms": round((self._clock() + seconds) * 1000), "ttl": int(seconds) + 2}


def open_container(account: str, database: str, container: str) -> Any:
    """Make the SDK's proxy of a container, by AZURE_COSMOS_KEY or else by an identity.

    `account` is its short name, or the host of an endpoint; AZURE_COSMOS_ENDPOINT, such as an
    emulator's, is used instead where it is set.

    Raises:
        MissingExtraError: the SDK is not installed.
    """
    try:
        from azure.cosmos import CosmosClient
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise MissingExtraError("an idempotency store in Cosmos DB", "cosmos") from None
    host = account if "." in account else f"{account}.documents.azure.com"
    endpoint = os.environ.get("AZURE_COSMOS_ENDPOINT") or f"https://{host}/"
    credential = os.environ.get("AZURE_COSMOS_KEY") or DefaultAzureCredential()
    client = CosmosClient(endpoint, credential, connection_timeout=2, read_timeout=5, retry_total=2)
    return client.get_database_client(database).get_container_client(container)


def _parts(claims: Sequence[Claim]) -> Iterator[tuple[str, list[int]]]:
    """Split claims into what one batch can hold: one scope, a hundred rows."""
    scopes: dict[str, list[int]] = {}
    for at, claim in enumerate(claims):
        scopes.setdefault(_scope(claim), []).append(at)
    for scope, positions in scopes.items():
        for start in range(0, len(positions), _MOST_ITEMS):
            yield scope, positions[start : start + _MOST_ITEMS]


def _scope(claim: Claim) -> str:
    return claim.key.partition("#")[0]


def _id(claim: Claim) -> str:
    # An id takes no slash, backslash, question mark or number sign, and 255 characters at most.
    return sha256(claim.key.encode()).hexdigest()


def _changing(claim: Claim, changes: dict[str, Any], condition: str) -> Operation:
    values = {**changes, **_digests(claim)}
    steps = [{"op": "set", "path": f"/{name}", "value": value} for name, value in values.items()]
    return ("patch", (_id(claim), steps), {"filter_predicate": condition})


def _item(claim: Claim, row: dict[str, Any]) -> dict[str, Any]:
    about = {"id": _id(claim), "scope": _scope(claim), **_digests(claim)}
    return {**about, "message_key": claim.key, **row}


def _digests(claim: Claim) -> dict[str, str]:
    added = body_digests.added_part(claim.payload)
    exact = {"payload": body_digests.exact_part(claim.payload)}
    return {**exact, "body_digests": added} if added else exact
