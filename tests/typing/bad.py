"""What type checkers must refuse: every line that ends in the mark, and no other line."""

from typing import Any

from pydantic import BaseModel

from queue_runtime import Backoff, Batch, Message, Retry, queue_handler
from queue_runtime.hosts.aws_lambda import LambdaReply
from queue_runtime.testing import deliver, lambda_context, sqs_event


class Order(BaseModel):
    id: int


@queue_handler
def good(order: Order) -> None: ...


@queue_handler()
async def good_in_loop(message: Message[Order]) -> None: ...


def returns_int(order: Order) -> int:
    return order.id


async def returns_int_async(order: Order) -> int:
    return order.id


def no_argument() -> None: ...


async def no_argument_async() -> None: ...


def two_arguments(order: Order, other: int) -> None: ...


def must_be_named(*, order: Order) -> None: ...


# Wrong functions.
queue_handler(returns_int)  # bad
queue_handler(returns_int_async)  # bad
queue_handler()(returns_int)  # bad
queue_handler()(returns_int_async)  # bad
queue_handler(no_argument)  # bad
queue_handler(no_argument_async)  # bad
queue_handler()(no_argument)  # bad
queue_handler(two_arguments)  # bad
queue_handler()(two_arguments)  # bad
queue_handler(must_be_named)  # bad
queue_handler("orders")  # bad

# Wrong options.
queue_handler(name="orders")  # bad
queue_handler(queue=7)  # bad
queue_handler(max_deliveries="5")  # bad
queue_handler(concurrency=1.5)  # bad
queue_handler(dead_letter=b"dlq")  # bad
queue_handler(envelope="sqs")  # bad
queue_handler(batch_order=True)  # bad
queue_handler(batch_order="strict")  # bad
queue_handler(preload="first")  # bad
queue_handler(backoff=5)  # bad
queue_handler(on_error={"KeyError": Retry})  # bad
queue_handler(on_error={KeyError: "retry"})  # bad
queue_handler(on_error={KeyError: KeyError})  # bad
queue_handler(call_middleware=[print])  # bad
queue_handler(delivery_middleware=returns_int)  # bad

# Wrong calls.
good(7)  # bad
good({"id": 1})  # bad
good(Message.of(Order(id=1)))  # bad
good_in_loop(Order(id=1))  # bad
good()  # bad
good(sqs_event("x"), lambda_context(), 3)  # bad
good(sqs_event("x"), 3)  # bad
good([], None)  # bad
good(order=Order(id=1))  # bad

# Wrong use of what comes back.
reply_of_plain: LambdaReply = good(Order(id=1))  # bad
none_of_event: None = good(sqs_event("x"), None)  # bad
count: int = good_in_loop(Message.of(Order(id=1)))  # bad
reply: LambdaReply = {"batchItemFailures": ["m1"]}  # bad
reply_key: LambdaReply = {"failures": []}  # bad
item: int = good(sqs_event("x"), None)["batchItemFailures"][0]["itemIdentifier"]  # bad
outcome: str = deliver(good, {"id": 1})  # bad
deliver(returns_int, {})  # bad


# Wrong use of what arrives.
@queue_handler
def takes_batch(batch: Batch[Order]) -> None:
    batch.fail(batch[0], "busy")  # bad
    batch.fail(batch[0], Retry)
    batch.fail(batch[0], 7)  # bad
    batch.fail("m1", ValueError())  # bad
    batch.fail(batch[0])  # bad
    number: str = batch[0].body.id  # bad
    _ = number, batch[0].boddy  # bad
    batch[0] = batch[1]  # bad


@queue_handler
def takes_message(message: Message[Order]) -> None:
    count: int = message.id  # bad
    _ = count, message.body.amount  # bad


def plain(order: dict[str, Any]) -> None:
    raise Retry(after="30")  # bad


Retry("busy", 30)  # bad
Backoff("1")  # bad
Backoff(1, 2)  # bad
Batch.of("x").fail(Message.of(b"x"), ValueError())  # bad
