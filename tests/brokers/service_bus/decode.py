"""AMQP 1.0 bytes to values; every size is checked against what is there before it is believed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from .errors import ProtocolError
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
    from collections.abc import Callable

MAX_DEPTH: Final = 32
_MAX_EMPTY_ITEMS: Final = 16  # an array of zero-width values asks for memory without sending bytes
_U32 = struct.Struct(">I")
_FIXED_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}


def decode(data: bytes, offset: int = 0) -> tuple[Any, int]:
    """The value at `offset` and where the next one starts."""
    try:
        return _value(data, offset, 0)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a value is cut short or malformed: {error}") from error


def end_of(data: bytes, offset: int) -> int:
    """Where the value at `offset` ends, without decoding it: unknown types stay whole."""
    try:
        return _end(data, offset, 0)
    except (struct.error, IndexError) as error:
        raise ProtocolError("a value is cut short") from error


def map_items(data: bytes, offset: int) -> dict[Any, bytes]:
    """A map's values as raw bytes under decoded keys, so that values survive unread."""
    try:
        return _raw_items(data, offset)
    except (struct.error, IndexError) as error:
        raise ProtocolError("a map is cut short") from error


def _raw_items(data: bytes, offset: int) -> dict[Any, bytes]:
    code = data[offset]
    if code not in (0xC1, 0xD1):
        raise ProtocolError("a map was expected")
    start, end, count = _compound_bounds(data, offset + 1, wide=code == 0xD1)
    items: dict[Any, bytes] = {}
    for _ in range(_pairs(count)):
        key, value_start = decode(data, start)
        start = end_of(data, value_start)
        items[_simple_key(key)] = data[value_start:start]
    _check_consumed(start, end)
    return items


