"""The example's fates, and its events, which are as SQS makes them."""

from __future__ import annotations

import json
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from functions import orders
from functions.ledger import Ledger, LedgerOfflineError
from queue_runtime import Disposition, Outcome
from queue_runtime.testing import deliver

EVENTS = sorted((Path(orders.__file__).parent / "events").glob("*.json"))
RECORD = {
    "messageId",
    "receiptHandle",
    "body",
    "attributes",
    "messageAttributes",
    "md5OfBody",
    "eventSource",
    "eventSourceARN",
    "awsRegion",
}


@pytest.fixture(autouse=True)
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Give the handler a ledger that has not been asked before."""
    new = Ledger()
    monkeypatch.setattr(orders, "ledger", new)
    return new


def take(identity: str, amount: str = "1.00", **options: Any) -> Outcome:
    return deliver(orders.take_order, {"id": identity, "amount": amount}, **options)


def test_an_order_is_booked(ledger: Ledger) -> None:
    assert take("order-1", "49.90").disposition is Disposition.ACK
    assert str(ledger.booked["order-1"]) == "49.90"


def test_an_order_that_arrives_twice_is_booked_once(ledger: Ledger) -> None:
    take("order-1")
    assert take("order-1").disposition is Disposition.ACK
    assert list(ledger.booked) == ["order-1"]


def test_a_busy_ledger_is_asked_again_later() -> None:
    first, second, third = (take("busy-3-1", deliveries=n) for n in (1, 2, 3))
    assert (first.disposition, first.delay) == (Disposition.RETRY, 30)
    assert second.disposition is Disposition.RETRY
    assert third.disposition is Disposition.ACK


def test_a_negative_amount_is_dead_lettered(ledger: Ledger) -> None:
    outcome = take("order-1", "-1")
    assert (outcome.disposition, outcome.reason) == (Disposition.DEAD_LETTER, "negative amount")
    assert ledger.booked == {}


@pytest.mark.parametrize("body", ["", "hello", '{"id": "order-1"}', '{"id": "o", "amount": "x"}'])
def test_what_is_no_order_is_poison(body: str) -> None:
    outcome = deliver(orders.take_order, body)
    assert outcome.disposition is Disposition.DEAD_LETTER
    assert outcome.reason.startswith("poison")


def test_an_unexpected_error_is_retried_until_the_last_delivery() -> None:
    fates = [take("offline-1", deliveries=n) for n in (1, 4, 5)]
    assert [fate.disposition for fate in fates] == [
        Disposition.RETRY,
        Disposition.RETRY,
        Disposition.DEAD_LETTER,
    ]
    assert all(isinstance(fate.error, LedgerOfflineError) for fate in fates)


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_events_have_the_shape_of_real_ones(path: Path) -> None:
    records = json.loads(path.read_text())["Records"]
    for record in records:
        assert record.keys() == RECORD
        digest = md5(record["body"].encode(), usedforsecurity=False).hexdigest()
        assert record["md5OfBody"] == digest
        assert record["attributes"].keys() >= {"ApproximateReceiveCount", "SentTimestamp"}
        fifo = record["eventSourceARN"].endswith(".fifo")
        assert ("MessageGroupId" in record["attributes"]) == fifo
    assert len({record["messageId"] for record in records}) == len(records)
    assert len({record["receiptHandle"] for record in records}) == len(records)


def test_the_events_are_those_that_the_documentation_names() -> None:
    assert [path.stem for path in EVENTS] == ["fifo", "poison", "sns", "standard"]
