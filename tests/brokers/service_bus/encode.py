"""Values to AMQP 1.0 bytes, in the shortest encoding that keeps their type."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .types import (
    Array,
    Byte,
    Described,
    Int,
    Opaque,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_U8, _U16, _U32, _U64 = (struct.Struct(f">{code}") for code in "BHIQ")
_I8, _I16, _I32, _I64 = (struct.Struct(f">{code}") for code in "bhiq")
_DOUBLE = struct.Struct(">d")

TIMESTAMP, LONG, UUID_CODE, STRING, BINARY = 0x83, 0x81, 0x98, 0xB1, 0xB0


def encode(value: Any) -> bytes:
    """The wire form of `value`; a type without one is a TypeError of the caller's."""
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise TypeError(f"no AMQP type for {type(value).__name__}")
    return writer(value)


def encode_map(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A map from keys and values that are encoded already."""
    parts = [part for pair in pairs for part in pair]
    return _compound(0xC1, 0xD1, parts)


def _compound(small: int, large: int, parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    if len(body) < 255 and len(parts) < 256:
        return bytes((small, len(body) + 1, len(parts))) + body
    return bytes((large,)) + _U32.pack(len(body) + 4) + _U32.pack(len(parts)) + body


def _variable(small: int, large: int, data: bytes) -> bytes:
    if len(data) < 256:
        return bytes((small, len(data))) + data
    return bytes((large,)) + _U32.pack(len(data)) + data


def _uint(value: int) -> bytes:
    if value == 0:
        return b"\x43"
    return bytes((0x52, value)) if 0 < value < 256 else b"\x70" + _U32.pack(value)


def _ulong(value: int) -> bytes:
    if value == 0:
        return b"\x44"
    return bytes((0x53, value)) if 0 < value < 256 else b"\x80" + _U64.pack(value)


def _int(value: int) -> bytes:
    return b"\x54" + _I8.pack(value) if -128 <= value < 128 else b"\x71" + _I32.pack(value)


def _long(value: int) -> bytes:
    return b"\x55" + _I8.pack(value) if -128 <= value < 128 else b"\x81" + _I64.pack(value)


def _list(value: list[Any]) -> bytes:
    return _compound(0xC0, 0xD0, [encode(item) for item in value]) if value else b"\x45"


def _map(value: dict[Any, Any]) -> bytes:
    return encode_map((encode(key), encode(item)) for key, item in value.items())


def _described(value: Described) -> bytes:
    return b"\x00" + encode(value.descriptor) + encode(value.value)


def _array(value: Array) -> bytes:
    body = b"".join(map(_ARRAY_ITEMS[value.code], value.items))
    head = _U32.pack(len(value.items)) + bytes((value.code,))
    return b"\xf0" + _U32.pack(len(head) + len(body)) + head + body


def _sized(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


_ARRAY_ITEMS: dict[int, Callable[[Any], bytes]] = {
    TIMESTAMP: _I64.pack,
    LONG: _I64.pack,
    UUID_CODE: lambda value: value.bytes,
    STRING: lambda value: _sized(value.encode()),
    0xB3: lambda value: _sized(value.encode()),
    BINARY: _sized,
}

_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    UByte: lambda value: b"\x50" + _U8.pack(value),
    UShort: lambda value: b"\x60" + _U16.pack(value),
    UInt: _uint,
    ULong: _ulong,
    Byte: lambda value: b"\x51" + _I8.pack(value),
    Short: lambda value: b"\x61" + _I16.pack(value),
    Int: _int,
    int: _long,
    float: lambda value: b"\x82" + _DOUBLE.pack(value),
    Timestamp: lambda value: b"\x83" + _I64.pack(value),
    UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _variable(0xA0, 0xB0, value),
    str: lambda value: _variable(0xA1, 0xB1, value.encode()),
    Symbol: lambda value: _variable(0xA3, 0xB3, value.encode()),
    list: _list,
    dict: _map,
    Array: _array,
    Described: _described,
    Opaque: lambda value: bytes((value.code,)) + value.raw,
}
