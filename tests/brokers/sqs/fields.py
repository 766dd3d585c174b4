"""Reads a request's members with their types, so that a wrong one is refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.brokers.sqs import errors

if TYPE_CHECKING:
    from tests.brokers.sqs.messages import MessageAttributes

_VALUE_FIELDS = ("DataType", "StringValue", "BinaryValue")


class Fields:
    """The members of one JSON object of a request; null counts as absent."""

    __slots__ = ("_members",)

    def __init__(self, members: object) -> None:
        if not isinstance(members, dict):
            raise errors.malformed("Expected a JSON object.")
        self._members: dict[str, Any] = members

    def text(self, name: str) -> str:
        """The member's text, or none as an empty text."""
        value = self._members.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise errors.malformed(f"{name} must be a string.")
        return value

    def required_text(self, name: str) -> str:
        if self._members.get(name) is None:
            raise errors.missing_parameter(name)
        return self.text(name)

    def number(self, name: str) -> int | None:
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise errors.malformed(f"{name} must be an integer.")
        return value

    def texts(self, name: str) -> list[str]:
        values = self._members.get(name) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise errors.malformed(f"{name} must be a list of strings.")
        return values

    def text_map(self, name: str) -> dict[str, str]:
        values = self._members.get(name) or {}
        if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
            raise errors.malformed(f"{name} must be an object of strings.")
        return values

    def objects(self, name: str) -> list[Fields]:
        values = self._members.get(name) or []
        if not isinstance(values, list):
            raise errors.malformed(f"{name} must be a list of objects.")
        return [Fields(value) for value in values]

    def attributes(self, name: str) -> MessageAttributes:
        """Message attributes, cut down to the members that a queue keeps."""
        values = self._members.get(name) or {}
        if not isinstance(values, dict):
            raise errors.malformed(f"{name} must be an object.")
        return {key: _attribute_value(value) for key, value in values.items()}


def _attribute_value(value: object) -> dict[str, str]:
    fields = Fields(value)
    return {name: text for name in _VALUE_FIELDS if (text := fields.text(name))}


def parse(body: bytes) -> Fields:
    """The members of a request's body; whatever is wrong with it is the sender's fault."""
    if not body:
        return Fields({})
    try:
        return Fields(json.loads(body))
    except (ValueError, RecursionError):
        raise errors.malformed("The body is not a JSON object.") from None
