"""Cuts a byte stream into AMQP frames and puts frames together, one size limit for both."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .decode import decode
from .encode import encode
from .errors import Condition, ProtocolError
from .performatives import Performative, from_described, to_described

if TYPE_CHECKING:
    from collections.abc import Iterator

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
AMQP_FRAME, SASL_FRAME = 0, 1
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"
_HEAD = struct.Struct(">IBBH")


@dataclass(frozen=True, slots=True)
class Header:
    """A protocol header: what the peer wants to speak next."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; a body of None is an empty frame, which only says that the peer is alive."""

    channel: int
    body: Performative | None
    payload: bytes = b""


def encode_frame(
    channel: int, body: Performative, payload: bytes = b"", *, kind: int = AMQP_FRAME
) -> bytes:
    """The bytes of one frame."""
    encoded = encode(to_described(body))
    head = _HEAD.pack(_HEAD.size + len(encoded) + len(payload), 2, kind, channel)
    return b"".join((head, encoded, payload))


class FrameReader:
    """Keeps the unfinished frame, never more than one of the allowed size."""

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Header | Frame]:
        """What is complete now; a size beyond the limit fails before its bytes are awaited."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            if self._buffer.startswith(b"AMQP"):
                yield Header(self._cut(_HEAD.size))
                continue
            size, offset, kind, channel = _HEAD.unpack_from(self._buffer)
            self._check(size, offset, kind)
            if len(self._buffer) < size:
                return
            yield _parse(channel, self._cut(size)[offset * 4 :])

    def _check(self, size: int, offset: int, kind: int) -> None:
        if not _HEAD.size <= size <= self._max_frame_size:
            raise ProtocolError(f"a frame of {size} bytes", Condition.FRAMING_ERROR)
        if not 2 <= offset <= size // 4:
            raise ProtocolError(f"a data offset of {offset}", Condition.FRAMING_ERROR)
        if kind not in (AMQP_FRAME, SASL_FRAME):
            raise ProtocolError(f"a frame of type {kind}", Condition.FRAMING_ERROR)

    def _cut(self, size: int) -> bytes:
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part


def _parse(channel: int, body: bytes) -> Frame:
    if not body:
        return Frame(channel, None)
    value, end = decode(body)
    return Frame(channel, from_described(value), body[end:])
