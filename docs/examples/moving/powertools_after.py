"""The same function with queue_runtime."""

# --8<-- [start:handler]
from pydantic import BaseModel

from queue_runtime import queue_handler

booked: list[str] = []


class Order(BaseModel):
    id: str
    amount: int


@queue_handler
def handler(order: Order) -> None:
    if order.amount < 0:
        raise ValueError("negative amount")
    booked.append(order.id)


# --8<-- [end:handler]
