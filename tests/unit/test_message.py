import copy
from math import inf
from typing import Any

import pytest

from queue_runtime.message import Batch, DeadLetterRecord, Message
from queue_runtime.outcome import Discard, Retry


class CountingWire:
    """Answers each field with its own name, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def read(raw: Any) -> Any:
            self.asked.append(name)
            return raw.get(name, name)

        return read


def _message(**raw: Any) -> tuple[Message[Any], CountingWire]:
    wire = CountingWire()
    return Message(raw, wire, "orders"), wire


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "broker_id",
        "payload",
        "attributes",
        "group_id",
        "correlation_id",
        "delivery_count",
        "enqueued_at",
        "receipt",
    ],
)
def test_a_field_is_read_from_the_wire_once_and_only_when_asked_for(name: str) -> None:
    message, wire = _message()
    assert wire.asked == []
    assert getattr(message, name) == getattr(message, name) == name
    assert wire.asked == [name]


def test_the_body_is_bytes_until_it_is_decoded() -> None:
    assert _message(payload="caf\u00e9")[0].body == "caf\u00e9".encode()
    assert _message(payload=b"\x00")[0].body == b"\x00"
    message, _ = _message(payload="1")
    message.body = 1
    assert (message.body, message.payload) == (1, "1")


def test_a_message_that_no_poller_holds_is_locked_for_ever() -> None:
    assert _message()[0].locked_until == inf


def test_an_unknown_attribute_is_refused_as_on_any_object() -> None:
    with pytest.raises(AttributeError, match="'Message' object has no attribute 'boddy'"):
        _ = _message()[0].boddy  # type: ignore[attr-defined]


def test_repr_shows_neither_body_nor_receipt() -> None:
    message, _ = _message(id="7", payload="SECRET", receipt="HANDLE", delivery_count=2)
    _ = message.body, message.receipt
    assert repr(message) == "<Message id='7' queue='orders' delivery_count=2>"


def test_a_message_can_be_copied() -> None:
    message, _ = _message(payload="x")
    assert copy.copy(message).payload == "x"


def test_of_fills_every_field() -> None:
    message = Message.of({"a": 1})
    for name in Message.__slots__:
        getattr(message, name)
    assert (message.id, message.broker_id, message.queue) == ("message-1", "message-1", "queue")
    assert (message.body, message.payload, message.attributes) == ({"a": 1}, b"", {})
    assert (message.delivery_count, message.group_id, message.receipt) == (1, None, None)


@pytest.mark.parametrize("body", ["text", b"bytes"])
def test_of_gives_text_and_bytes_as_the_payload_too(body: str | bytes) -> None:
    assert Message.of(body).payload == body


def test_of_keeps_a_copy_of_the_attributes() -> None:
    attributes = {"a": 1}
    message = Message.of("", attributes=attributes, group_id="g", correlation_id="c")
    attributes["a"] = 2
    assert (message.attributes, message.group_id, message.correlation_id) == ({"a": 1}, "g", "c")


def test_a_batch_is_a_sequence_of_its_messages() -> None:
    batch = Batch.of("a", "b", "c")
    assert [message.id for message in batch] == ["message-1", "message-2", "message-3"]
    assert (len(batch), batch[1].body, batch[-1].body) == (3, "b", "c")
    assert [message.body for message in batch[1:]] == ["b", "c"]
    assert batch[0] in batch
    assert Message.of("a") not in batch


def test_fail_goes_by_position_because_ids_repeat() -> None:
    twins = [Message.of("x", id="same"), Message.of("x", id="same")]
    batch = Batch(twins)
    error = ValueError()
    batch.fail(twins[1], error)
    assert batch.failures == {1: error}
    assert repr(batch) == "<Batch of 2 messages, 1 marked>"


def test_the_last_word_on_a_message_counts() -> None:
    batch = Batch.of("a")
    batch.fail(batch[0], ValueError())
    batch.fail(batch[0], Discard)
    assert [type(error) for error in batch.failures.values()] == [Discard]


def test_fail_keeps_what_a_signal_says() -> None:
    batch = Batch.of("a")
    batch.fail(batch[0], Retry("later", after=60))
    failure = batch.failures[0]
    assert isinstance(failure, Retry)
    assert (failure.reason, failure.after) == ("later", 60)


@pytest.mark.parametrize("error", ["SECRET", None, int, KeyboardInterrupt()])
def test_fail_refuses_what_is_no_exception_without_showing_it(error: Any) -> None:
    batch = Batch.of("a")
    with pytest.raises(
        TypeError, match="takes an exception or a signal for message 'message-1', not "
    ) as caught:
        batch.fail(batch[0], error)
    assert "SECRET" not in str(caught.value)
    assert str(caught.value).endswith(f"not {type(error).__name__}")
    assert batch.failures == {}


def test_fail_refuses_a_message_of_another_batch() -> None:
    with pytest.raises(
        ValueError, match=r"^fail\(\) was given a message that is not of this batch$"
    ):
        Batch.of("a").fail(Message.of("a"), ValueError())


@pytest.mark.parametrize(
    ("record", "seen"),
    [
        (None, False),
        (DeadLetterRecord("bad", queue="payments"), True),
        (DeadLetterRecord("bad"), True),
        (DeadLetterRecord("bad", queue="orders"), False),
    ],
)
def test_a_message_is_a_dead_letter_of_another_queue_and_never_of_its_own(
    record: DeadLetterRecord | None, seen: bool
) -> None:
    message, _ = _message(dead_letter=record)
    assert message.dead_letter is (record if seen else None)


def test_a_message_is_neither_opened_nor_decided_before_somebody_says_so() -> None:
    message, _ = _message()
    assert (message.opened, message.decided) == (False, None)
    made = Message.of("a")
    assert (made.opened, made.decided, made.dead_letter) == (False, None, None)
