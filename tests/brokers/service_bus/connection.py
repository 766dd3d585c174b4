"""One TCP connection: handshake, channels, output in order, and where faults strike."""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from .administration import Administration
from .channel import Channel
from .errors import BrokerError, Condition, ProtocolError
from .faults import Delay, Drop, DropAfter, Error, Ignore, LoseReply, Point
from .frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    SASL_FRAME,
    SASL_HEADER,
    Frame,
    FrameReader,
    Header,
    encode_frame,
)
from .journal import Kind
from .outbound import error_value
from .performatives import (
    Begin,
    Close,
    End,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
)
from .security import Grants
from .tls import HANDSHAKE
from .types import Symbol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .hub import Hub

Respond: TypeAlias = "Callable[[], None]"
MAX_FRAME: Final = 64 * 1024
_MIN_FRAME: Final = 512 + 512  # what a transfer's own fields may need, and as much for payload
_IDLE_MS: Final = 240_000
_AUTH_FAILED: Final = 1


class Connection(asyncio.Protocol):
    """Serves one client; whatever breaks the protocol ends it with a Close that says why."""

    def __init__(self, hub: Hub, number: int, gone: Callable[[Connection], None]) -> None:
        self.hub = hub
        self.number = number
        self.grants = Grants()
        self.alive = True
        self.max_frame_size = MAX_FRAME
        self._transport: asyncio.Transport | None = None
        self._gone = gone
        self._reader = FrameReader(MAX_FRAME)
        self._heard = False
        self._administration: Administration | None = None
        self._channels: dict[int, Channel] = {}
        self._ended: set[int] = set()
        self._opened = False
        self._mute = False
        self._held: deque[tuple[float, bytes]] = deque()
        self._release: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it speaks first."""
        self._transport = cast("asyncio.Transport", transport)
        if not self.alive:  # the broker was stopped between accepting and this call
            self._transport.abort()
            return
        # asyncio does this only where it made the listening socket: without it, answers that follow
        # each other wait 40 ms for the client's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hub.journal.record(Kind.CONNECTED, connection=self.number)
        self.perform(Point.CONNECT, None, None, lambda: _nothing, lambda *_: self._fail_sasl())

    def data_received(self, data: bytes) -> None:
        """Takes bytes apart; a client that is cut off or ignored is not read any more."""
        if not self._heard and self.hub.tls and data.startswith(HANDSHAKE):
            self._administration = Administration(self, self.hub.tls)
        self._heard = True
        if self._administration is None:
            self._take_frames(data)
        elif self._listening():
            self._administration.receive(data)
        self.hub.wake()

    def _take_frames(self, data: bytes) -> None:
        try:
            for item in self._reader.feed(data):
                if not self._listening():
                    return
                self._receive(item)
        except ProtocolError as error:
            self.hub.journal.record(Kind.PROTOCOL_ERROR, connection=self.number, detail=str(error))
            self.close(error.condition, error.description)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what it held as sessions is free again."""
        self._end()
        self.hub.journal.record(Kind.DISCONNECTED, connection=self.number)
        self._gone(self)

    # --- input

    def _listening(self) -> bool:
        return self.alive and not self._mute

    def _receive(self, item: Header | Frame) -> None:
        if isinstance(item, Header):
            self._on_header(item.raw)
        elif isinstance(item.body, SaslInit):
            self._on_sasl_init(item.body)
        elif isinstance(item.body, Open):
            self._on_open(item.body)
        elif item.body is None:
            return
        elif not self._opened:
            raise ProtocolError(f"{type(item.body).__name__} before Open", Condition.FRAMING_ERROR)
        elif isinstance(item.body, Close):
            self.close()
        else:
            self._on_session_frame(item.channel, item.body, item.payload)

    def _on_session_frame(self, number: int, body: Performative, payload: bytes) -> None:
        if isinstance(body, Begin):
            if number in self._channels:
                raise ProtocolError(f"channel {number} is in use", Condition.NOT_ALLOWED)
            self._ended.discard(number)
            self._channels[number] = Channel(self, number, body)
            return
        channel = self._channels.get(number)
        if channel is None:
            if number in self._ended:
                return  # the SDK detaches its links after it has ended their session
            raise ProtocolError(f"no session on channel {number}", Condition.NOT_ALLOWED)
        if isinstance(body, End):
            del self._channels[number]
            self._ended.add(number)
            channel.end()
        else:
            channel.receive(body, payload)

    def _on_header(self, header: bytes) -> None:
        if header not in (AMQP_HEADER, SASL_HEADER):
            self.write(AMQP_HEADER)
            raise ProtocolError(f"unsupported protocol {header!r}", Condition.NOT_IMPLEMENTED)
        self.write(header)
        if header == SASL_HEADER:
            self._write_sasl(SaslMechanisms([Symbol("ANONYMOUS")]))

    def _on_sasl_init(self, init: SaslInit) -> None:
        self._write_sasl(SaslOutcome(0 if init.mechanism == "ANONYMOUS" else _AUTH_FAILED))

    def _on_open(self, frame: Open) -> None:
        if self._opened:
            raise ProtocolError("Open comes once", Condition.FRAMING_ERROR)
        self._opened = True
        wanted = MAX_FRAME if frame.max_frame_size is None else frame.max_frame_size
        self.max_frame_size = max(_MIN_FRAME, min(MAX_FRAME, wanted))
        if frame.idle_time_out:
            self._beat(frame.idle_time_out / 2000)
        self.hub.journal.record(Kind.OPENED, connection=self.number, detail=frame.container_id)
        self.perform(Point.OPEN, None, None, lambda: self._answer_open, self._refuse_open)

    def _answer_open(self) -> None:
        answer = Open(
            "service-bus-broker",
            max_frame_size=MAX_FRAME,
            channel_max=255,
            idle_time_out=_IDLE_MS,
        )
        self.write(encode_frame(0, answer))

    def _refuse_open(self, condition: str, text: str) -> None:
        self._answer_open()
        self.close(condition, text)

    def _fail_sasl(self) -> None:
        self.write(SASL_HEADER)
        self._write_sasl(SaslMechanisms([Symbol("ANONYMOUS")]))
        self._write_sasl(SaslOutcome(_AUTH_FAILED))
        self._mute = True

    # --- faults

    def perform(
        self,
        point: Point,
        entity: str | None,
        operation: str | None,
        apply: Callable[[], Respond],
        refuse: Callable[[str, str], None],
        *,
        named: bool = False,
    ) -> None:
        """Does `apply` and then its answer, unless a fault is planned for this point."""
        action = self.hub.faults.strike(point, entity, operation, named=named)
        if action:
            detail = f"{point}: {action}"
            self.hub.journal.record(Kind.FAULT, entity, connection=self.number, detail=detail)
        if isinstance(action, Drop):
            self.abort()
        elif isinstance(action, Error):
            refuse(action.condition, action.description)
        elif isinstance(action, Ignore):
            self._mute = self._mute or point is Point.CONNECT
        else:
            self._apply(action, point, apply, refuse)

    def _apply(
        self,
        action: DropAfter | LoseReply | Delay | None,
        point: Point,
        apply: Callable[[], Respond],
        refuse: Callable[[str, str], None],
    ) -> None:
        respond = self._response(apply, refuse)
        if action is None:
            respond()
        elif isinstance(action, Delay):
            self._later(action.seconds, respond, hold=point is Point.CONNECT)
        elif isinstance(action, DropAfter):
            self.abort()
        else:
            self._mute = self._mute or point is Point.CONNECT

    def _response(
        self, apply: Callable[[], Respond], refuse: Callable[[str, str], None]
    ) -> Respond:
        try:
            return apply()
        except BrokerError as error:
            condition, text = error.condition, error.description
            return lambda: refuse(condition, text)

    def _later(self, seconds: float, respond: Respond, *, hold: bool) -> None:
        transport = self._transport if hold else None
        if transport:
            transport.pause_reading()

        def wake() -> None:
            if self.alive:
                if transport:
                    transport.resume_reading()
                respond()

        asyncio.get_running_loop().call_later(seconds, wake)

    # --- output

    def write(self, data: bytes) -> None:
        """Sends bytes, after the hub's latency if there is one, always in order."""
        if not self.alive or self._transport is None:
            return
        if not self.hub.latency and not self._held:
            self._transport.write(data)
            return
        loop = asyncio.get_running_loop()
        self._held.append((loop.time() + self.hub.latency, data))
        if self._release is None:
            self._release = loop.call_at(self._held[0][0], self._flush)

    def close(self, condition: str | None = None, text: str = "") -> None:
        """Says Close and serves nothing more: a late Flow must not lock a message for nobody."""
        error = error_value(condition, text) if condition else None
        self.write(encode_frame(0, Close(error)))
        self._write_held()
        self._end()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Cuts the connection with whatever was still to be sent."""
        self._end()
        if self._transport:
            self._transport.abort()

    def detach_receivers(self, queue_name: str | None, condition: str, text: str) -> int:
        """Ends the receiving links of a queue, or all of them; says how many."""
        ended = 0
        for channel in list(self._channels.values()):
            for link in channel.source_links(queue_name):
                channel.detach(link.handle, condition, text)
                ended += 1
        return ended

    def _write_sasl(self, body: Performative) -> None:
        self.write(encode_frame(0, body, kind=SASL_FRAME))

    def _flush(self) -> None:
        self._release = None
        loop = asyncio.get_running_loop()
        self._write_held(until=loop.time())
        if self._held:
            self._release = loop.call_at(self._held[0][0], self._flush)

    def _write_held(self, until: float = math.inf) -> None:
        while self._transport and self._held and self._held[0][0] <= until:
            self._transport.write(self._held.popleft()[1])

    def _beat(self, seconds: float) -> None:
        if self.alive:
            self.write(EMPTY_FRAME)
            loop = asyncio.get_running_loop()
            self._heartbeat = loop.call_later(max(0.05, seconds), self._beat, seconds)

    def _end(self) -> None:
        if not self.alive:
            return
        self.alive = False
        for timer in (self._release, self._heartbeat):
            if timer:
                timer.cancel()
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()


def _nothing() -> None:
    """No answer."""
