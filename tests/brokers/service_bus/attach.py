"""Decides what a client may attach to, waiting for a session to become free where it must."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .errors import BrokerError, Condition
from .faults import Point
from .inbound import EntityTarget, Inbound, ManagementTarget, TokenTarget
from .journal import Kind
from .outbound import Outbound, ReplyLink, SourceLink, ticks
from .performatives import RECEIVER, Attach
from .queues import Queue
from .security import LISTEN, SEND, path_of
from .types import Described, Symbol, ULong

if TYPE_CHECKING:
    import asyncio

    from .channel import Channel
    from .connection import Respond

_CBS: Final = "$cbs"
_MANAGEMENT: Final = "/$management"
_SESSION_FILTER: Final = Symbol("com.microsoft:session-filter")
_LOCKED_UNTIL: Final = Symbol("com.microsoft:locked-until-utc")
_FILTER_FIELD: Final = 7
_SESSION_WAIT: Final = 65.0


class AttachRequest:
    """One attach until it is answered; then it is of no more use."""

    def __init__(self, channel: Channel, attach: Attach) -> None:
        self._channel = channel
        self._attach = attach
        self._receives = attach.role == RECEIVER
        self._path = path_of(_address(attach.source if self._receives else attach.target))
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: SourceLink | None = None
        self._link: Inbound | Outbound | None = None

    def decide(self) -> None:
        """Answers now, or later if a session must be waited for."""
        control = self._path == _CBS or self._path.endswith(_MANAGEMENT)
        self._channel.connection.perform(
            Point.ATTACH,
            self._path,
            "receive" if self._receives else "send",
            self._apply,
            self._refuse,
            named=control,
        )

    def give_up(self) -> None:
        """The client does not wait any longer; a session it would have got is free again."""
        self._stop_waiting()
        if self._link:
            self._link.closed()

    def try_accept(self) -> bool:
        """Takes a session if one is free by now."""
        if self._waiting is None:
            return True
        link = self._waiting
        link.session = link.queue.accept_session(None, link)
        if link.session is None:
            return False
        self._stop_waiting()
        self._open(link)
        return True

    def _apply(self) -> Respond:
        self._link = link = self._make_link()
        if isinstance(link, SourceLink) and link.queue.options.requires_session:
            wanted = _session_filter(self._attach.source)
            link.session = link.queue.accept_session(wanted, link)
            if link.session is None:
                self._wait(link)
                return lambda: None
        return lambda: self._open(link)

    def _make_link(self) -> Inbound | Outbound:
        channel, attach = self._channel, self._attach
        if self._path == _CBS:
            return ReplyLink(channel, attach) if self._receives else TokenTarget(channel, attach)
        if self._path.endswith(_MANAGEMENT):
            return self._management_link(self._path.removesuffix(_MANAGEMENT))
        return self._entity_link()

    def _management_link(self, path: str) -> Inbound | Outbound:
        entity = self._channel.hub.namespace.find(path)
        self._allow(path, SEND, LISTEN)
        if self._receives:
            return ReplyLink(self._channel, self._attach)
        return ManagementTarget(self._channel, self._attach, self._path, entity)

    def _entity_link(self) -> Inbound | Outbound:
        namespace = self._channel.hub.namespace
        self._allow(self._path, LISTEN if self._receives else SEND)
        if self._receives:
            queue = namespace.queue(self._path)
            _check_kind(queue, self._attach.source)
            return SourceLink(self._channel, self._attach, queue)
        entity = namespace.find(self._path)
        if isinstance(entity, Queue) and "/" in entity.name:
            text = f"'{entity.name}' takes no messages: send to the entity above it."
            raise BrokerError(Condition.NOT_ALLOWED, text)
        return EntityTarget(self._channel, self._attach, entity)

    def _allow(self, path: str, *claims: str) -> None:
        """One of `claims` is enough."""
        for claim in claims[:-1]:
            try:
                return self._channel.connection.grants.check(path, claim)
            except BrokerError:
                continue
        return self._channel.connection.grants.check(path, claims[-1])

    def _open(self, link: Inbound | Outbound) -> None:
        attach = self._attach
        answer = replace(attach, role=not attach.role, unsettled=None, properties=None)
        answer.offered_capabilities = answer.desired_capabilities = None
        answer.source = attach.source or Described(ULong(0x28), [])
        answer.target = attach.target or Described(ULong(0x29), [])
        if isinstance(link, Inbound):
            answer.max_message_size = link.max_message_bytes
        else:
            answer.initial_delivery_count = 0
        if isinstance(link, SourceLink) and link.session:
            answer.source = _granted(answer.source, link.session.id)
            answer.properties = {_LOCKED_UNTIL: ticks(link.session.locked_until)}
        self._note(Kind.ATTACHED)
        self._channel.add_link(attach, answer, link)

    def _refuse(self, condition: str, text: str) -> None:
        self._note(Kind.ATTACH_REFUSED, condition)
        self._channel.refuse_link(self._attach, condition, text)

    def _wait(self, link: SourceLink) -> None:
        loop = self._channel.hub.loop
        assert loop is not None
        self._waiting = link
        self._channel.hub.feed(link.queue).acceptors.append(self)
        self._note(Kind.SESSION_AWAITED)
        self._timer = loop.call_later(_patience(self._attach), self._timed_out)

    def _timed_out(self) -> None:
        self._stop_waiting()
        self._refuse(Condition.TIMEOUT, "No session became available in time.")

    def _stop_waiting(self) -> None:
        self._waiting = None
        if self._timer:
            self._timer.cancel()

    def _note(self, kind: Kind, detail: str = "") -> None:
        connection = self._channel.connection
        connection.hub.journal.record(
            kind, self._path, connection=connection.number, detail=detail or self._attach.name
        )


def _address(terminus: Described | None) -> str:
    fields = terminus.fields if terminus else []
    return fields[0] if fields and isinstance(fields[0], str) else ""


def _filters(source: Described | None) -> dict[Any, Any]:
    fields = source.fields if source else []
    found = fields[_FILTER_FIELD] if len(fields) > _FILTER_FIELD else None
    return found if isinstance(found, dict) else {}


def _session_filter(source: Described | None) -> str | None:
    wanted = _filters(source).get(_SESSION_FILTER)
    wanted = wanted.value if isinstance(wanted, Described) else wanted
    return wanted if isinstance(wanted, str) else None


def _granted(source: Described, session_id: str | None) -> Described:
    """The client's source, with the session it got in the place of the one it asked for."""
    fields = [*source.fields]
    fields[_FILTER_FIELD] = {**_filters(source), _SESSION_FILTER: session_id}
    return Described(source.descriptor, fields)


def _check_kind(queue: Queue, source: Described | None) -> None:
    wants_session = _SESSION_FILTER in _filters(source)
    if queue.options.requires_session and not wants_session:
        text = f"'{queue.name}' requires sessions: a receiver without one is not possible."
        raise BrokerError(Condition.NOT_ALLOWED, text)
    if wants_session and not queue.options.requires_session:
        text = f"'{queue.name}' does not require sessions: a session receiver is not possible."
        raise BrokerError(Condition.NOT_ALLOWED, text)


def _patience(attach: Attach) -> float:
    asked = (attach.properties or {}).get("com.microsoft:timeout")
    return asked / 1000 if isinstance(asked, int) and asked >= 0 else _SESSION_WAIT
