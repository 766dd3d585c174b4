"""Bodies and exception texts never reach a log, a reason, a metric or an error text of ours."""

import asyncio
import json
import logging
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from queue_runtime import (
    Batch,
    EventError,
    Message,
    Retry,
    queue_handler,
)
from queue_runtime.observability import metrics
from queue_runtime.observability.events import events
from queue_runtime.testing import sns_notification
from tests.lambda_rig import Clock, Rig, Sqs, fifo, records

SECRET = "SECRET-4111-1111"


class Card(BaseModel):
    number: int
    notes: dict[str, int] = {}
    name: str = Field("", max_length=3)

    @field_validator("number")
    @classmethod
    def _check(cls, value: int) -> int:
        if value == 13:
            raise ValueError(f"{SECRET} of {value}")
        if value == 14:
            raise RuntimeError(f"{SECRET} of {value}")
        return value


@queue_handler(dead_letter="dlq")
def typed(card: Card) -> None: ...


@queue_handler(dead_letter="dlq")
def as_dict(card: dict[str, Any]) -> None: ...


@queue_handler(dead_letter="dlq", envelope="sns")
def wrapped(card: Card) -> None: ...


@queue_handler(dead_letter="dlq", envelope="eventbridge")
def event(card: Card) -> None: ...


@queue_handler(dead_letter="dlq")
def attributes(message: Message[str]) -> None:
    _ = message.attributes


@queue_handler(dead_letter="dlq", max_deliveries=2)
def fails(body: str) -> None:
    raise RuntimeError(body)


@queue_handler(dead_letter="dlq")
async def fails_in_loop(body: str) -> None:
    try:
        raise KeyError(body)
    except KeyError as error:
        raise RuntimeError(body) from error


@queue_handler(dead_letter="dlq")
def fails_batch(batch: Batch[str]) -> None:
    for message in batch:
        batch.fail(message, ValueError(message.body))


@queue_handler(dead_letter="dlq")
def fails_with_a_text(batch: Batch[str]) -> None:
    batch.fail(batch[0], batch[0].body)  # type: ignore[arg-type]


@queue_handler(dead_letter="dlq")
async def cancels_itself(body: str) -> None:
    raise asyncio.CancelledError(body)


async def _breaks(messages: Any, call_next: Any) -> Any:
    raise RuntimeError(messages[0].payload)


@queue_handler(dead_letter="dlq", delivery_middleware=[_breaks])
def in_broken_middleware(body: str) -> None: ...


@queue_handler(dead_letter="dlq", call_middleware=[_breaks])
def in_broken_call_middleware(body: str) -> None: ...


CASES: list[tuple[Any, str]] = [
    (typed, SECRET),
    (typed, f'{{"number": "{SECRET}"}}'),
    (typed, f'{{"number": 1, "notes": {{"{SECRET}": "{SECRET}"}}}}'),
    (typed, f'{{"number": 1, "name": "{SECRET}"}}'),
    (typed, '{"number": 13}'),
    (typed, '{"number": 14}'),
    (as_dict, SECRET),
    (as_dict, f'"{SECRET}"'),
    (as_dict, f'{{"{SECRET}": '),
    (wrapped, SECRET),
    (wrapped, f'{{"Message": "{SECRET}"}}'),
    (wrapped, sns_notification(SECRET)),
    (wrapped, sns_notification(f'{{"number": "{SECRET}"}}', attributes={SECRET: SECRET})),
    (event, SECRET),
    (event, f'{{"detail-type": "{SECRET}", "detail": {{"number": "{SECRET}"}}}}'),
    (attributes, SECRET),
    (fails, SECRET),
    (fails_in_loop, SECRET),
    (fails_batch, SECRET),
    (fails_with_a_text, SECRET),
    (cancels_itself, SECRET),
    (in_broken_middleware, SECRET),
    (in_broken_call_middleware, SECRET),
]


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_said", set())


def _everything_shown(caplog: pytest.LogCaptureFixture) -> str:
    lines = [str({**vars(line), "text": line.getMessage()}) for line in caplog.records]
    labels = [str(list(instrument.values())) for instrument in metrics.INSTRUMENTS]
    return "\n".join(lines + labels)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("deliveries", [1, 9])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("handler", "body"), CASES)
def test_no_error_path_shows_a_body(
    handler: Any,
    body: str,
    ordered: bool,
    deliveries: int,
    accepts: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = {"producer": "x", "raw": b"x"}
    batch = (
        fifo(("g", body), deliveries=deliveries, attributes=sent)
        if ordered
        else records(body, deliveries=deliveries, attributes=sent)
    )
    if handler is attributes:
        batch[0]["messageAttributes"]["producer"] |= {"dataType": "Number", "stringValue": SECRET}
    if ordered and "Batch" in repr(handler):
        handler.definition.batch_order = "accept_repeats"
    sqs = Sqs(refuse={} if accepts else {body: "InternalError"})
    result = Rig(handler, sqs=sqs)(*batch)
    assert result.fates[0] in ("retry", "dead-letter")
    assert SECRET not in _everything_shown(caplog)
    assert SECRET not in result.outcomes[0].reason
    assert SECRET not in repr(result.outcomes) + repr(result.messages)


@pytest.mark.parametrize("receipt", ["RECEIPT-SECRET"])
def test_no_line_shows_a_receipt(receipt: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    batch = [{**record, "receiptHandle": receipt} for record in records("x")]
    Rig(fails, sqs=Sqs(refuse={receipt: "AccessDenied"}))(*batch)
    assert "AccessDenied" in caplog.text
    assert receipt not in _everything_shown(caplog)


@pytest.mark.parametrize(
    "change", [{"messageId": ""}, {"eventSource": "x"}, {"eventSourceARN": ""}, {"body": [SECRET]}]
)
def test_no_refusal_of_an_event_shows_a_body(change: dict[str, Any]) -> None:
    batch = [{**record, **change} for record in records(SECRET)]
    if isinstance(change.get("body"), list):
        batch[0] |= change
    with pytest.raises(EventError) as caught:
        Rig(typed).host({"Records": batch}, None)
    assert SECRET not in str(caught.value)


def test_what_the_deadline_leaves_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()

    @queue_handler
    def handler(body: str) -> None:
        clock.advance(60)
        raise Retry("busy")

    Rig(handler, clock=clock)(*records(SECRET, SECRET), seconds=30)
    assert SECRET not in _everything_shown(caplog)


def _facts(result: Any) -> dict[str, Any]:
    (entry,) = result.sqs.sent
    facts: dict[str, Any] = json.loads(entry["MessageAttributes"]["queue_runtime"]["StringValue"])
    return facts


def test_the_dead_letter_entry_alone_has_the_users_own_text_cut_short() -> None:
    facts = _facts(Rig(fails)(*records(SECRET + "x" * 5_000, deliveries=9)))
    assert facts["error"] == (SECRET + "x" * 5_000)[:1024]
    assert SECRET not in facts["reason"] + facts["error_type"]


def test_the_operator_can_leave_the_users_text_out() -> None:
    result = Rig(fails, error_text=False)(*records(SECRET, deliveries=9))
    facts = _facts(result)
    assert "error" not in facts
    assert SECRET not in json.dumps(facts)
    assert result.sqs.sent[0]["MessageBody"] == SECRET


def test_a_dead_letter_entry_of_poison_has_location_and_type_only() -> None:
    facts = _facts(Rig(typed)(*records(f'{{"number": "{SECRET}"}}')))
    assert facts["reason"] == "poison: the body does not fit Card: number: int_parsing"
    assert SECRET not in json.dumps(facts)
