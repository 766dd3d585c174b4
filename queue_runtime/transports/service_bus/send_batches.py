"""Puts outgoing messages into as few sends as Service Bus allows, each failure by its position."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from queue_runtime.errors import MessageTooLargeError, TransportError
from queue_runtime.transports.base import SendResult
from queue_runtime.transports.service_bus.errors import translated
from queue_runtime.transports.service_bus.sender import service_bus_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.transports.base import OutgoingMessage
    from queue_runtime.transports.service_bus.reconnecting_sender import ReconnectingSender

Lot: TypeAlias = "list[tuple[int, Any]]"


async def send_in_batches(
    sender: ReconnectingSender,
    messages: Sequence[OutgoingMessage],
    *,
    needs_group: bool,
    checked: bool = True,
) -> list[SendResult]:
    """Send messages; those of a group in their order, in batches of their own.

    A batch of several sessions is refused by partitioned queues.

    Args:
        sender: the connection.
        messages: what to send.
        needs_group: whether the queue requires sessions.
        checked: refuse attributes that could not be read back; not for copies of what was received.
    """
    results = [SendResult()] * len(messages)
    lots: dict[str | None, Lot] = {}
    for position, message in enumerate(messages):
        try:
            native = _native(message, sender.entity, needs_group=needs_group, checked=checked)
        except TransportError as error:
            results[position] = SendResult(error=error)
        else:
            results[position] = SendResult(str(native.message_id))
            lots.setdefault(message.group_id, []).append((position, native))
    for lot in lots.values():
        for position, why in (await _send_lot(sender, lot)).items():
            results[position] = SendResult(error=why)
    return results


def _native(message: OutgoingMessage, entity: str, *, needs_group: bool, checked: bool) -> Any:
    if needs_group and not message.group_id:
        raise TransportError(f"{entity} requires sessions: send the message with a group_id")
    if checked:
        _check_attributes(message, entity)
    try:
        # An id that is the same at a repeated send, and in the dead-letter queue.
        named = replace(message, deduplication_id=message.deduplication_id or str(uuid4()))
        return service_bus_message(named)
    except Exception as error:
        raise translated(error, entity) from error


def _check_attributes(message: OutgoingMessage, entity: str) -> None:
    for name, value in message.attributes.items():
        if not isinstance(value, str | int | float | bytes):
            raise TransportError(
                f"{entity}: attribute {name!r} is a {type(value).__name__}: attributes are str, "
                "int, float or bytes"
            )


async def _send_lot(sender: ReconnectingSender, lot: Lot) -> dict[int, TransportError]:
    try:
        batches, failures = await sender.call(partial(_pack, lot, sender.entity))
    except TransportError as error:
        return dict.fromkeys((position for position, _ in lot), error)
    for at, (batch, _) in enumerate(batches):
        try:
            await sender.call(partial(_send, batch))
        except TransportError as error:
            # What follows in the group must not overtake what was not sent.
            left = (position for _, positions in batches[at:] for position in positions)
            return failures | dict.fromkeys(left, error)
    return failures


async def _send(batch: Any, sender: Any) -> None:
    await sender.send_messages(batch)


async def _pack(
    lot: Lot, entity: str, sender: Any
) -> tuple[list[tuple[Any, list[int]]], dict[int, TransportError]]:
    """Fill batches up to the size that the link allows."""
    batches: list[tuple[Any, list[int]]] = []
    failures: dict[int, TransportError] = {}
    for position, native in lot:
        if batches and _fits(batches[-1][0], native):
            batches[-1][1].append(position)
            continue
        batch = await sender.create_message_batch()
        if _fits(batch, native):
            batches.append((batch, [position]))
        else:
            most = batch.max_size_in_bytes
            failures[position] = MessageTooLargeError(
                f"{entity}: a message is larger than the {most} bytes allowed"
            )
    return batches, failures


def _fits(batch: Any, native: Any) -> bool:
    from azure.servicebus.exceptions import MessageSizeExceededError

    try:
        batch.add_message(native)
    except MessageSizeExceededError:
        return False
    return True
