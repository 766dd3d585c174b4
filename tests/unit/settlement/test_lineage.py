import json
from pathlib import Path
from typing import Any

import pytest

from queue_runtime.message import DeadLetterRecord, Message
from queue_runtime.outcome import Disposition, Outcome
from queue_runtime.settlement.lineage import (
    NOTHING_CARRIED,
    Carried,
    DeadLetterFacts,
    delayed_retry_facts,
    read_carried,
    read_dead_letter,
    read_facts,
    read_failure,
)

FUNCTIONS_OF_0_1_0 = Path(__file__).parents[2] / "fixtures/v0_1_0/functions_dead_letters.json"


def _facts(error: BaseException | None, *, error_text: bool = True) -> list[dict[str, Any]]:
    message = Message.of("SECRET BODY", id="m1", queue="orders", delivery_count=3)
    outcome = Outcome(Disposition.DEAD_LETTER, reason="r" * 500, error=error)
    return [
        json.loads(text)
        for text in DeadLetterFacts(message, outcome, handler="h", error_text=error_text)
    ]


def _carried(text: str) -> tuple[str | None, int]:
    carried = read_carried(text)
    return carried.id, carried.attempts


def test_a_dead_letter_tells_everything_first_and_then_ever_less() -> None:
    full, no_text, short, least = _facts(ValueError("no account"))
    assert full.pop("failed_at").endswith("+00:00")
    assert full == {
        "id": "m1",
        "reason": "r" * 500,
        "error_type": "ValueError",
        "error": "no account",
        "queue": "orders",
        "handler": "h",
        "deliveries": 3,
    }
    assert "error" not in no_text
    assert no_text["error_type"] == "ValueError"
    assert short == {"id": "m1", "reason": "r" * 200}
    assert least == {"id": "m1"}


def test_the_users_own_text_is_cut_and_can_be_left_out() -> None:
    assert len(_facts(ValueError("x" * 5000))[0]["error"]) == 1024
    assert "error" not in _facts(ValueError("x"), error_text=False)[0]
    assert "error_type" not in _facts(None)[0]


def test_an_exception_that_cannot_be_shown_keeps_no_message_back() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert _facts(Mute())[0]["error"] == ""


def test_attempts_are_told_but_not_carried_into_a_redrive() -> None:
    message = Message.of("", id="m1", delivery_count=3)
    outcome = Outcome(Disposition.DEAD_LETTER)
    text = next(iter(DeadLetterFacts(message, outcome, handler="h", error_text=True)))
    assert _carried(text) == ("m1", 0)


def test_a_delayed_copy_carries_identity_and_attempts() -> None:
    text = delayed_retry_facts(Message.of("", id="m1", delivery_count=3))
    assert _carried(text) == ("m1", 3)


def test_what_is_carried_can_be_any_text() -> None:
    text = delayed_retry_facts(Message.of("", id="caf\u00e9 \u2028"))
    assert text.isascii()
    assert read_carried(text).id == "caf\u00e9 \u2028"


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"\xff",
        7,
        "",
        "not json",
        "null",
        "[]",
        '"id"',
        "{}",
        '{"id": ""}',
        '{"id": 7}',
        '{"attempts": 3}',
        "[" * 200_000,
    ],
)
def test_a_damaged_attribute_says_nothing(text: Any) -> None:
    assert read_carried(text) is NOTHING_CARRIED


@pytest.mark.parametrize("attempts", ["-1", "true", '"3"', "1.5", "null", "Infinity"])
def test_damaged_attempts_lose_the_attempts_only(attempts: str) -> None:
    assert _carried(f'{{"id": "m1", "attempts": {attempts}}}') == ("m1", 0)


@pytest.mark.parametrize("attempts", ["1000001", "9" * 30, "9" * 4300, "9" * 100_000])
def test_attempts_beyond_any_queues_are_cut_and_can_be_counted_on(attempts: str) -> None:
    carried = read_carried(f'{{"id": "m1", "attempts": {attempts}}}')
    assert carried.id == "m1"
    assert str(carried.attempts + 1) == "1000001"


@pytest.mark.parametrize(
    ("text", "facts"),
    [('{"a": 1}', {"a": 1}), ("[]", {}), ("x", {}), (None, {}), ("[" * 200_000, {})],
)
def test_facts_are_read_back_where_there_are_any(text: Any, facts: dict[str, Any]) -> None:
    assert read_facts(text) == facts


def test_a_dead_letter_that_functions_wrote_as_text_in_0_1_0_is_read() -> None:
    entries = json.loads(FUNCTIONS_OF_0_1_0.read_text())
    read = [read_failure(entry["description"], entry["reason"]) for entry in entries]
    assert read == [
        {"reason": "failed", "error_type": "ValueError", "error": "-3"},
        {"reason": "failed", "error_type": "ValueError", "error": "a: b\nc"},
        {"reason": "failed", "error_type": "ValueError"},
        {},  # the reason was all that was said
    ]


