"""What type checkers must accept, each as a user would write it."""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

from pydantic import BaseModel

from queue_runtime import (
    Backoff,
    Batch,
    DeadLetter,
    Discard,
    Message,
    Outcome,
    Retry,
    queue_handler,
)
from queue_runtime.handler import Handler
from queue_runtime.hosts.aws_lambda.event import ItemFailure, LambdaReply
from queue_runtime.middleware import Messages, Process
from queue_runtime.testing import LambdaContextStub, adeliver, deliver, lambda_context, sqs_event


class Order(BaseModel):
    id: int


@dataclass
class Click:
    page: str


class Visit(TypedDict):
    page: str


@queue_handler
def bare(order: Order) -> None:
    assert_type(order, Order)


@queue_handler()
def empty(message: Message[Order]) -> None:
    assert_type(message.body, Order)
    assert_type(message.id, str)
    assert_type(message.group_id, str | None)


@queue_handler(queue="clicks", max_deliveries=5, concurrency=3, dead_letter="dlq", preload="init")
async def in_loop(click: Click) -> None:
    assert_type(click.page, str)


@queue_handler
async def bare_in_loop(message: Message[bytes]) -> None:
    assert_type(message.body, bytes)


@queue_handler(batch_order="accept_repeats")
def batched(visits: Batch[Visit]) -> None:
    assert_type(visits[0], Message[Visit])
    assert_type(visits[0:1], Sequence[Message[Visit]])
    for message in visits:
        assert_type(message.body["page"], str)
        visits.fail(message, Retry("busy", after=60))
        visits.fail(message, DeadLetter)
        visits.fail(message, ValueError("no"))


@queue_handler(envelope="sns")
async def batched_in_loop(texts: Batch[str]) -> None:
    for message in texts:
        assert_type(message.body, str)


async def around(messages: Messages, call_next: Process) -> Sequence[Outcome]:
    return await call_next(messages)


@queue_handler(
    backoff=Backoff(1, factor=3, maximum=60, jitter=False),
    on_error={KeyError: DeadLetter, OSError: Retry(after=5), ValueError: Backoff(9)},
    envelope="eventbridge",
    delivery_middleware=[around],
    call_middleware=(around,),
)
def with_everything(order: dict[str, Any]) -> None:
    raise Discard("old")


def plain(order: Order) -> None: ...


assert_type(bare, Handler[Order, None])
assert_type(empty, Handler[Message[Order], None])
assert_type(in_loop, Handler[Click, Coroutine[Any, Any, None]])
assert_type(bare_in_loop, Handler[Message[bytes], Coroutine[Any, Any, None]])
assert_type(batched, Handler[Batch[Visit], None])
assert_type(batched_in_loop, Handler[Batch[str], Coroutine[Any, Any, None]])
assert_type(queue_handler(plain), Handler[Order, None])

bare(Order(id=1))
empty(Message.of(Order(id=1)))
batched(Batch.of(Visit(page="/")))
work: Coroutine[Any, Any, None] = in_loop(Click("/"))
assert_type(Message.of(Order(id=1)), Message[Order])
assert_type(Batch.of("a", "b"), Batch[str])

reply: LambdaReply = bare(sqs_event({"id": 1}), lambda_context())
failures: list[ItemFailure] = reply["batchItemFailures"]
assert_type(in_loop(sqs_event({"page": "/"}), None), LambdaReply)
assert_type(failures[0]["itemIdentifier"], str)
assert_type(bare.__name__, str)
assert_type(lambda_context(), LambdaContextStub)
assert_type(deliver(bare, {"id": 1}, deliveries=3), Outcome)


async def test() -> None:
    await in_loop(Click("/"))
    assert_type(await adeliver(in_loop, {"page": "/"}), Outcome)
