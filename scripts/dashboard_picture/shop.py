"""The shop of the picture: each order makes an invoice, and now and then something goes wrong."""

import asyncio
import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from queue_runtime import DeadLetter, Message, Retry, queue_handler
from queue_runtime.config import Settings, load_settings
from queue_runtime.sending.observed_send import send_observed
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, Transport

FOLDER_VARIABLE = "SHOP_FOLDER"
LEDGER_IS_DOWN = "ledger-is-down"
ORDERS, INVOICES = "local://orders", "local://invoices.fifo"


class Order(BaseModel):
    """What a customer wants; `wrong` and `busy` are what will come of it."""

    id: str
    customer: str
    seconds: float
    wrong: bool = False
    busy: bool = False
    twice: bool = False


class Invoice(BaseModel):
    """What a customer owes."""

    order: str
    seconds: float


@queue_handler
async def take_order(message: Message[Order]) -> None:
    """Book an order and send its invoice."""
    order = message.body
    await asyncio.sleep(order.seconds)
    if (Path(os.environ[FOLDER_VARIABLE]) / LEDGER_IS_DOWN).exists():
        raise ConnectionError("the ledger does not answer")
    if order.wrong:
        raise DeadLetter("negative amount")
    if order.busy and message.delivery_count == 1:
        raise Retry("the ledger is busy", after=1)
    await _send_invoice(order)


@queue_handler(idempotency_key="order")
async def send_invoice(invoice: Invoice) -> None:
    """Send an invoice, once however often it comes."""
    await asyncio.sleep(invoice.seconds)


async def _send_invoice(order: Order) -> None:
    body = Invoice(order=order.id, seconds=order.seconds / 4).model_dump_json()
    invoice = OutgoingMessage(body=body, group_id=order.customer)
    transport, settings = _invoices()
    await send_observed(transport, [invoice] * (1 + order.twice), settings)


@cache
def _invoices() -> tuple[Transport, Settings]:
    settings = load_settings()
    return open_transport(INVOICES, settings=settings), settings
