"""Takes a message out of the envelope that SNS, EventBridge or S3 put around it.

What the message inside says of itself counts from then on: its id, its correlation id, its trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard

from queue_runtime.errors import BodyDecodeError
from queue_runtime.outcome import Discard
from queue_runtime.settlement.lineage import ATTRIBUTE
from queue_runtime.untrusted import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from queue_runtime.message import Message

_EVENT_FIELDS: Final = ("id", "source", "detail-type", "account", "region", "time")
_RECORD_FIELDS: Final = ("eventName", "eventSource", "eventTime", "awsRegion")
_LONGEST_ID: Final = 128


def unwrap_sns(message: Message[Any]) -> None:
    """Replace payload and attributes by those that were published to the SNS topic.

    For queues subscribed without raw message delivery
    (https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html). Attributes that the
    queue message itself carries stay, so a trace context is read from wherever it is.

    Raises:
        BodyDecodeError: the body is not an SNS notification.
    """
    notification = _json_object(message, "SNS notification")
    text = notification.get("Message")
    if notification.get("Type") != "Notification" or not isinstance(text, str):
        raise BodyDecodeError(
            "the body is not an SNS notification: with raw message delivery on, "
            'leave envelope="sns" out'
        )
    published = notification.get("MessageAttributes") or {}
    if not isinstance(published, dict):
        raise BodyDecodeError("MessageAttributes of the SNS notification is not an object")
    attributes = {name: _sns_value(value) for name, value in published.items() if name != ATTRIBUTE}
    _tell(message, attributes, id=notification.get("MessageId"))
    message.payload = text


def unwrap_eventbridge(message: Message[Any]) -> None:
    """Replace the payload by the event's `detail`; what surrounds it becomes attributes.

    The attributes are `id`, `source`, `detail-type`, `account`, `region` and `time`
    (https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html).

    Raises:
        BodyDecodeError: the body is not an EventBridge event.
    """
    event = _json_object(message, "EventBridge event")
    if "detail" not in event or "detail-type" not in event:
        raise BodyDecodeError(
            "the body is not an EventBridge event: a rule with an input transformer "
            'sends its own shape, so leave envelope="eventbridge" out'
        )
    _tell(message, _texts(event, _EVENT_FIELDS), id=event.get("id"))
    message.payload = _as_written(message.payload, "detail")


def unwrap_s3(message: Message[Any]) -> None:
    """Replace the payload by the one record of an S3 notification.

    Its `eventName`, `eventSource`, `eventTime` and `awsRegion` become attributes too
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).

    Raises:
        BodyDecodeError: the body is not an S3 notification, or has not one record.
        Discard: it is the `s3:TestEvent` that S3 sends when notifications are set up.
    """
    notification = _json_object(message, "S3 notification")
    if notification.get("Event") == "s3:TestEvent":
        raise Discard("an s3:TestEvent, with which S3 tries a new notification")
    records = notification.get("Records")
    if not isinstance(records, list) or not all(_is_s3(record) for record in records):
        raise BodyDecodeError(
            "the body is not an S3 notification: one that comes by way of EventBridge has "
            'envelope="eventbridge"'
        )
    if len(records) != 1:  # S3 sends one, but its documentation does not promise that
        raise BodyDecodeError(
            f"the S3 notification has {len(records)} records, not one: leave the envelope out and "
            "take all of them by a model"
        )
    _tell(message, _texts(records[0], _RECORD_FIELDS))
    message.payload = _as_written(message.payload, "Records")[1:-1].strip()


ENVELOPES: Final[Mapping[str, Callable[[Message[Any]], None]]] = {
    "sns": unwrap_sns,
    "eventbridge": unwrap_eventbridge,
    "s3": unwrap_s3,
}


def opener(envelopes: Sequence[str]) -> Callable[[Message[Any]], None]:
    """Give what opens envelopes that lie in each other, the outermost first."""
    steps = [ENVELOPES[name] for name in envelopes]

    def unwrap(message: Message[Any]) -> None:
        for step in steps:
            step(message)

    return unwrap


def _tell(message: Message[Any], attributes: Mapping[str, Any], *, id: object = None) -> None:
    """Let a message say of itself what the one inside says."""
    message.attributes = {**message.attributes, **attributes}
    correlation = attributes.get("correlation_id")
    if isinstance(correlation, str):
        message.correlation_id = correlation
    # A copy of ours carries the id that the message had before, which is this one.
    if message.id == message.broker_id and _is_id(id):
        message.id = id


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()


def _is_s3(record: object) -> bool:
    return isinstance(record, dict) and isinstance(record.get("s3"), dict)


def _texts(members: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: members[name] for name in names if isinstance(members.get(name), str)}


def _json_object(message: Message[Any], expected: str) -> dict[str, Any]:
    from json import loads

    try:
        value = loads(message.payload)
    except (ValueError, RecursionError):
        raise BodyDecodeError(f"the body is not an {expected}: it is not JSON") from None
    if not isinstance(value, dict):
        raise BodyDecodeError(f"the body is not an {expected}: it is not an object")
    return value


def _as_written(payload: str | bytes, name: str) -> str:
    """Cut a member out of an object that is known to be JSON and to have it.

    To parse and write it again would make 1.1 of 1.10, and of a long number another one.
    """
    from json import JSONDecoder, detect_encoding

    if isinstance(payload, str):
        text = payload
    else:  # by the same rule as json.loads, which has read it before
        text = payload.decode(detect_encoding(payload), "surrogatepass")
    decode, found = JSONDecoder().raw_decode, ""
    at = _next(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = decode(text, at)
        start = _next(text, _next(text, at) + 1)  # beyond the colon
        _, at = decode(text, start)
        if key == name:  # of two that are named alike, the last one counts
            found = text[start:at]
        at = _next(text, at)
        if text[at] == ",":
            at = _next(text, at + 1)
    return found


def _next(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at


def _sns_value(attribute: Any) -> Any:
    try:
        kind, value = attribute["Type"], attribute["Value"]
        if kind == "Binary":
            from base64 import b64decode

            return b64decode(value, validate=True)
        return number(value) if kind == "Number" else str(value)
    except (KeyError, TypeError, ValueError):
        raise BodyDecodeError("an attribute of the SNS notification is malformed") from None