def test_a_class_within_a_function_is_read_from_a_text_too() -> None:
    assert read_failure("take.<locals>.Busy: no", "r")["error_type"] == "take.<locals>.Busy"


def test_a_dead_letter_s_facts_count_before_the_broker_s_reason() -> None:
    text = '{"id": "m1", "reason": "negative amount"}'
    assert read_failure(text, "other") == {"id": "m1", "reason": "negative amount"}


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"ValueError: -3",
        "",
        "[]",
        "The message expired and was dead lettered.",
        "Message could not be consumed after 10 delivery attempts.",
    ],
)
def test_what_a_broker_says_is_not_taken_for_our_facts(text: Any) -> None:
    assert read_failure(text, "MaxDeliveryCountExceeded") == {}


def test_nothing_carried_is_neither_an_id_nor_an_attempt() -> None:
    assert (Carried().id, Carried().attempts) == (None, 0)


def test_a_copy_that_tells_no_attempts_has_had_none() -> None:
    assert _carried('{"id": "m1"}') == ("m1", 0)


def test_facts_are_written_without_a_character_too_many() -> None:
    assert delayed_retry_facts(Message.of("", id="m1")) == '{"id":"m1","attempts":1}'


def _texts() -> list[str]:
    message = Message.of("", id="m1", queue="orders", delivery_count=3)
    outcome = Outcome(Disposition.DEAD_LETTER, reason="r" * 300, error=ValueError("e" * 300))
    return list(DeadLetterFacts(message, outcome, handler="h", error_text=True))


class TimelessFacts(DeadLetterFacts):
    """The same facts, given as texts that a test knows."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def __iter__(self) -> Any:
        return iter(self._texts)


def test_facts_get_shorter_each_time() -> None:
    lengths = [len(text) for text in _texts()]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 4


@pytest.mark.parametrize(
    ("length", "text"), [(5, "fffff"), (4, "ss"), (2, "ss"), (1, "l"), (0, "")]
)
def test_the_fullest_facts_are_given_that_there_is_room_for(length: int, text: str) -> None:
    assert TimelessFacts("fffff", "ss", "l").within(length) == text


FULL_FACTS = {
    "id": "m1",
    "reason": "bad",
    "error_type": "ValueError",
    "error": "-3",
    "queue": "orders",
    "handler": "shop.take",
    "deliveries": 3,
    "failed_at": "2026-01-02T03:04:05.678+00:00",
}
FULL_RECORD = DeadLetterRecord(
    "bad", "ValueError", "-3", "orders", "shop.take", 3, "2026-01-02T03:04:05.678+00:00"
)


def test_a_dead_letter_entry_is_read_with_all_that_it_tells() -> None:
    assert read_dead_letter(json.dumps(FULL_FACTS)) == FULL_RECORD
    assert read_dead_letter(json.dumps(FULL_FACTS), "MaxDeliveries") == FULL_RECORD


@pytest.mark.parametrize(
    ("text", "reason", "record"),
    [
        (None, None, None),
        ('{"id": "m1"}', None, None),
        ('{"reason": 7}', None, None),
        ('{"reason": null}', 7, None),
        (None, "expired", DeadLetterRecord("expired")),
        (None, "", DeadLetterRecord("")),
        ("The message expired.", "expired", DeadLetterRecord("expired")),
        ('{"id": "m1"}', "expired", DeadLetterRecord("expired")),
        ('{"reason": 7}', "expired", DeadLetterRecord("expired")),
        ('{"reason": ""}', "expired", DeadLetterRecord("")),
        ("ValueError: -3", "failed", DeadLetterRecord("failed", "ValueError", "-3")),
        ("ValueError", None, DeadLetterRecord("", "ValueError")),
    ],
)
def test_of_a_dead_letter_our_facts_count_first_and_then_the_services_own_reason(
    text: Any, reason: Any, record: DeadLetterRecord | None
) -> None:
    assert read_dead_letter(text, reason) == record


@pytest.mark.parametrize("name", ["error_type", "error", "queue", "handler", "failed_at"])
def test_a_fact_that_is_no_text_is_not_told(name: str) -> None:
    assert read_dead_letter(json.dumps({**FULL_FACTS, name: 7})) == FULL_RECORD._replace(
        **{name: None}
    )


def test_deliveries_that_are_no_number_are_not_told() -> None:
    text = json.dumps({**FULL_FACTS, "deliveries": "3"})
    assert read_dead_letter(text) == FULL_RECORD._replace(deliveries=None)


def test_a_failure_without_a_reason_beside_it_has_an_empty_one() -> None:
    assert read_failure("ValueError")["reason"] == ""


def test_a_class_is_not_read_from_a_text_with_an_empty_part() -> None:
    assert read_failure("take.<locals>") == {}
    assert read_failure("take.<locals>.") == {}
    assert read_failure("take..Busy") == {}
