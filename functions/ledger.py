"""The service that the example needs: a ledger in memory, which can be busy or broken."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


class LedgerOfflineError(Exception):
    """The ledger could not be reached."""


class Ledger:
    """Books amounts by order id. The id says how the ledger behaves, so that runs are alike.

    - `busy-3-…` is refused until it is tried the third time;
    - `offline-…` never gets through.
    """

    def __init__(self) -> None:
        self.busy_seconds = float(os.environ.get("LEDGER_BUSY_SECONDS", "30"))
        self.booked: dict[str, Decimal] = {}
        self._tries: Counter[str] = Counter()

    def is_busy(self, order_id: str) -> bool:
        """Tell whether an order has to come again later."""
        kind, _, rest = order_id.partition("-")
        if kind != "busy":
            return False
        self._tries[order_id] += 1
        return self._tries[order_id] < int(rest.partition("-")[0])

    def book(self, order_id: str, amount: Decimal) -> None:
        """Book an order. Doing so again changes nothing, since a message can arrive twice.

        Raises:
            LedgerOfflineError: the ledger could not be reached.
        """
        if order_id.startswith("offline-"):
            raise LedgerOfflineError("the ledger does not answer")
        self.booked[order_id] = amount
