"""The shapes that a handler can have."""

from dataclasses import dataclass
from typing import TypedDict

from queue_runtime import Batch, Disposition, Message, Retry, queue_handler
from queue_runtime.testing import deliver


@dataclass
class Click:
    page: str


seen: list[str] = []


# --8<-- [start:body]
@queue_handler(queue="clicks")
def count(click: Click) -> None:
    seen.append(click.page)


# --8<-- [end:body]


# --8<-- [start:message]
@queue_handler(queue="clicks")
def audit(message: Message[Click]) -> None:
    late = message.delivery_count > 1
    seen.append(f"{message.id} {message.body.page} {message.attributes.get('tenant')} {late=}")


# --8<-- [end:message]


class Warehouse:
    async def accepts(self, click: Click) -> bool:
        return click.page != "/full"


warehouse = Warehouse()


# --8<-- [start:batch]
@queue_handler(queue="clicks")
async def load(clicks: Batch[Click]) -> None:
    for message in clicks:
        if not await warehouse.accepts(message.body):
            clicks.fail(message, Retry("refused", after=60))


# --8<-- [end:batch]


# --8<-- [start:typed_dict]
class Visit(TypedDict):
    page: str
    seconds: float


@queue_handler(queue="visits")
async def measure(visit: Visit) -> None:
    seen.append(f"{visit['page']} {visit['seconds']:.0f}")


# --8<-- [end:typed_dict]


# --8<-- [start:envelope]
@queue_handler(queue="clicks-of-a-topic", envelope="sns")
def count_published(click: Click) -> None:
    seen.append(click.page)


# --8<-- [end:envelope]


# --8<-- [start:method]
class Ledger:
    def book(self, visit: Visit) -> None:
        seen.append(f"booked {visit['page']}")


book = queue_handler(queue="visits")(Ledger().book)
# --8<-- [end:method]


def test_each_shape_gets_what_its_annotation_says() -> None:
    from queue_runtime.testing import sns_notification

    seen.clear()
    deliver(count, Click("/a"))
    deliver(audit, Click("/b"), deliveries=2, attributes={"tenant": "acme"}, id="c-1")
    deliver(measure, {"page": "/c", "seconds": 3})
    deliver(count_published, sns_notification(Click("/d")))
    assert seen == ["/a", "c-1 /b acme late=True", "/c 3", "/d"]


def test_a_batch_handler_marks_single_messages() -> None:
    assert deliver(load, Click("/a")).disposition is Disposition.ACK
    refused = deliver(load, Click("/full"))
    assert (refused.disposition, refused.delay) == (Disposition.RETRY, 60)
