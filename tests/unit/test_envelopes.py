import json
from typing import Any

import pytest

from queue_runtime.envelopes import ENVELOPES, unwrap_eventbridge, unwrap_sns
from queue_runtime.errors import BodyDecodeError
from queue_runtime.message import Message

SECRET = "SECRET-4111"


def _wrapped(body: Any, **attributes: Any) -> Message[Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return Message.of(text, attributes=attributes)


def _notification(**more: Any) -> dict[str, Any]:
    return {"Type": "Notification", "Message": '{"id": 1}', **more}


def _event(**more: Any) -> dict[str, Any]:
    return {
        "id": "e1",
        "source": "shop",
        "detail-type": "Paid",
        "account": "1",
        "region": "eu-west-1",
        "time": "2026-11-25T00:00:00Z",
        "resources": [],
        "detail": {"id": 1, "name": "caf\u00e9"},
        **more,
    }


def test_the_names_that_the_decorator_takes() -> None:
    assert {"sns": unwrap_sns, "eventbridge": unwrap_eventbridge} == ENVELOPES


def test_sns_gives_what_was_published_and_keeps_the_queues_own_attributes() -> None:
    message = _wrapped(
        _notification(
            MessageAttributes={
                "kind": {"Type": "String", "Value": "paid"},
                "count": {"Type": "Number", "Value": "3"},
                "price": {"Type": "Number", "Value": "2.5"},
                "raw": {"Type": "Binary", "Value": "AAE="},
                "list": {"Type": "String.Array", "Value": "[1]"},
            }
        ),
        traceparent="00-1",
        kind="of the queue",
    )
    unwrap_sns(message)
    assert message.payload == '{"id": 1}'
    assert message.attributes == {
        "traceparent": "00-1",
        "kind": "paid",
        "count": 3,
        "price": 2.5,
        "raw": b"\x00\x01",
        "list": "[1]",
    }


@pytest.mark.parametrize("published", [None, {}])
def test_sns_without_attributes(published: Any) -> None:
    message = _wrapped(_notification(MessageAttributes=published))
    unwrap_sns(message)
    assert message.attributes == {}


@pytest.mark.parametrize(
    "body",
    [
        "",
        SECRET,
        "[]",
        "[" * 200_000,
        {"Type": "SubscriptionConfirmation", "Message": SECRET},
        {"Message": SECRET},
        {"Type": "Notification", "Message": {"secret": SECRET}},
        _notification(MessageAttributes=[SECRET]),
        _notification(MessageAttributes={"a": SECRET}),
        _notification(MessageAttributes={"a": [SECRET]}),
        _notification(MessageAttributes={"a": {"Type": "String"}}),
        _notification(MessageAttributes={"a": {"Type": "Number", "Value": SECRET}}),
        _notification(MessageAttributes={"a": {"Type": "Number", "Value": [SECRET]}}),
        _notification(MessageAttributes={"a": {"Type": "Number", "Value": float("inf")}}),
        _notification(MessageAttributes={"a": {"Type": "Binary", "Value": SECRET}}),
        _notification(MessageAttributes={"a": {"Type": "Binary", "Value": "\u00e9"}}),
    ],
)
def test_what_is_no_sns_notification_is_poison_that_shows_nothing(body: Any) -> None:
    message = _wrapped(body)
    with pytest.raises(BodyDecodeError) as caught:
        unwrap_sns(message)
    assert "SNS notification" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert message.attributes == {}


def test_raw_message_delivery_is_told_apart_with_the_fix() -> None:
    with pytest.raises(BodyDecodeError, match='leave envelope="sns" out'):
        unwrap_sns(_wrapped({"id": 1}))


def test_eventbridge_gives_the_detail_and_what_surrounds_it() -> None:
    message = _wrapped(_event(), mine="kept")
    unwrap_eventbridge(message)
    assert isinstance(message.payload, str)
    assert json.loads(message.payload) == {"id": 1, "name": "caf\u00e9"}
    assert message.attributes == {
        "mine": "kept",
        "id": "e1",
        "source": "shop",
        "detail-type": "Paid",
        "account": "1",
        "region": "eu-west-1",
        "time": "2026-11-25T00:00:00Z",
    }


def test_eventbridge_leaves_out_what_is_not_text() -> None:
    message = _wrapped({"detail": None, "detail-type": "x", "id": 7})
    unwrap_eventbridge(message)
    assert (message.payload, message.attributes) == ("null", {"detail-type": "x"})


@pytest.mark.parametrize(
    "written",
    ["1.10", "12345678901234567890.123", '"caf\\u00e9 \\" } ,"', '{ "a" : [ 1.0 , {} ] }', "{}"],
)
@pytest.mark.parametrize("encode", [str, str.encode])
def test_the_detail_is_given_as_it_was_written(written: str, encode: Any) -> None:
    body = f' {{ "detail": 1, "detail-type" :"x" , "e":{{}},"detail" : {written} ,\n"z":"é"}}'
    message: Message[Any] = Message.of(encode(body))
    unwrap_eventbridge(message)
    assert message.payload == written


@pytest.mark.parametrize("body", ["", SECRET, "1", {"detail": SECRET}, {"detail-type": SECRET}])
def test_what_is_no_eventbridge_event_is_poison_that_shows_nothing(body: Any) -> None:
    with pytest.raises(BodyDecodeError) as caught:
        unwrap_eventbridge(_wrapped(body))
    assert "EventBridge event" in str(caught.value)
    assert SECRET not in str(caught.value)
