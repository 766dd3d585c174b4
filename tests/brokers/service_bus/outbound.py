"""Links on which this broker sends: messages of an entity, and answers to requests."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from .entities import Settlement
from .errors import BrokerError, Condition
from .faults import Point
from .journal import Kind
from .management import text_or_none
from .performatives import SENDER, Attach, Disposition, Flow
from .types import Described, Symbol, ULong

if TYPE_CHECKING:
    from uuid import UUID

    from .channel import Channel
    from .connection import Respond
    from .entities import Session
    from .queues import Queue

ACCEPTED, REJECTED, RELEASED, MODIFIED = 0x24, 0x25, 0x26, 0x27
_TICKS_AT_EPOCH: Final = 621_355_968_000_000_000
_SETTLED = 1
_SETTLEMENTS = {
    ACCEPTED: Settlement.COMPLETE,
    REJECTED: Settlement.DEAD_LETTER,
    RELEASED: Settlement.RELEASE,
}


def error_value(condition: str, description: str) -> Described:
    """An AMQP error of all three fields: clients have hung on shorter ones."""
    return Described(ULong(0x1D), [Symbol(condition), description, None])


def ticks(seconds: float) -> int:
    """A time as .NET counts it: units of 100 ns since year 1."""
    return int(seconds * 1000) * 10_000 + _TICKS_AT_EPOCH


class Outbound:
    """Credit keeping of a link that we send on."""

    def __init__(self, channel: Channel, attach: Attach) -> None:
        self.channel = channel
        self.attach = attach
        self.handle = attach.handle
        self._sent = 0
        self.credit = 0

    def on_flow(self, flow: Flow) -> None:
        """Credit is absolute: a restated flow neither adds nor takes."""
        if flow.link_credit is not None:
            self.credit = (flow.delivery_count or 0) + flow.link_credit - self._sent
        self.on_credit()
        if flow.drain and self.credit > 0:
            self._sent += self.credit
            self.credit = 0
        if flow.drain or flow.echo:
            self.channel.send_flow(self.handle, self._sent, max(0, self.credit), drain=flow.drain)

    def on_credit(self) -> None:
        """Called when there may be credit to use."""

    def closed(self) -> None:
        """Called once when the link is gone, whoever ended it."""

    def count_sent(self) -> None:
        """One delivery uses one credit."""
        self._sent += 1
        self.credit -= 1


class ReplyLink(Outbound):
    """Carries answers back; those that come before credit wait for it."""

    def __init__(self, channel: Channel, attach: Attach) -> None:
        super().__init__(channel, attach)
        self._pending: deque[bytes] = deque()

    def reply(self, payload: bytes) -> None:
        """Sends an answer now or with the next credit."""
        self._pending.append(payload)
        self.on_credit()

    def on_credit(self) -> None:
        """Sends what waits."""
        while self._pending and self.credit > 0:
            self.count_sent()
            self.channel.send_transfer(self.handle, self._pending.popleft(), settled=True)


class SourceLink(Outbound):
    """Hands an entity's messages to one receiver and applies what the receiver decides."""

    def __init__(self, channel: Channel, attach: Attach, queue: Queue) -> None:
        super().__init__(channel, attach)
        self.queue = queue
        self.session: Session | None = None
        self.deletes = attach.snd_settle_mode == _SETTLED
        self._feed = channel.hub.feed(queue)

    def opened(self) -> None:
        """The attach was answered: from now on messages may come."""
        self._feed.receivers.append(self)

    def closed(self) -> None:
        """A session is given back; message locks stay until they end, as on Azure."""
        if self in self._feed.receivers:
            self._feed.receivers.remove(self)
        if self.session:
            self.queue.release_session(self.session, self)

    def session_lost(self) -> None:
        """The receiver of a lost session is told by a detach; it is of no more use."""
        self.session = None
        text = "The session lock has expired on the session. Accept the session again."
        self.channel.detach(self.handle, Condition.SESSION_LOCK_LOST, text)

    def on_credit(self) -> None:
        """Messages may be there already, and a drain must see them now."""
        self.channel.hub.pump(self.queue)

    def offer(self) -> bool:
        """Delivers one message if there is one, credit for it, and room in the window."""
        if self.credit <= 0 or not self.channel.has_window:
            return False
        if not self.queue.has_message(self.session):
            return False
        before = self._sent
        self.channel.connection.perform(
            Point.DELIVER,
            self.queue.name,
            None,
            self._deliver,
            lambda condition, text: self.channel.detach(self.handle, condition, text),
        )
        return self._sent != before

    def _deliver(self) -> Respond:
        stored = self.queue.take(self.session, lock=not self.deletes)
        assert stored is not None
        self.count_sent()
        payload, token = stored.render(), stored.lock.token if stored.lock else None
        return lambda: self._transfer(payload, token)

    def _transfer(self, payload: bytes, token: UUID | None) -> None:
        tag = token.bytes_le if token else self._sent.to_bytes(4, "big")
        number = self.channel.send_transfer(self.handle, payload, tag=tag, settled=self.deletes)
        if token:
            self.channel.unsettled[number] = (self, token)

    def settle(self, number: int, token: UUID, frame: Disposition) -> None:
        """Applies what the receiver says of one delivery and confirms it if asked to."""
        how = settlement_of(frame.state)
        reason, detail = _dead_letter_details(frame.state)

        def apply() -> Respond:
            if how is None:
                raise BrokerError(Condition.NOT_IMPLEMENTED, "no such outcome here.")
            self.queue.settle(token, how, reason=reason, detail=detail)
            return lambda: self._confirm(number, confirmation_of(frame.state), frame)

        def refuse(condition: str, text: str) -> None:
            self.channel.hub.journal.record(Kind.SETTLE_REFUSED, self.queue.name, detail=condition)
            self._confirm(number, rejected(condition, text), frame)

        self.channel.connection.perform(Point.SETTLE, self.queue.name, how, apply, refuse)

    def _confirm(self, number: int, state: Described, frame: Disposition) -> None:
        if not frame.settled:
            answer = Disposition(SENDER, number, number, settled=True, state=state)
            self.channel.send(answer)


def rejected(condition: str, text: str) -> Described:
    """The outcome that says why something was not done."""
    return Described(ULong(REJECTED), [error_value(condition, text)])


def settlement_of(state: Described | None) -> Settlement | None:
    """What an outcome asks for; None for one that Service Bus does not know."""
    code = ACCEPTED if state is None else state.descriptor
    if code == MODIFIED and state is not None:
        defers = len(state.fields) > 1 and state.fields[1] is True
        return Settlement.DEFER if defers else Settlement.ABANDON
    return _SETTLEMENTS.get(code) if isinstance(code, int) else None


def confirmation_of(state: Described | None) -> Described:
    """The outcome that confirms one: the same, but a rejection without its reason."""
    if state is None:
        return Described(ULong(ACCEPTED), [])
    return Described(ULong(REJECTED), [None]) if state.descriptor == REJECTED else state


def _dead_letter_details(state: Described | None) -> tuple[str | None, str | None]:
    error = state.fields[0] if state and state.descriptor == REJECTED and state.fields else None
    details = error.fields if isinstance(error, Described) else []
    info = details[2] if len(details) > 2 and isinstance(details[2], dict) else {}
    return (
        text_or_none(info.get("DeadLetterReason")),
        text_or_none(info.get("DeadLetterErrorDescription")),
    )
