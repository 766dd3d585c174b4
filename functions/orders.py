"""Books orders that arrive on a queue: the example, which runs unchanged on every host."""

from decimal import Decimal

from pydantic import BaseModel

from functions.ledger import Ledger
from queue_runtime import DeadLetter, Retry, queue_handler

ledger = Ledger()


class Order(BaseModel):
    """What producers send. Anything else is poison and goes to the dead-letter queue at once."""

    id: str
    amount: Decimal


@queue_handler(queue="orders", max_deliveries=5)
def take_order(order: Order) -> None:
    """Book one order; returning acknowledges its message, any other error retries it."""
    if order.amount < 0:
        raise DeadLetter("negative amount")
    if ledger.is_busy(order.id):
        raise Retry("the ledger is busy", after=ledger.busy_seconds)
    ledger.book(order.id, order.amount)


@queue_handler(queue="orders", max_deliveries=5, envelope="sns")
def take_order_from_sns(order: Order) -> None:
    """Book one order that was published to an SNS topic."""
    take_order(order)
