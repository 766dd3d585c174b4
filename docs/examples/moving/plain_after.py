"""The same function with queue_runtime."""

# --8<-- [start:handler]
from typing import Any

from queue_runtime import queue_handler

booked: list[str] = []


def book(order: dict[str, Any]) -> None:
    if order["amount"] < 0:
        raise ValueError("negative amount")
    booked.append(order["id"])


@queue_handler
def handler(order: dict) -> None:
    book(order)


# --8<-- [end:handler]
