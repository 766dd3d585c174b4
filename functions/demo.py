"""Prints 2,000 orders, a line each: most are good, some fail once, some never, some are no orders.

The same lines every time, so that the demo's table is the same too.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDERS = 2000


def lines(count: int = ORDERS) -> Iterator[str]:
    """Give one body for each order."""
    for number in range(count):
        yield _line(number)


def _line(number: int) -> str:
    if number % 100 == 13:
        return f'{{"id": "order-{number}", "amount": '  # cut off: not even JSON
    if number % 100 == 57:
        return json.dumps({"id": f"order-{number}", "amount": "a lot"})
    if number % 50 == 7:
        return json.dumps({"id": f"order-{number}", "amount": -5})
    if number % 20 == 3:
        return json.dumps({"id": f"busy-2-{number}", "amount": 20})
    if number % 500 == 251:
        return json.dumps({"id": f"offline-{number}", "amount": 20})
    return json.dumps({"id": f"order-{number}", "amount": number % 90 + 1})


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
