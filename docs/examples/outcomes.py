"""What becomes of a message, decided by the handler."""

# --8<-- [start:signals]
from queue_runtime import DeadLetter, Discard, Message, Retry, queue_handler


@queue_handler(queue="payments")
def pay(message: Message[dict]) -> None:
    payment = message.body
    if payment["state"] == "cancelled":
        raise Discard("cancelled")  # acknowledged, the reason is logged
    if payment["amount"] <= 0:
        raise DeadLetter("nothing to pay")  # dead-lettered now, with the reason
    if payment["state"] == "pending":
        raise Retry("not settled yet", after=120)  # again in two minutes


# --8<-- [end:signals]


# --8<-- [start:policy]
from queue_runtime import Backoff, queue_handler


class CardDeclinedError(Exception):
    """The bank said no."""


@queue_handler(
    queue="payments",
    max_deliveries=6,
    backoff=Backoff(2, maximum=300),  # 2, 4, 8 … 300 seconds, with full jitter
    on_error={
        CardDeclinedError: DeadLetter,  # trying again changes nothing
        TimeoutError: Backoff(30),
    },
)
def charge(payment: dict) -> None:
    if payment.get("declined"):
        raise CardDeclinedError
    if payment.get("slow"):
        raise TimeoutError


# --8<-- [end:policy]


from queue_runtime import Disposition
from queue_runtime.testing import deliver


def test_the_signals() -> None:
    fates = {
        "cancelled": deliver(pay, {"state": "cancelled", "amount": 1}),
        "empty": deliver(pay, {"state": "new", "amount": 0}),
        "pending": deliver(pay, {"state": "pending", "amount": 1}),
        "paid": deliver(pay, {"state": "new", "amount": 1}),
    }
    assert {name: str(fate.disposition) for name, fate in fates.items()} == {
        "cancelled": "ack",
        "empty": "dead-letter",
        "pending": "retry",
        "paid": "ack",
    }
    assert fates["pending"].delay == 120


def test_the_policy() -> None:
    assert deliver(charge, {"declined": True}).disposition is Disposition.DEAD_LETTER

    first = deliver(charge, {"slow": True})
    assert first.disposition is Disposition.RETRY
    assert first.delay is not None
    assert 0 <= first.delay <= 30

    last = deliver(charge, {"slow": True}, deliveries=6)
    assert last.disposition is Disposition.DEAD_LETTER
