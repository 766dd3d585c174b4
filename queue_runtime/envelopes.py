"""Takes a message out of the envelope that SNS or EventBridge put around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from queue_runtime.errors import BodyDecodeError
from queue_runtime.untrusted import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queue_runtime.message import Message

_EVENT_FIELDS: Final = ("id", "source", "detail-type", "account", "region", "time")


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
    attributes = {name: _sns_value(value) for name, value in published.items()}
    message.attributes = {**message.attributes, **attributes}
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
    around = {name: event[name] for name in _EVENT_FIELDS if isinstance(event.get(name), str)}
    message.attributes = {**message.attributes, **around}
    message.payload = _as_written(message.payload, "detail")


ENVELOPES: Final[Mapping[str, Callable[[Message[Any]], None]]] = {
    "sns": unwrap_sns,
    "eventbridge": unwrap_eventbridge,
}


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

    text = payload if isinstance(payload, str) else payload.decode(detect_encoding(payload))
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
