"""One AMQP session: its links, its windows, its delivery numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, TypeAlias

from .attach import AttachRequest
from .errors import Condition, ProtocolError
from .frames import encode_frame
from .inbound import Inbound
from .journal import Kind
from .outbound import Outbound, ReplyLink, SourceLink, error_value
from .performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Flow,
    Performative,
    Transfer,
)
from .security import path_of

if TYPE_CHECKING:
    from uuid import UUID

    from .connection import Connection

Link: TypeAlias = Inbound | Outbound
_WINDOW: Final = 5000
_FIRST_ID: Final = 1  # a client takes a zero next-incoming-id for a missing one
_FRAME_ROOM: Final = 512


class Channel:
    """Routes frames to links; handles are the client's own numbers."""

    def __init__(self, connection: Connection, number: int, begin: Begin) -> None:
        self.connection = connection
        self.hub = connection.hub
        self.number = number
        self.unsettled: dict[int, tuple[SourceLink, UUID]] = {}
        self._links: dict[int, Link] = {}
        self._pending: dict[int, AttachRequest] = {}
        self._ended: set[int] = set()
        self._next_incoming = begin.next_outgoing_id
        self._next_outgoing = _FIRST_ID
        self._room = begin.incoming_window
        self._deliveries = itertools.count(_FIRST_ID)
        self.send(Begin(number, _FIRST_ID, _WINDOW, _WINDOW, handle_max=255))

    @property
    def has_window(self) -> bool:
        """Room for another delivery; the pieces of one begun are sent beyond it."""
        return self._room > 0

    # --- what the client sends

    def receive(self, body: Performative, payload: bytes) -> None:
        """Takes a frame that belongs to this session."""
        if isinstance(body, Transfer):
            self._on_transfer(body, payload)
        elif isinstance(body, Disposition):
            self._on_disposition(body)
        elif isinstance(body, Flow):
            self._on_flow(body)
        elif isinstance(body, Attach):
            self._on_attach(body)
        elif isinstance(body, Detach):
            self._on_detach(body)
        else:
            raise ProtocolError(f"{type(body).__name__} inside a session")

    def _on_transfer(self, frame: Transfer, payload: bytes) -> None:
        self._next_incoming = (self._next_incoming + 1) & 0xFFFFFFFF
        link = self._link(frame.handle)
        if isinstance(link, Inbound):
            link.on_transfer(frame, payload)
        elif link is not None:
            raise ProtocolError("a transfer on a link that the client receives on")

    def _on_disposition(self, frame: Disposition) -> None:
        if frame.role == SENDER:
            return
        for number in self._unsettled_in(frame):
            link, token = self.unsettled.pop(number)
            link.settle(number, token, frame)

    def _unsettled_in(self, frame: Disposition) -> list[int]:
        """A range is the client's to choose: what is walked is what we have, not the range."""
        if frame.last is None or frame.last == frame.first:
            return [frame.first] if frame.first in self.unsettled else []
        return [one for one in self.unsettled if frame.first <= one <= frame.last]

    def _on_flow(self, frame: Flow) -> None:
        start = _FIRST_ID if frame.next_incoming_id is None else frame.next_incoming_id
        self._room = start + frame.incoming_window - self._next_outgoing
        if frame.handle is not None:
            link = self._link(frame.handle)
            if isinstance(link, Outbound):
                link.on_flow(frame)
            return
        for link in list(self._links.values()):
            if isinstance(link, Outbound):
                link.on_credit()

    def _on_attach(self, frame: Attach) -> None:
        if frame.handle in self._links or frame.handle in self._pending:
            raise ProtocolError(f"handle {frame.handle} is attached already")
        self._ended.discard(frame.handle)
        self._pending[frame.handle] = request = AttachRequest(self, frame)
        request.decide()

    def _on_detach(self, frame: Detach) -> None:
        request = self._pending.pop(frame.handle, None)
        if request:
            request.give_up()
        elif frame.handle in self._links:
            self._drop_link(frame.handle)
        else:
            return
        self._ended.add(frame.handle)
        self.send(Detach(frame.handle, closed=bool(frame.closed)))

    def _link(self, handle: int) -> Link | None:
        if handle not in self._links and handle not in self._ended and handle not in self._pending:
            raise ProtocolError(f"handle {handle} is unattached", Condition.UNATTACHED_HANDLE)
        return self._links.get(handle)

    # --- what links ask for

    def add_link(self, request: Attach, answer: Attach, link: Link) -> None:
        """Answers an attach and puts the link to work, unless the client has given up."""
        if self._pending.pop(request.handle, None) is None:
            return
        self._links[request.handle] = link
        self.send(answer)
        if isinstance(link, Inbound):
            link.grant()
        elif isinstance(link, SourceLink):
            link.opened()

    def refuse_link(self, request: Attach, condition: str, text: str) -> None:
        """Answers with a link to nowhere and ends it, which is how the service says no."""
        self._pending.pop(request.handle, None)
        self._ended.add(request.handle)
        answer = Attach(request.name, request.handle, not request.role, initial_delivery_count=0)
        if request.role == RECEIVER:
            answer.target = request.target
        else:
            answer.source = request.source
        self.send(answer)
        self.send(Detach(request.handle, True, error_value(condition, text)))

    def detach(self, handle: int, condition: str, text: str) -> None:
        """Ends a link from this side."""
        if handle in self._links:
            self._drop_link(handle)
            self._ended.add(handle)
            self.send(Detach(handle, True, error_value(condition, text)))

    def source_links(self, queue_name: str | None) -> list[SourceLink]:
        """The links that receive from a queue, or from any."""
        links = [link for link in self._links.values() if isinstance(link, SourceLink)]
        return [link for link in links if queue_name in (None, link.queue.name)]

    def reply(self, node: str, payload: bytes) -> None:
        """Sends an answer over the receiving half of a request-response pair."""
        for link in self._links.values():
            if isinstance(link, ReplyLink) and _node(link) == node:
                link.reply(payload)
                return

    def close(self) -> None:
        """Ends all links without a word: the session or the connection is over."""
        for request in self._pending.values():
            request.give_up()
        self._pending.clear()
        for handle in list(self._links):
            self._drop_link(handle)

    def _drop_link(self, handle: int) -> None:
        link = self._links.pop(handle)
        gone = [number for number, (source, _) in self.unsettled.items() if source is link]
        for number in gone:
            del self.unsettled[number]
        link.closed()
        if isinstance(link, SourceLink):
            self.hub.journal.record(
                Kind.DETACHED, link.queue.name, connection=self.connection.number
            )

    # --- output

    def send(self, body: Performative) -> None:
        """Sends a frame without payload."""
        self.connection.write(encode_frame(self.number, body))

    def end(self) -> None:
        """Confirms the end of the session."""
        self.close()
        self.send(End())

    def send_flow(
        self, handle: int, delivery_count: int, credit: int, *, drain: bool | None = None
    ) -> None:
        """Tells the peer how a link stands, and the session's windows with it."""
        self.send(
            Flow(
                next_incoming_id=self._next_incoming,
                incoming_window=_WINDOW,
                next_outgoing_id=self._next_outgoing,
                outgoing_window=_WINDOW,
                handle=handle,
                delivery_count=delivery_count,
                link_credit=credit,
                available=0,
                drain=bool(drain),
                echo=False,
            )
        )

    def send_transfer(self, handle: int, payload: bytes, *, tag: bytes = b"", settled: bool) -> int:
        """Sends a message in as many frames as it takes and returns its delivery number."""
        number = next(self._deliveries)
        size = self.connection.max_frame_size - _FRAME_ROOM
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
        for position, piece in enumerate(pieces):
            frame = Transfer(handle, settled=settled, more=position < len(pieces) - 1)
            if position == 0:
                frame.delivery_id, frame.message_format = number, 0
                frame.delivery_tag = tag or number.to_bytes(4, "big")
            self.connection.write(encode_frame(self.number, frame, piece))
            self._next_outgoing = (self._next_outgoing + 1) & 0xFFFFFFFF
            self._room -= 1
        return number


def _node(link: ReplyLink) -> str:
    source = link.attach.source
    address = source.fields[0] if source and source.fields else ""
    return path_of(address) if isinstance(address, str) else ""
