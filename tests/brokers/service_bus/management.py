"""The requests that go to `<entity>/$management`, and to `$cbs`, as plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from .content import parse_message
from .encode import LONG, STRING, TIMESTAMP
from .entities import Settlement, Stored
from .errors import BrokerError, Condition, ProtocolError
from .queues import Queue
from .types import Array, Timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from .namespace import Entity

    Body = dict[Any, Any]
    Reply = dict[str, Any] | None

T = TypeVar("T")
ALL_SESSIONS_MS: Final = 253_402_300_800_000
_MAX_MESSAGES: Final = 4096
_STATUS: Final = {
    Condition.ARGUMENT_ERROR: 400,
    Condition.NOT_ALLOWED: 400,
    Condition.UNAUTHORIZED: 401,
    Condition.NOT_FOUND: 404,
    Condition.MESSAGE_NOT_FOUND: 404,
    Condition.TIMEOUT: 408,
    Condition.MESSAGE_LOCK_LOST: 410,
    Condition.SESSION_LOCK_LOST: 410,
    Condition.NOT_IMPLEMENTED: 501,
    Condition.SERVER_BUSY: 503,
}
_SETTLEMENTS: Final = {
    "completed": Settlement.COMPLETE,
    "abandoned": Settlement.ABANDON,
    "defered": Settlement.DEFER,
    "suspended": Settlement.DEAD_LETTER,
}


def status_of(condition: str) -> int:
    """The HTTP-like status that goes with a condition."""
    return _STATUS.get(condition, 500)


def execute(entity: Entity, operation: str, body: Any) -> Reply:
    """Does one request; None is an empty answer (204)."""
    if not isinstance(body, dict):
        raise BrokerError(Condition.ARGUMENT_ERROR, "the request body is no map.")
    if operation in _ANY_ENTITY:
        return _ANY_ENTITY[operation](entity, body)
    if operation not in _QUEUES_ONLY:
        raise BrokerError(Condition.NOT_IMPLEMENTED, f"unknown operation '{operation}'.")
    if not isinstance(entity, Queue):
        text = f"'{operation}' needs a queue or subscription, '{entity.name}' is a topic."
        raise BrokerError(Condition.NOT_ALLOWED, text)
    return _QUEUES_ONLY[operation](entity, body)


def _schedule(entity: Entity, body: Body) -> Reply:
    contents = [_content(item) for item in _get(body, "messages", list)]
    for content in contents:
        entity.check(content)
    numbers = tuple(entity.send(content) or 0 for content in contents)
    return {"sequence-numbers": Array(LONG, numbers)}


def _content(item: Any) -> Any:
    try:
        return parse_message(_get(item if isinstance(item, dict) else {}, "message", bytes))
    except ProtocolError as error:
        raise BrokerError(Condition.ARGUMENT_ERROR, error.description) from error


def _cancel(entity: Entity, body: Body) -> Reply:
    entity.cancel(_items(body, "sequence-numbers", int))
    return {}


def _renew_lock(queue: Queue, body: Body) -> Reply:
    untils = [queue.renew(token) for token in _items(body, "lock-tokens", UUID)]
    return {"expirations": Array(TIMESTAMP, tuple(int(until * 1000) for until in untils))}


def _update_disposition(queue: Queue, body: Body) -> Reply:
    how = _SETTLEMENTS.get(_get(body, "disposition-status", str))
    if how is None:
        raise BrokerError(Condition.ARGUMENT_ERROR, "unknown disposition-status.")
    if queue.options.requires_session:
        queue.held_session(_get(body, "session-id", str))
    reason, detail = body.get("deadletter-reason"), body.get("deadletter-description")
    for token in _items(body, "lock-tokens", UUID):
        queue.settle(token, how, reason=text_or_none(reason), detail=text_or_none(detail))
    return {}


def _peek(queue: Queue, body: Body) -> Reply:
    start = _get(body, "from-sequence-number", int)
    count = min(_get(body, "message-count", int), _MAX_MESSAGES)
    if count < 1:
        raise BrokerError(Condition.ARGUMENT_ERROR, "message-count must be at least 1.")
    found = queue.peek(start, count, text_or_none(body.get("session-id")))
    messages = [{"message": stored.render(peeked=True)} for stored in found]
    return {"messages": messages} if messages else None


def _receive_deferred(queue: Queue, body: Body) -> Reply:
    if queue.options.requires_session:
        queue.held_session(_get(body, "session-id", str))
    lock = _get(body, "receiver-settle-mode", int) == 1
    numbers = _items(body, "sequence-numbers", int)
    return {"messages": [_locked(stored) for stored in queue.take_deferred(numbers, lock=lock)]}


def _locked(stored: Stored) -> dict[str, Any]:
    message: dict[str, Any] = {"message": stored.render()}
    return {**message, "lock-token": stored.lock.token} if stored.lock else message


def _renew_session(queue: Queue, body: Body) -> Reply:
    until = queue.renew_session(_get(body, "session-id", str))
    return {"expiration": Timestamp(until * 1000)}


def _get_state(queue: Queue, body: Body) -> Reply:
    return {"session-state": queue.session_state(_get(body, "session-id", str))}


def _set_state(queue: Queue, body: Body) -> Reply:
    state = body.get("session-state")
    if not isinstance(state, bytes | None):
        raise BrokerError(Condition.ARGUMENT_ERROR, "session-state must be binary or null.")
    queue.set_session_state(_get(body, "session-id", str), state)
    return {}


def _list_sessions(queue: Queue, body: Body) -> Reply:
    since = _get(body, "last-updated-time", int)
    skip, top = max(0, _get(body, "skip", int)), max(0, _get(body, "top", int))
    ids = queue.session_ids(None if since >= ALL_SESSIONS_MS else since / 1000)
    page = ids[skip : skip + top]
    return {"skip": skip + len(page), "sessions-ids": Array(STRING, tuple(page))} if page else None


def _get(body: Body, key: str, kind: type[T]) -> T:
    value = body.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BrokerError(Condition.ARGUMENT_ERROR, f"'{key}' is missing or of the wrong type.")
    return value


def _items(body: Body, key: str, kind: type[T]) -> list[T]:
    value = body.get(key)
    items = value.items if isinstance(value, Array) else ()
    if not items or not all(isinstance(item, kind) for item in items):
        raise BrokerError(Condition.ARGUMENT_ERROR, f"'{key}' is no array of the right type.")
    return list(items)


def text_or_none(value: Any) -> str | None:
    """The text, or None for whatever is none."""
    return value if isinstance(value, str) else None


_ANY_ENTITY: dict[str, Callable[[Entity, Body], Reply]] = {
    "com.microsoft:schedule-message": _schedule,
    "com.microsoft:cancel-scheduled-message": _cancel,
}
_QUEUES_ONLY: dict[str, Callable[[Queue, Body], Reply]] = {
    "com.microsoft:renew-lock": _renew_lock,
    "com.microsoft:update-disposition": _update_disposition,
    "com.microsoft:peek-message": _peek,
    "com.microsoft:receive-by-sequence-number": _receive_deferred,
    "com.microsoft:renew-session-lock": _renew_session,
    "com.microsoft:get-session-state": _get_state,
    "com.microsoft:set-session-state": _set_state,
    "com.microsoft:get-message-sessions": _list_sessions,
}
