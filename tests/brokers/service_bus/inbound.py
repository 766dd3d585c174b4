"""Links on which clients send to this broker: pieces become messages, messages are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .content import parse_messages, read_request, response
from .errors import Condition, ProtocolError
from .faults import Point
from .journal import Kind
from .management import execute, status_of, text_or_none
from .outbound import ACCEPTED, rejected
from .performatives import RECEIVER, Attach, Disposition, Transfer
from .security import ALL_CLAIMS, path_of, verify
from .types import Described, Int, Symbol, ULong

if TYPE_CHECKING:
    from .channel import Channel
    from .connection import Respond
    from .namespace import Entity

_CREDIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One whole message and how to answer it."""

    channel: Channel
    number: int
    message_format: int
    settled: bool
    payload: bytes

    def accept(self) -> None:
        """Tells the sender that the message is safe."""
        self._answer(Described(ULong(ACCEPTED), []))

    def reject(self, condition: str, text: str) -> None:
        """Tells the sender why it is not."""
        self._answer(rejected(condition, text))

    def _answer(self, state: Described) -> None:
        if not self.settled:
            answer = Disposition(RECEIVER, self.number, self.number, settled=True, state=state)
            self.channel.send(answer)


class Inbound:
    """Puts the pieces of a delivery together, never more than the link allows."""

    max_message_bytes = 64 * 1024

    def __init__(self, channel: Channel, attach: Attach) -> None:
        self.channel = channel
        self.handle = attach.handle
        self._first: Transfer | None = None
        self._pieces = bytearray()
        self._received = 0
        self._credit = 0

    def grant(self) -> None:
        """Keeps the sender supplied with credit."""
        if self._credit < _CREDIT // 2:
            self._credit = _CREDIT
            self.channel.send_flow(self.handle, self._received, _CREDIT)

    def on_transfer(self, frame: Transfer, payload: bytes) -> None:
        """Takes a piece; hands the message on with the last one."""
        if self._first is None:
            self._first = self._checked(frame)
        if frame.aborted:
            self._reset()
            return
        if len(self._pieces) + len(payload) > self.max_message_bytes:
            self._refuse_size(self._first)
            return
        self._pieces += payload
        if not frame.more:
            arrival = self._arrival(self._first, frame)
            self._reset()
            self._count()
            self.arrived(arrival)

    def arrived(self, arrival: Arrival) -> None:
        """What this link does with a message."""
        raise NotImplementedError

    def closed(self) -> None:
        """An unfinished message is forgotten."""
        self._reset()

    def _checked(self, frame: Transfer) -> Transfer:
        if frame.delivery_id is None:
            raise ProtocolError("the first transfer of a delivery has no delivery-id")
        return frame

    def _arrival(self, first: Transfer, last: Transfer) -> Arrival:
        settled = bool(first.settled or last.settled)
        payload = bytes(self._pieces)
        number, kind = first.delivery_id or 0, first.message_format or 0
        return Arrival(self.channel, number, kind, settled, payload)

    def _count(self) -> None:
        self._received += 1
        self._credit -= 1
        self.grant()

    def _reset(self) -> None:
        self._first = None
        self._pieces = bytearray()

    def _refuse_size(self, first: Transfer) -> None:
        """Rejects before it detaches: a client told only by the detach takes it for a lost link."""
        limit = self.max_message_bytes
        text = f"The received message exceeds the maximum of {limit} bytes on this link."
        self._pieces.clear()
        self._arrival(first, first).reject(Condition.MESSAGE_TOO_LARGE, text)
        self.channel.detach(self.handle, Condition.MESSAGE_TOO_LARGE, text)


class EntityTarget(Inbound):
    """Stores what is sent to a queue or topic."""

    def __init__(self, channel: Channel, attach: Attach, entity: Entity) -> None:
        super().__init__(channel, attach)
        self.entity = entity
        self.max_message_bytes = entity.options.max_message_bytes

    def arrived(self, arrival: Arrival) -> None:
        """Stores a message, or all messages of a batch, or none."""
        contents = parse_messages(arrival.payload, arrival.message_format)

        def apply() -> Respond:
            for content in contents:
                self.entity.check(content)
            for content in contents:
                self.entity.send(content)
            return arrival.accept

        def refuse(condition: str, text: str) -> None:
            facts = {"message_id": contents[0].message_id if contents else None}
            journal = self.channel.hub.journal
            journal.record(Kind.SEND_REFUSED, self.entity.name, detail=condition, **facts)
            arrival.reject(condition, text)

        perform = self.channel.connection.perform
        perform(Point.SEND, self.entity.name, None, apply, refuse)


class ManagementTarget(Inbound):
    """Answers the requests about one entity."""

    max_message_bytes = 4 * 1024 * 1024

    def __init__(self, channel: Channel, attach: Attach, node: str, entity: Entity) -> None:
        super().__init__(channel, attach)
        self._node = node
        self._entity = entity

    def arrived(self, arrival: Arrival) -> None:
        """Does what is asked and sends the result over the link pair's other half."""
        properties, application, body = read_request(arrival.payload)
        message_id = properties[0]
        operation = text_or_none(application.get("operation")) or ""
        arrival.accept()

        def apply() -> Respond:
            result = execute(self._entity, operation, body)
            self._note(Kind.MANAGEMENT, operation)
            return lambda: self._reply(message_id, 200 if result is not None else 204, result)

        def refuse(condition: str, text: str) -> None:
            self._note(Kind.MANAGEMENT_REFUSED, f"{operation} {condition}")
            self._reply(message_id, status_of(condition), None, condition, text)

        short = operation.removeprefix("com.microsoft:")
        perform = self.channel.connection.perform
        perform(Point.MANAGEMENT, self._entity.name, short, apply, refuse)

    def _note(self, kind: Kind, detail: str) -> None:
        self.channel.hub.journal.record(kind, self._entity.name, detail=detail)

    def _reply(
        self,
        message_id: object,
        status: int,
        result: dict[str, object] | None,
        condition: str | None = None,
        text: str = "OK",
    ) -> None:
        facts: dict[str, object] = {"statusCode": Int(status), "statusDescription": text}
        if condition:
            facts["errorCondition"] = Symbol(condition)
        self.channel.reply(self._node, response(message_id, facts, result))


class TokenTarget(Inbound):
    """`$cbs`: takes the token that opens entities to this connection."""

    def arrived(self, arrival: Arrival) -> None:
        """Checks a token and remembers what it allows."""
        properties, application, token = read_request(arrival.payload)
        message_id = properties[0]
        audience = text_or_none(application.get("name")) or ""
        path = path_of(audience)
        arrival.accept()

        def apply() -> Respond:
            claims = self._claims(text_or_none(token) or "", audience)
            self.channel.connection.grants.add(path, claims)
            self.channel.hub.journal.record(Kind.AUTHORIZED, path)
            return lambda: self._reply(message_id, 202, "Accepted")

        def refuse(condition: str, text: str) -> None:
            journal = self.channel.hub.journal
            journal.record(Kind.AUTHORIZATION_REFUSED, path, detail=condition)
            self._reply(message_id, status_of(condition), text)

        self.channel.connection.perform(Point.CBS, path, None, apply, refuse)

    def _claims(self, token: str, audience: str) -> frozenset[str]:
        hub = self.channel.hub
        if not hub.check_tokens:
            return ALL_CLAIMS
        return verify(token, audience, hub.policies, hub.clock.unmoved())

    def _reply(self, message_id: object, status: int, text: str) -> None:
        facts = {"status-code": Int(status), "status-description": text}
        self.channel.reply("$cbs", response(message_id, facts, None))
