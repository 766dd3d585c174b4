"""How handlers are tested."""

# --8<-- [start:plain]
from dataclasses import dataclass

from queue_runtime import Message, queue_handler


@dataclass
class Parcel:
    id: str
    grams: int


shipped: list[str] = []


@queue_handler(queue="parcels", max_deliveries=3)
def ship(message: Message[Parcel]) -> None:
    if message.body.grams > 30_000:
        raise ValueError("too heavy")
    shipped.append(message.body.id)


def test_the_function_itself() -> None:
    ship(Message.of(Parcel("p-1", grams=500)))
    assert "p-1" in shipped


# --8<-- [end:plain]


# --8<-- [start:deliver]
from queue_runtime import Disposition
from queue_runtime.testing import deliver


def test_the_third_failure_is_the_last() -> None:
    heavy = Parcel("p-2", grams=50_000)
    assert deliver(ship, heavy, deliveries=2).disposition is Disposition.RETRY

    last = deliver(ship, heavy, deliveries=3)
    assert last.disposition is Disposition.DEAD_LETTER
    assert last.reason == "failed on delivery 3 of 3: ValueError"


def test_what_is_no_parcel_is_put_aside() -> None:
    outcome = deliver(ship, {"id": "p-3"})
    assert outcome.disposition is Disposition.DEAD_LETTER
    assert "grams: missing" in outcome.reason


# --8<-- [end:deliver]


# --8<-- [start:async]
import asyncio

from queue_runtime import queue_handler
from queue_runtime.testing import adeliver


@queue_handler(queue="parcels")
async def track(parcel: Parcel) -> None:
    await asyncio.sleep(0)
    shipped.append(f"tracked {parcel.id}")


def test_an_async_handler_from_a_plain_test() -> None:
    assert deliver(track, Parcel("p-4", grams=1)).disposition is Disposition.ACK


async def from_a_running_loop() -> None:
    outcome = await adeliver(track, Parcel("p-5", grams=1))
    assert outcome.disposition is Disposition.ACK


# --8<-- [end:async]


# --8<-- [start:batch]
from queue_runtime import Batch, queue_handler


@queue_handler(queue="parcels")
def weigh(parcels: Batch[Parcel]) -> None:
    for message in parcels:
        if message.body.grams > 30_000:
            parcels.fail(message, ValueError("too heavy"))


def test_only_the_heavy_one_is_marked() -> None:
    parcels = Batch.of(Parcel("p-6", grams=1), Parcel("p-7", grams=90_000))
    weigh(parcels)
    assert list(parcels.failures) == [1]


# --8<-- [end:batch]


# --8<-- [start:event]
from typing import Any

from queue_runtime.testing import lambda_context, sqs_event


def test_the_reply_to_lambda() -> None:
    event: dict[str, Any] = sqs_event(Parcel("p-8", grams=1), Parcel("p-9", grams=2))
    assert ship(event, lambda_context(seconds=30)) == {"batchItemFailures": []}


# --8<-- [end:event]


def test_the_running_loop() -> None:
    asyncio.run(from_a_running_loop())
