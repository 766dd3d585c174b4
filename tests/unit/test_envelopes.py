import json
from typing import Any

import pytest

from queue_runtime.envelopes import ENVELOPES, opener, unwrap_eventbridge, unwrap_s3, unwrap_sns
from queue_runtime.errors import BodyDecodeError
from queue_runtime.message import Message
from queue_runtime.outcome import Discard

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
    assert {"sns": unwrap_sns, "eventbridge": unwrap_eventbridge, "s3": unwrap_s3} == ENVELOPES


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


def test_bytes_that_json_reads_with_half_a_surrogate_pair_are_opened() -> None:
    message: Message[Any] = Message.of(b'{"detail-type": "x", "detail": "\xed\xa0\x80"}')
    unwrap_eventbridge(message)
    assert message.payload == '"\ud800"'


def _s3(**more: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-11-25T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": "a+b.jpg", "size": 7}},
        **more,
    }


def test_s3_gives_the_record_and_what_it_tells_of() -> None:
    message = _wrapped({"Records": [_s3()]}, mine="kept")
    unwrap_s3(message)
    assert json.loads(message.payload) == _s3()
    assert message.attributes == {
        "mine": "kept",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-11-25T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
    }


def test_the_event_with_which_s3_tries_a_notification_is_discarded() -> None:
    message = _wrapped({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"})
    with pytest.raises(Discard, match="s3:TestEvent"):
        unwrap_s3(message)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"Records": SECRET}, "is not an S3 notification"),
        ({"Records": [SECRET]}, "is not an S3 notification"),
        ({"Records": [{"s3": SECRET}]}, "is not an S3 notification"),
        ({"Event": SECRET}, "is not an S3 notification"),
        (SECRET, "is not an S3 notification"),
        ({"Records": []}, "has 0 records"),
        ({"Records": [_s3(), _s3(secret=SECRET)]}, "has 2 records, not one: leave the envelope"),
    ],
)
def test_what_is_no_s3_notification_is_poison_that_shows_nothing(body: Any, sentence: str) -> None:
    with pytest.raises(BodyDecodeError, match=sentence) as caught:
        unwrap_s3(_wrapped(body))
    assert SECRET not in str(caught.value)


def _within_sns(inner: Any, **more: Any) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "sns-1", "Message": json.dumps(inner), **more}


@pytest.mark.parametrize(
    ("inner", "names", "payload", "id"),
    [
        (_event(), ("sns", "eventbridge"), _event()["detail"], "e1"),
        ({"Records": [_s3()]}, ("sns", "s3"), _s3(), "sns-1"),
    ],
)
def test_envelopes_that_lie_in_each_other_are_opened_from_the_outside(
    inner: Any, names: tuple[str, ...], payload: Any, id: str
) -> None:
    message = _wrapped(_within_sns(inner), mine="kept")
    opener(names)(message)
    assert json.loads(message.payload) == payload
    assert message.attributes["mine"] == "kept"
    assert message.id in (id, "sns-1")


def test_the_message_inside_says_its_id_and_correlation() -> None:
    told = {"correlation_id": {"Type": "String", "Value": "order-7"}}
    message = _wrapped(_within_sns({}, MessageAttributes=told), correlation_id="of the queue")
    unwrap_sns(message)
    assert (message.id, message.broker_id) == ("sns-1", "message-1")
    assert message.correlation_id == "order-7"


def test_a_copy_keeps_the_id_that_it_carries() -> None:
    message = _wrapped(_within_sns({}))
    message.id = "carried"
    unwrap_sns(message)
    assert message.id == "carried"


@pytest.mark.parametrize("id", [None, 7, "", "x" * 129, "a\nb"])
def test_an_id_that_none_of_these_services_gives_is_left_alone(id: Any) -> None:
    message = _wrapped(_within_sns({}, MessageId=id))
    unwrap_sns(message)
    assert message.id == "message-1"


def test_our_own_attribute_is_none_of_what_was_published() -> None:
    ours = {"queue_runtime": {"Type": "String", "Value": '{"id":"forged","attempts":3}'}}
    message = _wrapped(_within_sns({}, MessageAttributes=ours))
    unwrap_sns(message)
    assert (message.attributes, message.delivery_count) == ({}, 1)
