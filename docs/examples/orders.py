"""The whole example of the front page and the README."""

# --8<-- [start:example]
from decimal import Decimal

from pydantic import BaseModel

from queue_runtime import DeadLetter, Retry, queue_handler


class Order(BaseModel):
    id: str
    amount: Decimal


class Ledger:
    def __init__(self) -> None:
        self.booked: dict[str, Decimal] = {}
        self.busy = False

    def book(self, order: Order) -> None:
        self.booked[order.id] = order.amount


ledger = Ledger()


@queue_handler(queue="orders", max_deliveries=5)
def take_order(order: Order) -> None:
    if ledger.busy:
        raise Retry("ledger busy", after=30)  # seconds
    if order.amount < 0:
        raise DeadLetter("negative amount")
    ledger.book(order)  # returning acknowledges; anything else raised is retried


# --8<-- [end:example]


def test_the_three_fates() -> None:
    from queue_runtime import Disposition
    from queue_runtime.testing import deliver

    assert deliver(take_order, Order(id="o-1", amount=Decimal(5))).disposition is Disposition.ACK
    assert ledger.booked["o-1"] == 5

    negative = deliver(take_order, {"id": "o-2", "amount": "-1"})
    assert (negative.disposition, negative.reason) == (Disposition.DEAD_LETTER, "negative amount")

    ledger.busy = True
    busy = deliver(take_order, {"id": "o-3", "amount": "1"})
    ledger.busy = False
    assert (busy.disposition, busy.delay) == (Disposition.RETRY, 30)