def _value(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise ProtocolError(f"values are nested deeper than {MAX_DEPTH}")
    return _body(data, offset + 1, data[offset], depth)


def _body(data: bytes, offset: int, code: int, depth: int) -> tuple[Any, int]:
    reader = _READERS.get(code)
    if reader is None:
        raise ProtocolError(f"0x{code:02x} is no AMQP format code")
    return reader(data, offset, depth)


def _end(data: bytes, offset: int, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise ProtocolError(f"descriptors are nested deeper than {MAX_DEPTH}")
    code = data[offset]
    if code == 0:
        return _end(data, _end(data, offset + 1, depth + 1), depth + 1)
    end = offset + 1 + _width(data, offset + 1, code)
    if end > len(data):
        raise ProtocolError("a value is cut short")
    return end


def _width(data: bytes, offset: int, code: int) -> int:
    kind = code >> 4
    if kind in _FIXED_WIDTHS:
        return _FIXED_WIDTHS[kind]
    if kind in (0xA, 0xC, 0xE):
        return 1 + data[offset]
    if kind in (0xB, 0xD, 0xF):
        return 4 + int(_U32.unpack_from(data, offset)[0])
    raise ProtocolError(f"0x{code:02x} is no AMQP format code")


def _constant(value: Any) -> Callable[[bytes, int, int], tuple[Any, int]]:
    return lambda _data, offset, _depth: (value, offset)


def _fixed(layout: str, wrap: Callable[[Any], Any]) -> Callable[[bytes, int, int], tuple[Any, int]]:
    unpack, size = struct.Struct(layout).unpack_from, struct.calcsize(layout)
    return lambda data, offset, _depth: (wrap(unpack(data, offset)[0]), offset + size)


def _opaque(code: int, size: int) -> Callable[[bytes, int, int], tuple[Any, int]]:
    def read(data: bytes, offset: int, _depth: int) -> tuple[Any, int]:
        return Opaque(code, _slice(data, offset, size)), offset + size

    return read


def _variable(
    wide: bool, wrap: Callable[[bytes], Any]
) -> Callable[[bytes, int, int], tuple[Any, int]]:
    def read(data: bytes, offset: int, _depth: int) -> tuple[Any, int]:
        size, start = _size(data, offset, wide)
        return wrap(_slice(data, start, size)), start + size

    return read


def _size(data: bytes, offset: int, wide: bool) -> tuple[int, int]:
    if wide:
        return _U32.unpack_from(data, offset)[0], offset + 4
    return data[offset], offset + 1


def _slice(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise ProtocolError(f"{size} bytes announced, {len(data) - start} there")
    return data[start : start + size]


def _compound_bounds(data: bytes, offset: int, wide: bool) -> tuple[int, int, int]:
    size, start = _size(data, offset, wide)
    end = start + size
    if end > len(data):
        raise ProtocolError(f"{size} bytes announced, {len(data) - start} there")
    count, start = _size(data, start, wide)
    if start > end or count > end - start + _MAX_EMPTY_ITEMS:
        raise ProtocolError(f"{count} items announced in {size} bytes")
    return start, end, count


def _read_list(wide: bool) -> Callable[[bytes, int, int], tuple[Any, int]]:
    def read(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
        start, end, count = _compound_bounds(data, offset, wide)
        items = []
        for _ in range(count):
            item, start = _value(data, start, depth + 1)
            items.append(item)
        _check_consumed(start, end)
        return items, end

    return read


def _read_map(wide: bool) -> Callable[[bytes, int, int], tuple[Any, int]]:
    def read(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
        start, end, count = _compound_bounds(data, offset, wide)
        items = {}
        for _ in range(_pairs(count)):
            key, start = _value(data, start, depth + 1)
            items[_hashable(key)], start = _value(data, start, depth + 1)
        _check_consumed(start, end)
        return items, end

    return read


def _read_array(wide: bool) -> Callable[[bytes, int, int], tuple[Any, int]]:
    def read(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
        start, end, count = _compound_bounds(data, offset, wide)
        code, start = data[start], start + 1
        descriptor = None
        if code == 0:
            descriptor, start = _value(data, start, depth + 1)
            code, start = data[start], start + 1
        items = []
        for _ in range(count):
            item, start = _body(data, start, code, depth + 1)
            items.append(item if descriptor is None else Described(descriptor, item))
        _check_consumed(start, end)
        return Array(code, tuple(items)), end

    return read


def _read_described(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    descriptor, offset = _value(data, offset, depth + 1)
    value, offset = _value(data, offset, depth + 1)
    return Described(descriptor, value), offset


def _read_bool(data: bytes, offset: int, _depth: int) -> tuple[bool, int]:
    return data[offset] != 0, offset + 1


def _pairs(count: int) -> int:
    if count % 2:
        raise ProtocolError("a map has a key without a value")
    return count // 2


def _check_consumed(position: int, end: int) -> None:
    if position != end:
        raise ProtocolError("a compound's size does not match its items")


def _simple_key(key: Any) -> Any:
    if not isinstance(key, str | bytes | int | UUID):
        raise ProtocolError(f"a map key is a {type(key).__name__}")
    return key


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError as error:
        raise ProtocolError(f"a map key is a {type(key).__name__}") from error
    return key


_READERS: dict[int, Callable[[bytes, int, int], tuple[Any, int]]] = {
    0x00: _read_described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(UInt(0)),
    0x44: _constant(ULong(0)),
    0x45: lambda _data, offset, _depth: ([], offset),
    0x50: _fixed(">B", UByte),
    0x51: _fixed(">b", Byte),
    0x52: _fixed(">B", UInt),
    0x53: _fixed(">B", ULong),
    0x54: _fixed(">b", Int),
    0x55: _fixed(">b", int),
    0x56: _read_bool,
    0x60: _fixed(">H", UShort),
    0x61: _fixed(">h", Short),
    0x70: _fixed(">I", UInt),
    0x71: _fixed(">i", Int),
    0x72: _opaque(0x72, 4),
    0x73: _opaque(0x73, 4),
    0x74: _opaque(0x74, 4),
    0x80: _fixed(">Q", ULong),
    0x81: _fixed(">q", int),
    0x82: _fixed(">d", float),
    0x83: _fixed(">q", Timestamp),
    0x84: _opaque(0x84, 8),
    0x94: _opaque(0x94, 16),
    0x98: _fixed(">16s", lambda raw: UUID(bytes=raw)),
    0xA0: _variable(False, bytes),
    0xA1: _variable(False, lambda raw: raw.decode()),
    0xA3: _variable(False, lambda raw: Symbol(raw.decode())),
    0xB0: _variable(True, bytes),
    0xB1: _variable(True, lambda raw: raw.decode()),
    0xB3: _variable(True, lambda raw: Symbol(raw.decode())),
    0xC0: _read_list(False),
    0xC1: _read_map(False),
    0xD0: _read_list(True),
    0xD1: _read_map(True),
    0xE0: _read_array(False),
    0xF0: _read_array(True),
}
