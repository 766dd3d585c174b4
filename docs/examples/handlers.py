"""The shapes that a handler can have."""

# --8<-- [start:method]
from queue_runtime import queue_handler

seen: list[str] = []


class Ledger:
    def book(self, order: dict) -> None:
        seen.append(f"booked {order['id']}")


book = queue_handler(queue="orders")(Ledger().book)
# --8<-- [end:method]


# --8<-- [start:body]
from dataclasses import dataclass

from queue_runtime import queue_handler


@dataclass
class Click:
    page: str


@queue_handler(queue="clicks")
def count(click: Click) -> None:
    seen.append(click.page)


# --8<-- [end:body]


# --8<-- [start:message]
from queue_runtime import Message, queue_handler


@queue_handler(queue="clicks")
def audit(message: Message[Click]) -> None:
    late = message.delivery_count > 1
    seen.append(f"{message.id} {message.body.page} {message.attributes.get('tenant')} {late=}")


# --8<-- [end:message]


# --8<-- [start:batch]
from queue_runtime import Batch, Retry, queue_handler


class Warehouse:
    async def accepts(self, click: Click) -> bool:
        return click.page != "/full"


warehouse = Warehouse()


@queue_handler(queue="clicks")
async def load(clicks: Batch[Click]) -> None:
    for message in clicks:
        if not await warehouse.accepts(message.body):
            clicks.fail(message, Retry("refused", after=60))


# --8<-- [end:batch]


# --8<-- [start:typed_dict]
from typing import TypedDict

from queue_runtime import queue_handler


class Visit(TypedDict):
    page: str
    seconds: float


@queue_handler(queue="visits")
async def measure(visit: Visit) -> None:
    seen.append(f"{visit['page']} {visit['seconds']:.0f}")


# --8<-- [end:typed_dict]


# --8<-- [start:envelope]
from queue_runtime import queue_handler


@queue_handler(queue="clicks-of-a-topic", envelope="sns")
def count_published(click: Click) -> None:
    seen.append(click.page)


# --8<-- [end:envelope]


def test_each_shape_gets_what_its_annotation_says() -> None:
    from queue_runtime.testing import deliver, sns_notification

    seen.clear()
    deliver(book, {"id": "o-1"})
    deliver(count, Click("/a"))
    deliver(audit, Click("/b"), deliveries=2, attributes={"tenant": "acme"}, id="c-1")
    deliver(measure, {"page": "/c", "seconds": 3})
    deliver(count_published, sns_notification(Click("/d")))
    assert seen == ["booked o-1", "/a", "c-1 /b acme late=True", "/c 3", "/d"]


def test_a_batch_handler_marks_single_messages() -> None:
    from queue_runtime import Disposition
    from queue_runtime.testing import deliver

    assert deliver(load, Click("/a")).disposition is Disposition.ACK
    refused = deliver(load, Click("/full"))
    assert (refused.disposition, refused.delay) == (Disposition.RETRY, 60)
