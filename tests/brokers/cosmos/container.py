"""One container's documents and what a batch does to them, by the service's documented rules.

Written from https://learn.microsoft.com/rest/api/cosmos-db and the transactional batch and partial
update pages of https://learn.microsoft.com/azure/cosmos-db/nosql; no real account was asked.
"""

from __future__ import annotations

import copy
import re
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CREATED, OK, NO_CONTENT = 201, 200, 204
NOT_FOUND, CONFLICT, FAILED, DEPENDENCY = 404, 409, 412, 424
_CONDITION = re.compile(r'c\.(\w+) = ("[^"]*"|true|false)')

Document = dict[str, Any]


class Container:
    """Documents by id and logical partition; `clock` is what their time to live goes by."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._documents: dict[tuple[str, str], Document] = {}
        self._etags = count(1)
        self._lock = Lock()

    def batch(self, partition: str, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Carry out all or nothing; what was not to blame is told so by 424."""
        if not 1 <= len(operations) <= 100:
            raise ValueError("a batch has 1 to 100 operations")
        with self._lock:
            self._expire()
            before = copy.deepcopy(self._documents)
            results = []
            for operation in operations:
                status, document = self._one(partition, operation)
                results.append(_result(status, document))
                if status >= 400:
                    self._documents = before
                    at = len(results) - 1
                    return [_result(status if n == at else DEPENDENCY, None)
                            for n in range(len(operations))]  # fmt: skip
            return results

    def query(self, partition: str, parameters: Mapping[str, Any]) -> list[Document]:
        """Answer the one query that claims use: documents of a partition by their ids."""
        with self._lock:
            self._expire()
            wanted = parameters["@ids"]
            return [
                copy.deepcopy(document)
                for (scope, identity), document in self._documents.items()
                if scope == partition and identity in wanted
            ]

    def _one(self, partition: str, operation: dict[str, Any]) -> tuple[int, Document | None]:
        kind, body = operation["operationType"], operation.get("resourceBody", {})
        identity = operation.get("id") or body["id"]
        key = (partition, identity)
        present = self._documents.get(key)
        if kind == "Create":
            return (CONFLICT, None) if present else (CREATED, self._put(key, body))
        if present is None:
            return NOT_FOUND, None
        if operation.get("ifMatch") not in (None, present["_etag"]):
            return FAILED, None
        if kind == "Replace":
            return OK, self._put(key, body)
        if kind == "Patch":
            return self._patch(key, present, body)
        raise ValueError(f"no {kind} here")

    def _patch(
        self, key: tuple[str, str], present: Document, body: dict[str, Any]
    ) -> tuple[int, Document | None]:
        if not 1 <= len(body["operations"]) <= 10:
            raise ValueError("a patch has 1 to 10 operations")
        where = body["condition"].removeprefix("FROM c WHERE ")
        if not any(all(_holds(present, term) for term in either.split(" AND "))
                   for either in where.split(" OR ")):  # fmt: skip
            return FAILED, None
        changed = dict(present)
        for step in body["operations"]:
            if step["op"] != "set":
                raise ValueError(f"no {step['op']} here")
            changed[step["path"].removeprefix("/")] = step["value"]
        return OK, self._put(key, changed)

    def _put(self, key: tuple[str, str], body: Document) -> Document:
        if body["scope"] != key[0]:
            raise ValueError("the document is of another partition")
        stored = {**body, "_etag": f'"{next(self._etags)}"', "_ts": int(self._clock())}
        self._documents[key] = stored
        return stored

    def _expire(self) -> None:
        now = self._clock()
        self._documents = {
            key: document for key, document in self._documents.items()
            if document["_ts"] + document["ttl"] > now
        }  # fmt: skip


def _holds(document: Document, term: str) -> bool:
    match = _CONDITION.fullmatch(term)
    if match is None:
        raise ValueError(f"this condition is not understood here: {term}")
    name, value = match.groups()
    expected = value[1:-1] if value.startswith('"') else value == "true"
    return bool(document.get(name) == expected)


def _result(status: int, document: Document | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"statusCode": status, "requestCharge": 1.0}
    if document is not None:
        answer |= {"eTag": document["_etag"], "resourceBody": document}
    return answer
