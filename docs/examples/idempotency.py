"""A message that arrives twice is worked on once."""

# --8<-- [start:short]
from pydantic import BaseModel

from queue_runtime import queue_handler

charged: list[str] = []


class Order(BaseModel):
    id: str
    amount: int


@queue_handler(queue="orders", idempotency_key="id")
def charge(order: Order) -> None:
    charged.append(order.id)


# --8<-- [end:short]


# --8<-- [start:options]
from queue_runtime import Idempotency, Message, queue_handler


def count(message: Message[Order]) -> None:
    charged.append(f"again: {message.id}")


@queue_handler(
    queue="orders",
    idempotency=Idempotency(
        key=lambda message: f"{message.body.id}/{message.attributes['tenant']}",
        retention=30 * 86_400,
        commit="each",
        on_duplicate=count,
    ),
)
def charge_each(order: Order) -> None:
    charged.append(order.id)


# --8<-- [end:options]


# --8<-- [start:test]
from queue_runtime import Idempotency, queue_handler
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.testing import lambda_context, sqs_event


def test_an_order_is_charged_once() -> None:
    charged.clear()
    store = MemoryStore()

    @queue_handler(idempotency=Idempotency(key="id", store=store))
    def charge(order: Order) -> None:
        charged.append(order.id)

    event = sqs_event({"id": "a-1", "amount": 5}, {"id": "a-1", "amount": 5})
    for _ in range(2):
        assert charge(event, lambda_context()) == {"batchItemFailures": []}
    assert charged == ["a-1"]


# --8<-- [end:test]


def test_the_other_forms() -> None:
    from queue_runtime.config import load_settings
    from queue_runtime.hosts.aws_lambda.host import LambdaHost

    for handler, expected in ((charge, ["a-2"]), (charge_each, ["a-2", "again: m"])):
        charged.clear()
        settings = load_settings(
            handler.definition.settings,
            environ={},
            arguments={"idempotency_store": "memory://"},
        )
        host = LambdaHost(handler, settings=settings)
        event = sqs_event({"id": "a-2", "amount": 5}, attributes={"tenant": "t"})
        event["Records"][0]["messageId"] = "m"
        for _ in range(2):
            assert host(event, lambda_context()) == {"batchItemFailures": []}
        assert charged == expected
