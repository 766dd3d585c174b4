"""Claims in a DynamoDB table: a delivery's claims in one request, its commits in another.

The table's key is `message_key` (a string) and its TTL attribute is `expires_at`; see
infra/idempotency-table.yaml. DynamoDB deletes what has ended within days, so that every condition
looks at `ends_ms` itself.
"""

from __future__ import annotations

import os
from time import sleep, time
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.clouds.aws import dynamodb_client
from queue_runtime.idempotency import body_digests
from queue_runtime.idempotency.store import FRESH, Found, found

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.idempotency.store import Claim, Clock

# What one transaction takes
# (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html).
_MOST_ITEMS: Final = 100
_MOST_ROUNDS: Final = 6
_PAUSE_SECONDS: Final = 0.02
# Somebody is writing this key right now; who it is will be known a moment later.
_CONTESTED: Final = Found("in progress", remaining=1.0)

_FREE: Final = "attribute_not_exists(message_key) OR ends_ms <= :now OR claimed_by = :owner"
_ABSENT_OR_OURS: Final = "attribute_not_exists(message_key) OR claimed_by = :owner"
_OURS: Final = "claimed_by = :owner AND attribute_not_exists(is_done)"
_REFUSED: Final = "ConditionalCheckFailed"
_CONFLICT: Final = "TransactionConflict"


