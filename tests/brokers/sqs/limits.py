"""The service's limits on messages and batches, and the checks that enforce them."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING

from tests.brokers.sqs import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.brokers.sqs.messages import MessageAttributes

BATCH_ENTRIES = 10
MESSAGE_ATTRIBUTES = 10
MESSAGE_BYTES = 1024 * 1024
BATCH_BYTES = 1024 * 1024
IN_FLIGHT = 120_000
VISIBILITY = 12 * 3600
DELAY = 900
WAIT = 20
DEDUPLICATION = 300.0
RECEIVE_ATTEMPT = 300.0
PURGE_INTERVAL = 60.0

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_TOKEN = re.compile(r"[!-~]{1,128}")
_ATTRIBUTE_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_RESERVED_NAME = re.compile(r"(?:aws|amazon)\.", re.IGNORECASE)
_DATA_TYPE = re.compile(r"(String|Number|Binary)(\..{1,249})?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def check_body(body: str) -> None:
    if not body:
        raise errors.missing_parameter("MessageBody")
    check_characters(body)


def check_characters(text: str) -> None:
    if found := _FORBIDDEN.search(text):
        raise errors.forbidden_character(found.group())


def check_token(value: str, name: str) -> None:
    """A group id, deduplication id or attempt id: 1 to 128 printable characters, no space."""
    if not _TOKEN.fullmatch(value):
        raise errors.invalid_parameter(
            value,
            name,
            f"{name} can only include alphanumeric and punctuation characters. 1 to 128 in length.",
        )


def check_message_attributes(attributes: Mapping[str, Mapping[str, str]]) -> None:
    if len(attributes) > MESSAGE_ATTRIBUTES:
        raise errors.invalid_value(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum "
            f"[{MESSAGE_ATTRIBUTES}]."
        )
    for name, value in attributes.items():
        _check_attribute_name(name)
        _check_attribute_value(name, value)


def _check_attribute_name(name: str) -> None:
    if not _ATTRIBUTE_NAME.fullmatch(name) or _RESERVED_NAME.match(name):
        raise errors.invalid_value(
            f"The message attribute name '{name}' is invalid. Attribute name can contain A-Z, "
            "a-z, 0-9, underscore (_), hyphen (-), and period (.) characters."
        )


def _check_attribute_value(name: str, value: Mapping[str, str]) -> None:
    data_type = value.get("DataType", "")
    kind = _DATA_TYPE.fullmatch(data_type)
    if not kind or _FORBIDDEN.search(data_type):
        raise errors.invalid_value(
            f"The type of message (user) attribute '{name}' is invalid. You must use only the "
            "following supported type prefixes: Binary, Number, String."
        )
    field = "BinaryValue" if kind[1] == "Binary" else "StringValue"
    other = "StringValue" if field == "BinaryValue" else "BinaryValue"
    text = value.get(field, "")
    if not text or other in value:
        raise errors.invalid_value(
            f"Message (user) attribute '{name}' must contain a non-empty value of type '{kind[1]}'."
        )
    if field == "BinaryValue":
        _check_base64(text)
        return
    check_characters(text)
    if kind[1] == "Number" and not _NUMBER.fullmatch(text):
        raise errors.invalid_value(
            f"Can't cast the value of message (user) attribute '{name}' to a number."
        )


def _check_base64(text: str) -> None:
    try:
        b64decode(text, validate=True)
    except ValueError:
        raise errors.malformed("A binary value is not base64.") from None


def message_size(body: str, attributes: MessageAttributes) -> int:
    """Bytes that count: body and attributes' names, types and values; not the trace header.

    Also taken of messages that are yet to be checked, so nothing about them is relied on.
    """
    size = _bytes(body)
    for name, value in attributes.items():
        binary = value.get("BinaryValue", "")
        size += _bytes(name) + _bytes(value.get("DataType", ""))
        size += _bytes(value.get("StringValue", "")) + len(binary) * 3 // 4 - binary.count("=")
    return size


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def check_entry_ids(call: str, ids: Sequence[str]) -> None:
    """What refuses a batch as a whole, before any entry is looked at."""
    if not ids:
        raise errors.empty_batch(call)
    if len(ids) > BATCH_ENTRIES:
        raise errors.too_many_entries(len(ids))
    seen = set()
    for entry_id in ids:
        if not _ENTRY_ID.fullmatch(entry_id):
            raise errors.invalid_entry_id()
        if entry_id in seen:
            raise errors.repeated_entry_id(entry_id)
        seen.add(entry_id)


def check_range(value: int, name: str, low: int, high: int) -> None:
    if not low <= value <= high:
        raise errors.invalid_parameter(
            value, name, f"Must be between {low} and {high}, if provided."
        )
