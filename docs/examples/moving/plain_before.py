"""A Lambda function that reports its failures by hand."""

# --8<-- [start:handler]
import json
from typing import Any

booked: list[str] = []


def book(order: dict[str, Any]) -> None:
    if order["amount"] < 0:
        raise ValueError("negative amount")
    booked.append(order["id"])


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    failures = []
    for record in event["Records"]:
        try:
            book(json.loads(record["body"]))
        except Exception:
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


# --8<-- [end:handler]