class DynamoDbStore:
    """A table; each call is one request for up to 100 keys, and one more where some are taken.

    Several keys go in a transaction, whose refusal names the rows that stood in the way; a single
    one in a plain conditional write, at half the price.

    Args:
        table: its name or ARN.
        region: None leaves it to AWS_REGION and the SDK's own settings.
        client: None makes one.
        clock: the wall clock that claims end by; it must agree between all who use the table.

    Raises:
        MissingExtraError: the AWS SDK is not installed.
    """

    def __init__(
        self,
        table: str,
        *,
        region: str | None = None,
        client: Any = None,
        clock: Clock = time,
    ) -> None:
        self._table = table
        self._client = client or dynamodb_client(region or os.environ.get("AWS_REGION"))
        self._clock = clock

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        """Take what is free, by one conditional request."""
        answers: list[Found] = [FRESH] * len(claims)

        def write(claim: Claim) -> dict[str, Any]:
            condition = {":now": _number(self._now_ms()), ":owner": {"S": owner}}
            return self._put(claim, owner, seconds, False, _FREE, condition)

        def refused(at: int, row: dict[str, Any] | None) -> None:
            answers[at] = _CONTESTED if row is None else self._found(row)

        self._write(claims, write, refused)
        return answers

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        """Move the ends of what is the owner's and unfinished."""

        def write(claim: Claim) -> dict[str, Any]:
            ends = self._ends(seconds)
            return {
                "Update": {
                    **self._address(claim),
                    "UpdateExpression": "SET ends_ms = :ends, expires_at = :expires",
                    "ConditionExpression": _OURS,
                    "ExpressionAttributeValues": {
                        ":owner": {"S": owner},
                        ":ends": ends["ends_ms"],
                        ":expires": ends["expires_at"],
                    },
                }
            }

        self._write(claims, write, _ignore)

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        """Mark as done what is the owner's, or nobody's.

        Raises:
            TimeoutError: other requests wrote the same rows for as long as this was tried.
        """
        answers = [True] * len(claims)

        def write(claim: Claim) -> dict[str, Any]:
            condition = {":owner": {"S": owner}}
            return self._put(claim, owner, retention, True, _ABSENT_OR_OURS, condition)

        def refused(at: int, row: dict[str, Any] | None) -> None:
            if row is None:
                raise TimeoutError("rows of this commit were being written by others all the time")
            answers[at] = False

        self._write(claims, write, refused)
        return answers

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        """Remove what is the owner's and unfinished."""

        def write(claim: Claim) -> dict[str, Any]:
            return {
                "Delete": {
                    **self._address(claim),
                    "ConditionExpression": _OURS,
                    "ExpressionAttributeValues": {":owner": {"S": owner}},
                }
            }

        self._write(claims, write, _ignore)

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _write(
        self,
        claims: Sequence[Claim],
        write: Callable[[Claim], dict[str, Any]],
        refused: Callable[[int, dict[str, Any] | None], None],
    ) -> None:
        """Carry out one conditional write a claim; tells the position and row of each refused one.

        The row is None where other requests were writing it all the time.
        """
        for start in range(0, len(claims), _MOST_ITEMS):
            left = list(range(start, min(start + _MOST_ITEMS, len(claims))))
            for tried in range(1, _MOST_ROUNDS + 1):
                reasons = self._request([write(claims[at]) for at in left])
                codes = {reason["Code"] for reason in reasons}
                again = []
                for at, reason in zip(left, reasons, strict=False):
                    if reason["Code"] == _REFUSED:
                        refused(at, reason.get("Item", {}))
                    else:
                        again.append(at)
                left = again
                if not left:
                    break
                if _CONFLICT in codes:
                    _pause(tried)
            for at in left:
                refused(at, None)

    def _request(self, writes: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Give why nothing was written, write by write; empty where all of it was."""
        try:
            if len(writes) == 1:
                self._single(writes[0])
            else:
                # The SDK adds a token, so that its own repetition of a lost reply succeeds too.
                self._client.transact_write_items(TransactItems=writes)
        except self._client.exceptions.ConditionalCheckFailedException as error:
            return [{"Code": _REFUSED, "Item": error.response.get("Item", {})}]
        except self._client.exceptions.TransactionConflictException:
            return [{"Code": _CONFLICT}]
        except self._client.exceptions.TransactionCanceledException as error:
            reasons: Sequence[dict[str, Any]] = error.response.get("CancellationReasons", [])
            if not _can_go_on(reasons, len(writes)):
                raise
            return reasons
        return ()

    def _single(self, write: dict[str, Any]) -> None:
        for kind, arguments in write.items():
            call = {
                "Put": self._client.put_item,
                "Update": self._client.update_item,
                "Delete": self._client.delete_item,
            }[kind]
            call(**arguments)

    def _put(
        self,
        claim: Claim,
        owner: str,
        seconds: float,
        done: bool,
        condition: str,
        values: dict[str, Any],
    ) -> dict[str, Any]:
        item = {
            "message_key": {"S": claim.key},
            "claimed_by": {"S": owner},
            **self._ends(seconds),
        }
        if done:
            item["is_done"] = {"BOOL": True}
        if claim.payload:
            item["payload"] = {"S": body_digests.exact_part(claim.payload)}
        if added := body_digests.added_part(claim.payload):
            item["body_digests"] = {"S": added}
        return {
            "Put": {
                "TableName": self._table,
                "Item": item,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _address(self, claim: Claim) -> dict[str, Any]:
        return {"TableName": self._table, "Key": {"message_key": {"S": claim.key}}}

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)

    def _ends(self, seconds: float) -> dict[str, Any]:
        ends = self._now_ms() + round(seconds * 1000)
        return {"ends_ms": _number(ends), "expires_at": _number(-(-ends // 1000))}

    def _found(self, row: dict[str, Any]) -> Found:
        if "ends_ms" not in row:  # an endpoint that does not say which row it was, or no claim
            return _CONTESTED
        left = (int(row["ends_ms"]["N"]) - self._now_ms()) / 1000
        payload, digests = (row.get(name, {}).get("S", "") for name in ("payload", "body_digests"))
        payload = body_digests.read(payload, digests)
        return found(done="is_done" in row, remaining=max(left, 0.0), payload=payload)


def _ignore(at: int, row: dict[str, Any] | None) -> None:
    """Leave a row that is not the owner's any more."""


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _can_go_on(reasons: Sequence[dict[str, Any]], count: int) -> bool:
    """Tell refusals that name a row or a neighbour from those that concern the table."""
    known = {"None", _REFUSED, _CONFLICT}
    return len(reasons) == count and all(reason["Code"] in known for reason in reasons)


def _pause(tried: int) -> None:
    from random import uniform  # 2 ms that only a conflict has to pay

    sleep(uniform(0, _PAUSE_SECONDS * tried))  # noqa: S311 - spreads load, guards nothing
